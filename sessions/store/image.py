"""All rows of a store, as they go from one store into another.

A snapshot gives them in an order in which another store can take them in: sessions, messages with
their events, the other events, suppressed ids, dead letters, receipts. Row numbers are the source's
own. Rows name their session by its key, because another store may number it differently.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from sessions.models import StreamCursor
from sessions.store.engine.changes import LetterRow
from sessions.store.engine.receipts import Receipt
from sessions.store.engine.rows import EventRow, MessageRow, SessionRow

# Rows of one part of a snapshot: a transaction of the store that takes it in.
PART = 5000


@dataclass(frozen=True, slots=True)
class StoreHead:
    """What a store has once: its id, age (0: nobody knows), place in the stream, and a counter."""

    store_id: str | None
    created_at: int
    cursor: StreamCursor
    letters_dropped: int


class KeyedMessage(NamedTuple):
    """A message with the key of its session, and the event that made it."""

    key: str
    row: MessageRow
    event: EventRow


class KeyedEvent(NamedTuple):
    """An event that shows no message, with the key of the session that it found; None if none."""

    home: str | None
    row: EventRow


class SuppressedId(NamedTuple):
    """A user append that has no effect in a session if it comes, known until `expires_at`."""

    event_id: str
    session: str
    expires_at: int


@dataclass(slots=True)
class StoreRows:
    """A part of a store."""

    sessions: list[SessionRow] = field(default_factory=list[SessionRow])
    messages: list[KeyedMessage] = field(default_factory=list[KeyedMessage])
    events: list[KeyedEvent] = field(default_factory=list[KeyedEvent])
    suppressed: list[SuppressedId] = field(default_factory=list[SuppressedId])
    letters: list[LetterRow] = field(default_factory=list[LetterRow])
    receipts: list[Receipt] = field(default_factory=list[Receipt])


class Restored(NamedTuple):
    """What became of rows that were taken in.

    `added` messages are new. Those with the ids in `strangers` have no effect, because other events
    have their ids here.
    """

    added: int
    strangers: Sequence[str]


class Snapshot(Protocol):
    """A store as it was at one moment, however long it is read."""

    @property
    def head(self) -> StoreHead:
        """What the store has once."""
        ...

    def parts(self) -> AsyncIterator[StoreRows]:
        """All rows, at most `PART` at a time, in the order that this module names."""
        ...
