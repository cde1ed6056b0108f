"""The stream contract, read once more: what the stores and the checker's findings are held to."""
