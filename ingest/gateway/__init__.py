"""`WS /ws/chat`: conversations in ZeroClaw's protocol."""
