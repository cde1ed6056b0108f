"""The sqlite backend: everything in one SQLite file."""
