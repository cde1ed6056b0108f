"""The working set of one batch: rows read from the store, changed in memory, written back.

A batch is read with a handful of SELECTs and written with a handful of `executemany`, so that
its cost is that of the rows and not of the statements.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol

import aiosqlite

from sessions import wire
from sessions.backends.rows import (
    AWAITED,
    OUTCOME_CODES,
    EventRow,
    MessageRow,
    SessionRow,
    columns,
    values_of,
)
from sessions.models import Entry, Event, OutcomeKind, Poison, Reason, StreamId
from sessions.text import fold_for_search
from sessions.times import DAY

# How long an id is known after its message has gone: longer than any platform redelivers, any
# outbox keeps and any slack of the stream reaches.
ID_AFTERLIFE: Final = 30 * DAY

_SESSION_COLUMNS: Final = columns(SessionRow)
_EVENT_COLUMNS: Final = columns(EventRow)
_MESSAGE_COLUMNS: Final = columns(MessageRow)
_session_values: Final = values_of(SessionRow)
_event_values: Final = values_of(EventRow)
_message_values: Final = values_of(MessageRow)


def _marks(column_list: str) -> str:
    return ", ".join("?" * len(column_list.split(", ")))


_INSERT_SESSION: Final = (
    f"INSERT INTO sessions ({_SESSION_COLUMNS}) VALUES ({_marks(_SESSION_COLUMNS)})"
)
_INSERT_EVENT: Final = f"INSERT INTO events ({_EVENT_COLUMNS}) VALUES ({_marks(_EVENT_COLUMNS)})"
_REPLACE_EVENT: Final = _INSERT_EVENT.replace("INSERT", "REPLACE", 1)
_INSERT_MESSAGE: Final = (
    f"INSERT INTO messages ({_MESSAGE_COLUMNS}) VALUES ({_marks(_MESSAGE_COLUMNS)})"
)
_UPDATE_SESSION: Final = (
    f"UPDATE sessions SET ({_SESSION_COLUMNS}) = ({_marks(_SESSION_COLUMNS)}) WHERE id = ?"
)
# What an append changes. Naming the other columns too would rewrite every index they are in.
_UPDATE_ACTIVITY: Final = (
    "UPDATE sessions SET state = ?, turn = ?, state_since = ?, last_activity = ?, "
    "message_count = ?, next_seq = ? WHERE id = ?"
)
_INSERT_LETTER: Final = (
    "INSERT INTO dead_letters (id, reason, detail, session, event_id, size, sha256, ms, n, at, "
    "payload) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING"
)
_INSERT_WORDS: Final = "INSERT INTO search (rowid, body) VALUES (?, ?)"
_DROP_WORDS: Final = "INSERT INTO search (search, rowid, body) VALUES ('delete', ?, ?)"


class Texts(Protocol):
    """Where the text of messages lies: in the rows, or in files beside them."""

    kind: str
    """`rows` or `files`, as the store remembers it."""

    async def store(self, messages: Sequence[MessageRow], keys: dict[int, str]) -> None:
        """Take the content of new messages; may move it out of the rows."""
        ...

    async def load(self, messages: Sequence[MessageRow]) -> list[str]:
        """The contents of stored messages, in order."""
        ...

    async def remove(self, session: SessionRow, messages: Sequence[MessageRow]) -> None:
        """Forget the text of these messages of a session; their rows go afterwards."""
        ...

    async def end(self, session: SessionRow, *, deleted: bool) -> None:
        """Forget all text of a session that is emptied or deleted."""
        ...


class Ledger:
    """Rows of one writing transaction. `load` before deciding, `flush` before COMMIT."""

    def __init__(
        self, connection: aiosqlite.Connection, texts: Texts, *, epoch: int, now: int
    ) -> None:
        self._connection = connection
        self._texts = texts
        self._epoch = epoch
        self.now = now
        self.sessions: dict[str, SessionRow] = {}
        self.events: dict[str, EventRow] = {}
        self._next_ids: tuple[int, int] | None = None
        self._new_sessions: list[SessionRow] = []
        self._active: dict[int, SessionRow] = {}
        self._changed: dict[int, SessionRow] = {}
        self._new_messages: list[MessageRow] = []
        self._new_events: dict[str, EventRow] = {}
        self._changed_events: dict[str, EventRow] = {}
        self._letters: list[tuple[Any, ...]] = []

    async def load(self, events: Iterable[Event | Poison]) -> None:
        """Read what the decisions about these events may ask for."""
        ids: set[str] = set()
        keys: set[str] = set()
        for event in events:
            if isinstance(event, Poison):
                ids.add(event.event_id or "")
                continue
            ids.add(event.id)
            keys.add(event.session)
            ids.update(name for name in (event.turn, event.target) if name is not None)
        await self._load_events(ids - self.events.keys())
        await self._load_sessions(keys - self.sessions.keys())

    async def load_ids(self, ids: Iterable[str]) -> None:
        """Read the rows of these event ids."""
        await self._load_events(set(ids) - self.events.keys())

    async def load_keys(self, keys: Iterable[str]) -> None:
        """Read the rows of these session keys."""
        await self._load_sessions(set(keys) - self.sessions.keys())

    async def _load_events(self, ids: set[str]) -> None:
        if not ids:
            return
        rows = await self._connection.execute_fetchall(
            f"SELECT {_EVENT_COLUMNS} FROM events "
            "WHERE event_id IN (SELECT value FROM json_each(?))",
            (json.dumps(sorted(ids)),),
        )
        for row in rows:
            self.events[row[0]] = EventRow(*row)

    async def _load_sessions(self, keys: set[str]) -> None:
        if not keys:
            return
        rows = await self._connection.execute_fetchall(
            f"SELECT {_SESSION_COLUMNS} FROM sessions "
            "WHERE key IN (SELECT value FROM json_each(?))",
            (json.dumps(sorted(keys)),),
        )
        for row in rows:
            self.sessions[row[1]] = SessionRow(*row)

    async def _ids(self) -> tuple[int, int]:
        """The next free ids of sessions and messages; only this connection gives any out."""
        if self._next_ids is None:
            [row] = await self._connection.execute_fetchall(
                "SELECT (SELECT coalesce(max(id), 0) + 1 FROM sessions), "
                "(SELECT coalesce(max(id), 0) + 1 FROM messages)"
            )
            self._next_ids = (row[0], row[1])
        return self._next_ids

    async def prepare(self) -> None:
        """Make `new_session` and `add_message` possible."""
        await self._ids()

    def new_session(self, session: SessionRow) -> SessionRow:
        """Take in a session that is not stored yet; its id is given here."""
        assert self._next_ids is not None
        session.id = self._next_ids[0]
        self._next_ids = (session.id + 1, self._next_ids[1])
        self.sessions[session.key] = session
        self._new_sessions.append(session)
        return session

    def touch(self, session: SessionRow, *, changed: bool = False) -> None:
        """Remember to write a session: its activity, or all of it where `changed`."""
        (self._changed if changed else self._active)[session.id] = session

    def add_message(
        self, session: SessionRow, event: Event, *, role: str, content: str, turn: str | None
    ) -> MessageRow:
        """Append a message to a session, with all that follows from it for the session."""
        assert self._next_ids is not None
        created = self.now if event.at is None else event.at
        row = MessageRow(
            id=self._next_ids[1],
            session_id=session.id,
            seq=session.next_seq,
            event_id=event.id,
            role=role,
            turn=turn,
            created_at=created,
            content=content,
            place=None,
            size=None,
        )
        self._next_ids = (self._next_ids[0], row.id + 1)
        session.next_seq += 1
        session.message_count += 1
        session.last_activity = max(session.last_activity, min(created, self.now))
        self._new_messages.append(row)
        self.touch(session)
        return row

    def settle(
        self,
        entry: Entry,
        event: Event,
        outcome: OutcomeKind,
        *,
        reason: Reason | None = None,
        session: SessionRow | None = None,
        seq: int | None = None,
    ) -> None:
        """Give the event its outcome. Where it applied, `session` is the one it applied to."""
        applied = session is not None and outcome is OutcomeKind.APPLIED
        self._put(
            EventRow(
                event_id=event.id,
                digest=entry.digest,
                outcome=OUTCOME_CODES[outcome],
                reason=reason,
                session_id=session.id if session is not None and applied else None,
                session=None if applied else event.session or None,
                generation=session.generation if session is not None and applied else None,
                seq=seq,
                gone=None,
                epoch=self._epoch,
                ms=entry.raw.stream_id.ms,
                n=entry.raw.stream_id.seq,
                duplicates=0,
                detail=None,
                expires_at=None if seq is not None else self.now + ID_AFTERLIFE,
            )
        )

    def _put(self, row: EventRow) -> None:
        known = row.event_id in self.events and row.event_id not in self._new_events
        self.events[row.event_id] = row
        (self._changed_events if known else self._new_events)[row.event_id] = row

    def suppress(self, event_id: str, key: str, stream_id: StreamId) -> None:
        """Keep an id that was not seen yet from having an effect in that session."""
        self._put(
            EventRow(
                event_id=event_id,
                digest=b"",
                outcome=AWAITED,
                reason=None,
                session_id=None,
                session=key,
                generation=None,
                seq=None,
                gone=None,
                epoch=self._epoch,
                ms=stream_id.ms,
                n=stream_id.seq,
                duplicates=0,
                detail=None,
                expires_at=self.now + ID_AFTERLIFE,
            )
        )

    def change_event(self, row: EventRow) -> None:
        """Remember to write an event's row that is stored already."""
        if row.event_id not in self._new_events:
            self._changed_events[row.event_id] = row

    def mark_gone(self, event_id: str, how: Reason) -> None:
        """Note that the message of a loaded event is gone; its id is known for a while yet."""
        row = self.events.get(event_id)
        if row is not None:
            row.gone = how
            row.expires_at = self.now + ID_AFTERLIFE
            self.change_event(row)

    async def forget_messages(self, event_ids: Sequence[str], how: Reason) -> None:
        """The same for many events, loaded or not, straight in the store."""
        await self._connection.execute(
            "UPDATE events SET gone = ?, expires_at = ? "
            "WHERE event_id IN (SELECT value FROM json_each(?))",
            (how, self.now + ID_AFTERLIFE, json.dumps(event_ids)),
        )
        for event_id in self.events.keys() & set(event_ids):
            self.events[event_id].gone = how
            self.events[event_id].expires_at = self.now + ID_AFTERLIFE

    def bury_entry(self, entry: Entry, poison: Poison) -> None:
        """Make a dead letter of the entry, and its outcome `dead` where its id is still free."""
        raw = entry.raw
        framed = wire.frame(raw.fields)
        digest = hashlib.sha256(framed).hexdigest()
        keep = len(framed) if poison.reason is Reason.UNKNOWN_VERSION else wire.DEAD_PAYLOAD
        self._letters.append(
            (
                f"{raw.stream_id}-{digest[:12]}",
                poison.reason,
                poison.detail,
                poison.session,
                poison.event_id,
                raw.size,
                digest,
                raw.stream_id.ms,
                raw.stream_id.seq,
                self.now,
                framed[:keep],
            )
        )
        if poison.event_id is not None and poison.event_id not in self.events:
            self._put(self._dead_row(entry, poison, poison.event_id))

    def _dead_row(self, entry: Entry, poison: Poison, event_id: str) -> EventRow:
        return EventRow(
            event_id=event_id,
            digest=entry.digest,
            outcome=OUTCOME_CODES[OutcomeKind.DEAD],
            reason=poison.reason,
            session_id=None,
            session=poison.session,
            generation=None,
            seq=None,
            gone=None,
            epoch=self._epoch,
            ms=entry.raw.stream_id.ms,
            n=entry.raw.stream_id.seq,
            duplicates=0,
            detail=poison.detail,
            expires_at=self.now + ID_AFTERLIFE,
        )

    async def flush(self) -> None:
        """Write everything that was decided so far, so that SQL sees it too."""
        await self._flush_sessions()
        await self._flush_messages()
        await self._many(_INSERT_EVENT, [*map(_event_values, self._new_events.values())])
        await self._many(_REPLACE_EVENT, [*map(_event_values, self._changed_events.values())])
        await self._many(_INSERT_LETTER, self._letters)
        for collection in (self._new_events, self._changed_events, self._letters):
            collection.clear()

    async def _flush_sessions(self) -> None:
        await self._many(_INSERT_SESSION, [*map(_session_values, self._new_sessions)])
        new = {row.id for row in self._new_sessions}
        whole = {key: row for key, row in self._changed.items() if key not in new}
        active = {
            key: row for key, row in self._active.items() if key not in new and key not in whole
        }
        await self._many(
            _UPDATE_SESSION, [(*_session_values(row), row.id) for row in whole.values()]
        )
        await self._many(_UPDATE_ACTIVITY, [_activity(row) for row in active.values()])
        for collection in (self._new_sessions, self._changed, self._active):
            collection.clear()

    async def _flush_messages(self) -> None:
        if not self._new_messages:
            return
        words = [(row.id, fold_for_search(row.content or "")) for row in self._new_messages]
        keys = {row.id: row.key for row in self.sessions.values()}
        await self._texts.store(self._new_messages, keys)
        await self._many(_INSERT_MESSAGE, [*map(_message_values, self._new_messages)])
        await self._many(_INSERT_WORDS, words)
        self._new_messages.clear()

    async def drop_words(self, messages: Sequence[MessageRow]) -> None:
        """Take messages out of the search index, before their text is forgotten."""
        contents = await self._texts.load(messages)
        await self._many(
            _DROP_WORDS,
            [
                (row.id, fold_for_search(content))
                for row, content in zip(messages, contents, strict=True)
            ],
        )

    async def _many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        if rows:
            await self._connection.executemany(sql, rows)


def _activity(row: SessionRow) -> tuple[Any, ...]:
    return (
        row.state,
        row.turn,
        row.state_since,
        row.last_activity,
        row.message_count,
        row.next_seq,
        row.id,
    )
