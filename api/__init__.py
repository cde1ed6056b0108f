"""The api: reads the one store for people and agents, and publishes what they change."""
