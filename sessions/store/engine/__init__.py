"""The rules of the store: they decide what a batch of events does, without any database."""
