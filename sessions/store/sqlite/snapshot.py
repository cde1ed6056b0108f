"""A store in SQLite as it was at one moment: all its rows, read in one transaction."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Any, Final

import aiosqlite

from sessions.errors import StoreDamaged
from sessions.models import STREAM_START, StreamCursor
from sessions.store.engine.changes import LetterRow
from sessions.store.engine.receipts import Receipt
from sessions.store.engine.rows import EventRow, SessionRow, columns
from sessions.store.image import (
    PART,
    KeyedEvent,
    KeyedMessage,
    StoreHead,
    StoreRows,
    SuppressedId,
)
from sessions.store.sqlite.rows import TextRow, cursor_of

# Gives the contents of messages, in order.
Texts = Callable[[Sequence[TextRow]], Awaitable[list[str]]]

# Characters of text in one part, so that a store of large messages needs little memory.
_TEXT: Final = 16 * 1024 * 1024
# Rows that are fetched at a time.
_FETCHED: Final = 500
_EMPTY: Final = StoreHead(None, 0, StreamCursor(0, STREAM_START, 0, 0, 0), 0)


def _of(table: str, row_type: type) -> str:
    return ", ".join(f"{table}.{name}" for name in columns(row_type).split(", "))


_HEAD: Final = (
    "SELECT store_id, created_at, letters_dropped, epoch, ms, n, resolved, skipped, added "
    "FROM store, stream"
)
_SESSIONS: Final = f"SELECT {columns(SessionRow)} FROM sessions ORDER BY id"
_MESSAGES: Final = (
    f"SELECT s.key, {_of('m', TextRow)}, {_of('e', EventRow)} FROM messages m "
    "LEFT JOIN sessions s ON s.id = m.session_id "
    "LEFT JOIN events e ON e.event_id = m.event_id ORDER BY m.id"
)
_EVENTS: Final = (
    f"SELECT s.key, {_of('e', EventRow)} FROM events e LEFT JOIN sessions s ON s.id = e.session_id "
    # What had no effect and left a message all the same names its session by the key.
    "WHERE NOT EXISTS (SELECT 1 FROM messages m WHERE m.session_id = coalesce(e.session_id, "
    "(SELECT id FROM sessions WHERE key = e.session)) "
    "AND m.seq = e.seq AND m.event_id = e.event_id) ORDER BY e.event_id"
)
_SUPPRESSED: Final = f"SELECT {columns(SuppressedId)} FROM suppressed ORDER BY event_id, session"
_LETTERS: Final = f"SELECT {columns(LetterRow)} FROM dead_letters ORDER BY no"
_RECEIPTS: Final = f"SELECT {columns(Receipt)} FROM receipts ORDER BY source, session"


class SqliteSnapshot:
    """See `Snapshot`. The connection is inside a transaction as long as this is used."""

    def __init__(self, connection: aiosqlite.Connection, head: StoreHead, texts: Texts) -> None:
        self._connection = connection
        self.head = head
        self._texts = texts

    async def parts(self) -> AsyncIterator[StoreRows]:
        """All rows."""
        async for rows in self._read(_SESSIONS):
            yield StoreRows(sessions=[SessionRow(*row) for row in rows])
        async for rows in self._read(_MESSAGES, text_at=1 + TextRow._fields.index("content")):
            yield StoreRows(messages=await self._messages(rows))
        async for rows in self._read(_EVENTS):
            yield StoreRows(events=[KeyedEvent(row[0], EventRow(*row[1:])) for row in rows])
        async for rows in self._read(_SUPPRESSED):
            yield StoreRows(suppressed=[SuppressedId(*row) for row in rows])
        async for rows in self._read(_LETTERS, text_at=LetterRow._fields.index("payload")):
            yield StoreRows(letters=[LetterRow(*row) for row in rows])
        async for rows in self._read(_RECEIPTS):
            yield StoreRows(receipts=[Receipt(*row) for row in rows])

    async def _messages(self, rows: Sequence[tuple[Any, ...]]) -> list[KeyedMessage]:
        split = 1 + len(TextRow._fields)
        stored = [TextRow(*row[1:split]) for row in rows]
        contents = await self._texts(stored)
        return [
            KeyedMessage(
                _known(row[0]), one.with_text(content), EventRow(*_known_event(row[split:]))
            )
            for row, one, content in zip(rows, stored, contents, strict=True)
        ]

    async def _read(
        self, sql: str, *, text_at: int | None = None
    ) -> AsyncIterator[list[tuple[Any, ...]]]:
        """The rows in parts, of bounded text if a column holds any."""
        part: list[tuple[Any, ...]] = []
        size = 0
        async with self._connection.execute(sql) as cursor:
            while rows := [*map(tuple, await cursor.fetchmany(_FETCHED))]:
                part += rows
                size += _size_of(rows, text_at)
                if len(part) >= PART or size > _TEXT:
                    yield part
                    part, size = [], 0
        if part:
            yield part


async def head_of(connection: aiosqlite.Connection) -> StoreHead:
    """What the store has once. Inside a transaction, it fixes the moment of all that is read."""
    rows = [*await connection.execute_fetchall(_HEAD)]
    if not rows:
        return _EMPTY
    store_id, created_at, dropped, *cursor = tuple(rows[0])
    return StoreHead(store_id, created_at, cursor_of((*cursor,)), dropped)


def _size_of(rows: Iterable[tuple[Any, ...]], text_at: int | None) -> int:
    if text_at is None:
        return 0
    # Texts that lie in files are as long as their lines.
    return sum(len(row[text_at]) if row[text_at] is not None else row[text_at + 2] for row in rows)


def _known(key: str | None) -> str:
    if key is None:
        raise _damaged("messages without a session")
    return key


def _known_event(row: tuple[Any, ...]) -> tuple[Any, ...]:
    if row[0] is None:
        raise _damaged("messages without an event")
    return row


def _damaged(what: str) -> StoreDamaged:
    return StoreDamaged(f"the store has {what}; look at it with `turnstream verify`")


class EmptySnapshot:
    """The snapshot of a store that was not made yet."""

    head = _EMPTY

    async def parts(self) -> AsyncIterator[StoreRows]:
        """Nothing."""
        for nothing in ():
            yield nothing
