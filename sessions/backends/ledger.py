"""The working set of one batch: rows read from the store, changed in memory, written back.

A batch is read with a handful of SELECTs and written with a handful of `executemany`, so that
its cost is that of the rows and not of the statements.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

from sessions import wire
from sessions.backends.connection import WritingConnection
from sessions.backends.rows import (
    OUTCOME_CODES,
    EventRow,
    MessageRow,
    SessionRow,
    columns,
    packed,
    values_of,
)
from sessions.models import Entry, Event, OutcomeKind, Poison, Reason
from sessions.text import fold_for_search
from sessions.times import DAY

# How long an id is known after its message has gone: longer than any platform redelivers, any
# outbox keeps and any slack of the stream reaches.
ID_AFTERLIFE: Final = 30 * DAY
# Parameters of one SELECT; SQLite's own bound is far above.
_CHUNK: Final = 500

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
_INSERT_SUPPRESSED: Final = (
    "INSERT INTO suppressed (event_id, session, expires_at) VALUES (?, ?, ?)"
)
_INSERT_WORDS: Final = "INSERT INTO search (rowid, body) VALUES (?, ?)"
_DROP_WORDS: Final = "INSERT INTO search (search, rowid, body) VALUES ('delete', ?, ?)"


Run = Callable[..., Awaitable[list[tuple[Any, ...]]]]


class Texts(Protocol):
    """Where the text of messages lies: in the rows, or in files beside them.

    `store` to `end` are called inside a writing transaction, and one of `undo` (before a
    rollback, under the lock) and `forget` (at its end, always) follows.
    """

    kind: str
    """`rows` or `files`, as the store remembers it."""

    async def store(self, messages: Sequence[MessageRow], keys: Mapping[int, str]) -> None:
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

    async def undo(self) -> None:
        """Take back what the transaction in hand has done."""
        ...

    def forget(self) -> None:
        """The transaction in hand has ended."""
        ...

    async def settle(self) -> None:
        """Finish what a committed `remove` or `end` left to do, in a transaction of its own."""
        ...

    async def recover(self) -> None:
        """Undo what a leader left that died in a transaction; called as the lead is taken."""
        ...

    def close(self) -> None:
        """Let go of what was opened."""
        ...


class Ledger:
    """Rows of one writing transaction. `load` before deciding, `flush` before COMMIT."""

    def __init__(
        self,
        connection: WritingConnection,
        texts: Texts,
        *,
        epoch: int,
        now: int,
        sessions: dict[str, SessionRow],
    ) -> None:
        self._connection = connection
        self._texts = texts
        self._epoch = epoch
        self.now = now
        self.sessions = sessions
        self.events: dict[str, EventRow] = {}
        self.suppressed: set[tuple[str, str]] = set()
        self.erased = False
        self._next_ids: tuple[int, int] | None = None
        self._new_sessions: list[SessionRow] = []
        self._active: dict[int, SessionRow] = {}
        self._changed: dict[int, SessionRow] = {}
        self._new_messages: list[MessageRow] = []
        self._keys: dict[int, str] = {}
        self._new_events: dict[str, EventRow] = {}
        self._changed_events: dict[str, EventRow] = {}
        self._new_suppressed: list[tuple[str, str, int]] = []
        self._letters: list[tuple[Any, ...]] = []

    async def load(self, events: Iterable[Event | Poison]) -> None:
        """Read what the decisions about these events may ask for."""
        ids: set[str | None] = set()
        keys: set[str] = set()
        for event in events:
            if isinstance(event, Poison):
                ids.add(event.event_id)
            else:
                ids.update((event.id, event.turn, event.target))
                keys.add(event.session)
        await self.load_ids(filter(None, ids))
        await self.load_keys(keys)
        if self._next_ids is None:
            [row] = await self._connection.run(
                "SELECT (SELECT coalesce(max(id), 0) + 1 FROM sessions), "
                "(SELECT coalesce(max(id), 0) + 1 FROM messages)"
            )
            self._next_ids = (row[0], row[1])

    async def load_ids(self, ids: Iterable[str]) -> None:
        """Read what is known of these event ids."""
        wanted = json.dumps(sorted(set(ids) - self.events.keys()))
        for row in await self._connection.run(
            f"SELECT {_EVENT_COLUMNS} FROM events "
            "WHERE event_id IN (SELECT value FROM json_each(?))",
            (wanted,),
        ):
            self.events[row[0]] = EventRow(*row)
        for row in await self._connection.run(
            "SELECT event_id, session FROM suppressed "
            "WHERE event_id IN (SELECT value FROM json_each(?))",
            (wanted,),
        ):
            self.suppressed.add((row[0], row[1]))

    async def load_keys(self, keys: Iterable[str]) -> None:
        """Read the rows of these session keys."""
        # Not by json_each: it ends a text at its first NUL, which a key may contain.
        wanted = sorted(set(keys) - self.sessions.keys())
        for start in range(0, len(wanted), _CHUNK):
            chunk = wanted[start : start + _CHUNK]
            marks = ", ".join("?" * len(chunk))
            for row in await self._connection.run(
                f"SELECT {_SESSION_COLUMNS} FROM sessions WHERE key IN ({marks})", chunk
            ):
                self.sessions[row[1]] = SessionRow(*row)

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
            self._next_ids[1],
            session.id,
            session.next_seq,
            event.id,
            role,
            turn,
            created,
            content,
            None,
            None,
        )
        self._next_ids = (self._next_ids[0], row.id + 1)
        session.next_seq += 1
        session.message_count += 1
        session.last_activity = max(session.last_activity, min(created, self.now))
        self._new_messages.append(row)
        self._keys[session.id] = session.key
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
        home = session if outcome is OutcomeKind.APPLIED else None
        key = None if home is not None else event.session or None
        self._put(self._row(entry, event.id, outcome, reason, home, key, seq))

    def _row(
        self,
        entry: Entry,
        event_id: str,
        outcome: OutcomeKind,
        reason: Reason | None,
        home: SessionRow | None,
        key: str | None,
        seq: int | None = None,
        detail: str | None = None,
    ) -> EventRow:
        """The row of an id that gets its outcome from this entry."""
        known = self.events.get(event_id)
        ms, n = packed(entry.raw.stream_id)
        # By position: this runs for every event, and fifteen names cost as much as the rest.
        return EventRow(
            event_id,
            entry.digest,
            OUTCOME_CODES[outcome],
            reason,
            home.id if home is not None else None,
            key,
            home.generation if home is not None else None,
            seq,
            None,
            self._epoch,
            ms,
            n,
            known.duplicates if known is not None else 0,
            detail,
            None if seq is not None else self.now + ID_AFTERLIFE,
        )

    def _put(self, row: EventRow) -> None:
        known = row.event_id in self.events and row.event_id not in self._new_events
        self.events[row.event_id] = row
        (self._changed_events if known else self._new_events)[row.event_id] = row

    def suppress(self, event_id: str, key: str) -> None:
        """Keep a user append that did not come yet from having an effect in that session."""
        self.suppressed.add((event_id, key))
        self._new_suppressed.append((event_id, key, self.now + ID_AFTERLIFE))

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
        await self._connection.run(
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
        ms, n = packed(raw.stream_id)
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
                ms,
                n,
                self.now,
                framed[:keep],
            )
        )
        if poison.event_id is not None and poison.event_id not in self.events:
            self._put(
                self._row(
                    entry,
                    poison.event_id,
                    OutcomeKind.DEAD,
                    poison.reason,
                    None,
                    poison.session,
                    detail=poison.detail,
                )
            )

    async def flush(self) -> None:
        """Write everything that was decided so far, so that SQL sees it too."""
        await self._flush_sessions()
        await self._flush_messages()
        await self._connection.many(_INSERT_EVENT, [*map(_event_values, self._new_events.values())])
        await self._connection.many(
            _REPLACE_EVENT, [*map(_event_values, self._changed_events.values())]
        )
        await self._connection.many(_INSERT_SUPPRESSED, self._new_suppressed)
        await self._connection.many(_INSERT_LETTER, self._letters)
        self._new_events.clear()
        self._changed_events.clear()
        self._new_suppressed.clear()
        self._letters.clear()

    async def _flush_sessions(self) -> None:
        await self._connection.many(_INSERT_SESSION, [*map(_session_values, self._new_sessions)])
        new = {row.id for row in self._new_sessions}
        whole = {key: row for key, row in self._changed.items() if key not in new}
        active = {
            key: row for key, row in self._active.items() if key not in new and key not in whole
        }
        await self._connection.many(
            _UPDATE_SESSION, [(*_session_values(row), row.id) for row in whole.values()]
        )
        await self._connection.many(_UPDATE_ACTIVITY, [_activity(row) for row in active.values()])
        for collection in (self._new_sessions, self._changed, self._active):
            collection.clear()

    async def _flush_messages(self) -> None:
        if not self._new_messages:
            return
        words = [(row.id, fold_for_search(row.content or "")) for row in self._new_messages]
        await self._texts.store(self._new_messages, self._keys)
        await self._connection.many(_INSERT_MESSAGE, [*map(_message_values, self._new_messages)])
        await self._connection.many(_INSERT_WORDS, words)
        self._new_messages.clear()

    async def drop_words(self, messages: Sequence[MessageRow]) -> None:
        """Take messages out of the search index, before their text is forgotten."""
        self.erased = True
        contents = await self._texts.load(messages)
        await self._connection.many(
            _DROP_WORDS,
            [
                (row.id, fold_for_search(content))
                for row, content in zip(messages, contents, strict=True)
            ],
        )


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
