"""The jsonl backend: text in files, everything else in an SQLite index."""
