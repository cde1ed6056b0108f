"""What a store in memory holds: the rows of the engine in dictionaries."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, cast

from sessions.models import STREAM_START, Lease, StreamCursor
from sessions.store.engine.changes import LetterRow
from sessions.store.engine.receipts import Receipt
from sessions.store.engine.rows import EventRow, MessageRow, SessionRow

_NOBODY: Final = Lease(0, None, 0)
_NOTHING: Final = StreamCursor(0, STREAM_START, 0, 0, 0)


@dataclass(slots=True)
class MemoryStore:
    """What other backends have on a disk. MemoryBackends that are given the same one share it.

    Rows are never changed in place, so that a copy of the dictionaries is a copy of the store.
    """

    store_id: str | None = None
    lease: Lease = _NOBODY
    cursor: StreamCursor = _NOTHING
    sessions: dict[str, SessionRow] = field(default_factory=dict[str, SessionRow])
    messages: dict[int, MessageRow] = field(default_factory=dict[int, MessageRow])
    events: dict[str, EventRow] = field(default_factory=dict[str, EventRow])
    suppressed: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    # In the order in which they came, with their numbers.
    letters: dict[str, tuple[int, LetterRow]] = field(
        default_factory=dict[str, tuple[int, LetterRow]]
    )
    receipts: dict[tuple[str, str], Receipt] = field(default_factory=dict[tuple[str, str], Receipt])
    letters_made: int = 0
    letters_dropped: int = 0
    created_at: int = 0

    def copy(self) -> MemoryStore:
        """The store as it is now."""
        return MemoryStore(*(_copied(getattr(self, one.name)) for one in fields(self)))

    def become(self, other: MemoryStore) -> None:
        """Hold what the other one holds, which is of no more use."""
        for one in fields(self):
            setattr(self, one.name, getattr(other, one.name))

    def of_session(self, session_id: int) -> list[MessageRow]:
        """The messages of a session, oldest first."""
        found = [row for row in self.messages.values() if row.session_id == session_id]
        return sorted(found, key=lambda row: row.seq)

    def live(self, key: str) -> SessionRow | None:
        """The session of this key, if it is not deleted."""
        row = self.sessions.get(key)
        return row if row is not None and row.live else None

    def put_sessions(self, rows: Iterable[SessionRow]) -> None:
        """Take in these rows of sessions, as they are now."""
        self.sessions |= {row.key: replace(row) for row in rows}


def _copied(value: Any) -> Any:
    return cast("dict[Any, Any]", value).copy() if isinstance(value, dict) else value
