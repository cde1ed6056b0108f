"""Moving in and out: exports and imports, ZeroClaw's workspaces, copies of whole stores."""
