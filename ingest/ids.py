"""How long the ids of messages may be that open turns."""

from __future__ import annotations

from typing import Final

from sessions.ids import new_id

# Longest id of a message that opens a turn: what the turn publishes adds a suffix to it, and 128
# characters is the bound of the stream contract.
MAX_TURN_ID: Final = 100

__all__ = ["MAX_TURN_ID", "new_id"]
