"""Where messages come from and replies go to: one file for each kind of channel."""
