"""Discord bots, by the client library hikari, which is an extra."""
