"""Where the settings come from: a file of ours or of ZeroClaw's, and the environment."""
