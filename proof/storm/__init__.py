"""Several replicas of ingest in a storm of messages, kills, freezes and outages: `make storm`."""
