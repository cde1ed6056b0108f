"""Messages come in here: events over HTTP, chats over WebSocket, platforms over channels."""
