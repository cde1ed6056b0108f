"""Who may see and change which sessions: tokens, agents and their checks."""
