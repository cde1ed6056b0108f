"""Moving in from ZeroClaw and out again: its workspaces, read and written as it does."""
