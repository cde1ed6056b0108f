"""Rows of SQLite's tables, as far as they are more than the engine's rows."""

from __future__ import annotations

from typing import Any, NamedTuple

from sessions.models import StreamCursor
from sessions.store.engine.rows import MessageRow, unpacked


class TextRow(NamedTuple):
    """A row of `messages`. Its text is `content`, or a line of a file at `place`."""

    id: int
    session_id: int
    seq: int
    event_id: str
    role: str
    turn: str | None
    created_at: int
    content: str | None
    place: int | None
    size: int | None
    by: str | None

    def with_text(self, content: str) -> MessageRow:
        """The message."""
        return MessageRow(*self[:7], content, self.by)


def cursor_of(row: tuple[Any, ...]) -> StreamCursor:
    """The cursor of a row of `stream`: epoch, ms, n, resolved, skipped, added."""
    return StreamCursor(row[0], unpacked(row[1], row[2]), *row[3:])
