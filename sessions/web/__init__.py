"""The HTTP plumbing that api and ingest share."""
