"""What api and ingest share of the web framework: routes that answer every error in one form."""
