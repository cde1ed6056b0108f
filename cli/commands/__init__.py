"""The commands of turnstream, one file for each."""
