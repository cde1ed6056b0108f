"""The store: its contract, the engine that decides, and one adapter for each backend."""
