"""The outermost ring: the `turnstream` command and the supervisor of `turnstream up`."""
