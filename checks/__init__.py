"""What `make check` measures itself, beside the tools of others."""
