"""Event ids that are derived from what a platform calls a message."""

from __future__ import annotations

import hashlib
from typing import Final

from sessions.ids import new_id

# Longest id of a message that opens a turn: what the turn publishes adds a suffix to it, and 128
# characters is the bound of the stream contract.
MAX_TURN_ID: Final = 100


def derived_id(*parts: str) -> str:
    """The id of what these names identify: the same names give the same id, everywhere.

    The first part, which must be short and of an id's characters, stays legible.
    """
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
    return f"{parts[0]}:{digest}"


__all__ = ["MAX_TURN_ID", "derived_id", "new_id"]
