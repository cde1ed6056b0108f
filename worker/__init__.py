"""The only writer: an arq worker whose lifecycle hosts the stream consumer."""
