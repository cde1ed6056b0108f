"""Event ids: new and derived ones, and how the store tells the ids of several publishers apart.

An event's identity is its publisher and its id. A publisher is the agent whose token published the
event (`by`); channels, the gateway and programs on the stream have none and share one space. The
store keeps both as one text: `id`, or `id@` and 16 hex digits of the publisher's sha256. No id of
the stream contract holds an `@`, so no two of them are ever the same.
"""

from __future__ import annotations

import hashlib
import secrets
import time
import uuid
from functools import lru_cache
from typing import Final

SPACE_MARK: Final = "@"
_SPACE_DIGITS: Final = 16


def new_id() -> str:
    """A fresh id that sorts by the time it was made (a UUID of version 7).

    Neighbours in time are neighbours in the store's index, which makes an insert five times
    cheaper than random ids do.
    """
    stamp = time.time_ns() // 1_000_000 << 80
    noise = secrets.randbits(12) << 64 | secrets.randbits(62)
    return str(uuid.UUID(int=stamp | 0x7 << 76 | 0b10 << 62 | noise))


def derived_id(*parts: str) -> str:
    """The id of what these names identify: the same names give the same id, everywhere.

    The first part, which must be short and of an id's characters, stays legible.
    """
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
    return f"{parts[0]}:{digest}"


@lru_cache(maxsize=1024)
def space_of(by: str | None) -> str:
    """The name of a publisher's space of ids: 16 hex digits, or "" without a publisher."""
    if by is None:
        return ""
    return hashlib.sha256(by.encode()).hexdigest()[:_SPACE_DIGITS]


def stored_id(event_id: str, by: str | None) -> str:
    """The id under which the store keeps a publisher's event."""
    return event_id if by is None else f"{event_id}{SPACE_MARK}{space_of(by)}"


def shown_id(stored: str) -> str:
    """The id as it was published."""
    return stored.partition(SPACE_MARK)[0]


def space_in(stored: str) -> str:
    """The space of a stored id; "" for the one without a publisher."""
    return stored.partition(SPACE_MARK)[2]
