"""Messages to agents: how they are accepted, wait in lanes, are run as turns, and are answered."""
