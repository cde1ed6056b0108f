"""The working set of one batch: rows read from the store, changed in memory, written back.

A batch is read with a handful of SELECTs and written with a handful of `executemany`, so that
its cost is that of the rows and not of the statements.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from operator import attrgetter, itemgetter
from typing import Any, Final

from sessions import wire
from sessions.ids import SPACE_MARK, shown_id, space_of, stored_id
from sessions.models import (
    Entry,
    Event,
    LetterBounds,
    OutcomeKind,
    Poison,
    Reason,
    make_tuple,
)
from sessions.store.engine.rows import (
    OUTCOME_CODES,
    EventRow,
    MessageRow,
    SessionRow,
    columns,
    packed,
    session_values,
)
from sessions.store.engine.texts import Texts
from sessions.store.sqlite.connection import WritingConnection
from sessions.store.sqlite.search import dropping, indexing
from sessions.store.sqlite.statements import Form, Query, Rows, Statement, insertion, marks
from sessions.times import DAY

# How long an id is known after its message has gone: longer than any platform redelivers, any
# outbox keeps and any slack of the stream reaches.
ID_AFTERLIFE: Final = 30 * DAY
# Session keys that one SELECT asks for. Fewer are filled up with one of them, so that there is one
# statement whose plan is kept.
_CHUNK: Final = 32

# Found once: an attribute of an enumeration costs as much as a call.
_APPLIED: Final = OutcomeKind.APPLIED

_SESSION_COLUMNS: Final = columns(SessionRow)
_EVENT_COLUMNS: Final = columns(EventRow)
_MESSAGE_COLUMNS: Final = columns(MessageRow)


def _update(columns_set: str) -> Form:
    """The form that sets these columns of sessions, each row ending with the session's id."""
    count = columns_set.count(",") + 1
    values = ", ".join(f"v.column{number}" for number in range(1, count + 1))
    return Form(
        f"UPDATE sessions SET ({columns_set}) = ({values}) FROM (VALUES ",
        marks(f"{columns_set}, id"),
        f") AS v WHERE sessions.id = v.column{count + 1}",
        repeatable=True,
    )


_INSERT_SESSIONS: Final = insertion("sessions", _SESSION_COLUMNS)
_INSERT_EVENTS: Final = insertion("events", _EVENT_COLUMNS)
_REPLACE_EVENTS: Final = insertion("events", _EVENT_COLUMNS, verb="REPLACE")
_INSERT_MESSAGES: Final = insertion("messages", _MESSAGE_COLUMNS)
_UPDATE_SESSIONS: Final = _update(_SESSION_COLUMNS.removeprefix("id, "))
# What an append changes. Naming the other columns too would rewrite every index they are in.
_UPDATE_ACTIVITY: Final = _update(
    "state, turn, state_since, last_activity, message_count, next_seq"
)
_INSERT_LETTERS: Final = insertion(
    "dead_letters",
    "id, reason, detail, session, event_id, size, sha256, ms, n, at, payload, by",
    tail=" ON CONFLICT (id) DO NOTHING",
)
_INSERT_SUPPRESSED: Final = insertion("suppressed", "event_id, session, expires_at")


_NEXT_IDS: Final = Query(
    "SELECT (SELECT coalesce(max(id), 0) + 1 FROM sessions), "
    "(SELECT coalesce(max(id), 0) + 1 FROM messages)"
)
_KNOWN_EVENTS: Final = (
    f"SELECT {_EVENT_COLUMNS} FROM events WHERE event_id IN (SELECT value FROM json_each(?))"
)
# Mostly that table is empty, and then not even the list of what is wanted is read.
_KNOWN_SUPPRESSED: Final = (
    "SELECT event_id, session FROM suppressed WHERE event_id IN (SELECT value FROM json_each("
    "CASE WHEN EXISTS (SELECT 1 FROM suppressed) THEN ? ELSE '[]' END))"
)
# The same id of other publishers, in the order of the tree: nothing stands between `id@` and `idA`.
_NAMESAKES: Final = (
    f"SELECT {', '.join(f'e.{name}' for name in _EVENT_COLUMNS.split(', '))} "
    "FROM json_each(?) AS wanted CROSS JOIN events e "
    "ON e.event_id > wanted.value || '@' AND e.event_id < wanted.value || 'A'"
)
# The newest letters of one publisher stay.
_DROP_LETTERS: Final = (
    "DELETE FROM dead_letters WHERE no IN (SELECT no FROM (SELECT no, "
    "count(*) OVER newest AS place, sum(length(payload)) OVER newest AS size "
    "FROM dead_letters WHERE by IS ? WINDOW newest AS (ORDER BY no DESC)) "
    "WHERE place > ? OR size > ?)"
)
_COUNT_DROPPED: Final = Query(
    "UPDATE store SET letters_dropped = letters_dropped + changes() WHERE changes() > 0"
)
_KNOWN_SESSIONS: Final = (
    f"SELECT {_SESSION_COLUMNS} FROM sessions WHERE key IN ({', '.join('?' * _CHUNK)})"
)
_activity: Final = attrgetter(
    "state", "turn", "state_since", "last_activity", "message_count", "next_seq", "id"
)


class Ledger:
    """Rows of one writing transaction: `begin` before deciding, `flush` before COMMIT.

    What `asking` gives goes with BEGIN to SQLite's thread, and what it finds to `begin`.
    """

    def __init__(
        self,
        connection: WritingConnection,
        texts: Texts,
        *,
        now: int,
        sessions: dict[str, SessionRow],
        spaces: set[str],
        bounds: LetterBounds,
    ) -> None:
        self._connection = connection
        self._texts = texts
        self._epoch = 0
        self.now = now
        self.sessions = sessions
        # The publishers that the store has seen, shared by all batches: without any, no id has a
        # namesake, and none is looked for.
        self._spaces = spaces
        self._bounds = bounds
        self._namesakes: dict[str, list[str]] = {}
        self.events: dict[str, EventRow] = {}
        self.suppressed: set[tuple[str, str]] = set()
        self.erased = False
        # The ids of the next new session and message; 0 before they are known.
        self._next_session = 0
        self._next_message = 0
        # Statements that are made already, and the messages that are in none of them yet.
        self._drafted: list[Statement] = []
        self._unstored: list[MessageRow] = []
        # Sessions that are new, or have another owner, name or routing, until that is told.
        self._untold: list[SessionRow] = []
        self._new_sessions: list[SessionRow] = []
        self._active: dict[int, SessionRow] = {}
        self._changed: dict[int, SessionRow] = {}
        self._new_messages: list[MessageRow] = []
        self._keys: dict[int, str] = {}
        self._new_events: dict[str, EventRow] = {}
        self._changed_events: dict[str, EventRow] = {}
        self._new_suppressed: list[tuple[str, str, int]] = []
        self._letters: list[tuple[Any, ...]] = []

    def asking(self, events: Iterable[Event | Poison]) -> list[Query]:
        """The queries for what the decisions about these events may ask for."""
        ids: set[str | None] = set()
        keys: set[str] = set()
        references: set[str | None] = set()
        for event in events:
            if isinstance(event, Poison):
                ids.add(event.stored_id)
                continue
            keys.add(event.session)
            if event.turn is not None or event.target is not None:
                references |= {event.turn, event.target}
            if event.by is None:
                ids.add(event.id)
            else:
                self._spaces.add(space_of(event.by))
                ids.add(event.stored_id)
                if event.target is not None:
                    ids.add(stored_id(event.target, event.by))
        wanted = {*filter(None, ids | references)} - self.events.keys()
        sought = {*filter(None, references)} if self._spaces else set[str]()
        return [*_id_queries(wanted, sought), _NEXT_IDS, *self._key_queries(keys)]

    def begin(self, epoch: int, found: Sequence[Rows]) -> None:
        """Take in what was asked for, in a transaction under this epoch of the stream."""
        self._epoch = epoch
        self._take(found)

    async def load(self, event: Event) -> None:
        """Read what the decision about one more event may ask for."""
        self._take(await self._connection.script(self.asking([event])))

    def _take(self, found: Sequence[Rows]) -> None:
        events, namesakes, suppressed, [next_ids], *sessions = found
        self._take_ids(events, namesakes, suppressed)
        self._take_sessions(sessions)
        if not self._next_message:
            self._next_session, self._next_message = next_ids

    async def load_ids(self, ids: Iterable[str]) -> None:
        """Read what is known of these event ids."""
        wanted = set(ids) - self.events.keys()
        self._take_ids(*await self._connection.script(_id_queries(wanted, ())))

    def _take_ids(self, events: Rows, namesakes: Rows, suppressed: Rows) -> None:
        for row in events:
            self.events[row[0]] = EventRow(*row)
        for row in namesakes:
            # What this batch has changed already counts.
            self.events.setdefault(row[0], EventRow(*row))
            self._note_namesake(row[0])
        for row in suppressed:
            self.suppressed.add((row[0], row[1]))

    def _note_namesake(self, stored: str) -> None:
        same = self._namesakes.setdefault(shown_id(stored), [])
        if stored not in same:
            same.append(stored)

    def referred(self, name: str, by: str | None, session: SessionRow | None) -> str:
        """The stored id that a publisher means by a turn or target [11].

        That is its own event; else the message of that id in the same session, one that is still
        there first; else its own event that is yet to come.
        """
        own = stored_id(name, by)
        if own in self.events or session is None:
            return own
        found = [
            row
            for stored in (name, *self._namesakes.get(name, ()))
            if (row := self.events.get(stored)) is not None
            if row.session_id == session.id and row.seq is not None
            if (row.generation or 0) >= session.owned_from
        ]
        return min(found, key=lambda row: row.gone is not None).event_id if found else own

    async def load_keys(self, keys: Iterable[str]) -> None:
        """Read the rows of these session keys."""
        self._take_sessions(await self._connection.script(self._key_queries(keys)))

    def _key_queries(self, keys: Iterable[str]) -> list[Query]:
        # Not by json_each: it ends a text at its first NUL, which a key may contain.
        wanted = sorted(set(keys) - self.sessions.keys())
        return [
            Query(_KNOWN_SESSIONS, chunk + chunk[-1:] * (_CHUNK - len(chunk)))
            for start in range(0, len(wanted), _CHUNK)
            for chunk in [wanted[start : start + _CHUNK]]
        ]

    def _take_sessions(self, found: Iterable[Rows]) -> None:
        for rows in found:
            for row in rows:
                self.sessions[row[1]] = SessionRow(*row)

    def new_session(self, session: SessionRow) -> SessionRow:
        """Take in a session that is not stored yet; its id is given here."""
        session.id = self._next_session
        self._next_session += 1
        self.sessions[session.key] = session
        self._new_sessions.append(session)
        return session

    def touch(self, session: SessionRow, *, changed: bool = False) -> None:
        """Remember to write a session: its activity, or all of it where `changed`."""
        (self._changed if changed else self._active)[session.id] = session

    def add_message(
        self, session: SessionRow, event: Event, *, role: str, content: str, turn: str | None
    ) -> int:
        """Append a message to a session, with all that follows from it for the session; its seq."""
        row_id, seq, now = self._next_message, session.next_seq, self.now
        created = now if event.at is None else event.at
        by = event.by
        event_id = event.id if by is None else event.stored_id
        # By position, here and below: this runs for every event, and names cost as much again.
        row = (row_id, session.id, seq, event_id, role, turn, created, content, None, None, by)
        self._new_messages.append(make_tuple(MessageRow, row))
        self._next_message = row_id + 1
        session.next_seq = seq + 1
        session.message_count += 1
        if session.last_activity < created:
            session.last_activity = max(session.last_activity, min(created, now))
        self._keys[session.id] = session.key
        self._active[session.id] = session
        return seq

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
        """Give the event its outcome; `session` is the one that it found, if it may know of it."""
        home = session if outcome is _APPLIED else None
        key = None if home is not None else event.session or None
        event_id = event.id if event.by is None else event.stored_id
        generation = session.generation if session is not None else None
        self._outcome(entry, event_id, outcome, reason, home, generation, key, seq, None)

    def _outcome(
        self,
        entry: Entry,
        event_id: str,
        outcome: OutcomeKind,
        reason: Reason | None,
        home: SessionRow | None,
        generation: int | None,
        key: str | None,
        seq: int | None,
        detail: str | None,
    ) -> None:
        """Take in the row of an id that gets its outcome from this entry."""
        known = self.events.get(event_id)
        ms, n = packed(entry.raw.stream_id)
        values = (
            event_id,
            entry.digest,
            OUTCOME_CODES[outcome],
            reason,
            home.id if home is not None else None,
            key,
            generation,
            seq,
            None,
            self._epoch,
            ms,
            n,
            known.duplicates if known is not None else 0,
            detail,
            None if seq is not None else self.now + ID_AFTERLIFE,
        )
        row = self.events[event_id] = make_tuple(EventRow, values)
        if self._spaces and SPACE_MARK in event_id:
            self._note_namesake(event_id)
        if known is None or event_id in self._new_events:
            self._new_events[event_id] = row
        else:
            self._changed_events[event_id] = row

    def suppress(self, event_id: str, key: str) -> None:
        """Keep a user append that did not come yet from having an effect in that session."""
        self.suppressed.add((event_id, key))
        self._new_suppressed.append((event_id, key, self.now + ID_AFTERLIFE))

    def change_event(self, row: EventRow) -> None:
        """Take in the changed row of an event that has its outcome."""
        self.events[row.event_id] = row
        waiting = self._new_events if row.event_id in self._new_events else self._changed_events
        waiting[row.event_id] = row

    def mark_gone(self, event_id: str, how: Reason) -> None:
        """Note that the message of a loaded event is gone; its id is known for a while yet."""
        row = self.events.get(event_id)
        if row is not None:
            self.change_event(self._gone(row, how))

    def _gone(self, row: EventRow, how: Reason) -> EventRow:
        return row._replace(gone=how, expires_at=self.now + ID_AFTERLIFE)

    async def hand_over(self, before: str, after: str | None) -> bool:
        """Make the sessions of one owner another's, tombstones too; whether there were any."""
        rows = await self._connection.run(
            f"UPDATE sessions SET agent = ? WHERE agent = ? RETURNING {_SESSION_COLUMNS}",
            (after, before),
        )
        for session in self.sessions.values():
            if session.agent == before:
                session.agent = after
        await self._texts.describe([SessionRow(*row) for row in rows])
        return bool(rows)

    async def forget_messages(self, event_ids: Sequence[str], how: Reason) -> None:
        """The same for many events, loaded or not, straight in the store."""
        await self._connection.run(
            "UPDATE events SET gone = ?, expires_at = ? "
            "WHERE event_id IN (SELECT value FROM json_each(?))",
            (how, self.now + ID_AFTERLIFE, json.dumps(event_ids)),
        )
        for event_id in self.events.keys() & set(event_ids):
            self.events[event_id] = self._gone(self.events[event_id], how)

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
                poison.by,
            )
        )
        event_id = poison.stored_id
        if event_id is not None and event_id not in self.events:
            self._outcome(
                entry,
                event_id,
                OutcomeKind.DEAD,
                poison.reason,
                None,
                None,
                poison.session,
                None,
                poison.detail,
            )

    async def flush(self) -> None:
        """Write everything that was decided so far, so that SQL sees it too."""
        await self._connection.script(await self.writing())

    async def writing(self) -> list[Statement]:
        """The statements that write what was decided since the last time; texts are stored."""
        self.draft()
        statements, self._drafted = self._drafted, []
        if self._untold:
            await self._texts.describe(self._untold)
            self._untold = []
        if self._unstored:
            messages = await self._texts.store(self._unstored, self._keys)
            statements += _INSERT_MESSAGES.of(messages)
            self._unstored = []
        return statements

    def draft(self) -> None:
        """Make the statements that need no transaction; `writing` gives them too."""
        rows, self._new_messages = self._new_messages, []
        self._unstored += rows
        self._drafted += [
            *self._sessions_written(),
            *self._events_written(),
            *indexing((row.id, row.content or "") for row in rows),
        ]

    def _sessions_written(self) -> list[Statement]:
        new = {row.id for row in self._new_sessions}
        whole = {key: row for key, row in self._changed.items() if key not in new}
        active = [row for key, row in self._active.items() if key not in new and key not in whole]
        self._untold += [*self._new_sessions, *whole.values()]
        statements = [
            *_INSERT_SESSIONS.of([*map(session_values, self._new_sessions)]),
            *_UPDATE_SESSIONS.of([(*session_values(row)[1:], row.id) for row in whole.values()]),
            *_UPDATE_ACTIVITY.of(sorted(map(_activity, active), key=itemgetter(-1))),
        ]
        for collection in (self._new_sessions, self._changed, self._active):
            collection.clear()
        return statements

    def _events_written(self) -> list[Statement]:
        statements = [
            # In the order of the tree: neighbours share a page.
            *_INSERT_EVENTS.of(sorted(self._new_events.values(), key=itemgetter(0))),
            *_REPLACE_EVENTS.of([*self._changed_events.values()]),
            *_INSERT_SUPPRESSED.of([*self._new_suppressed]),
            *self._letters_written(),
        ]
        for collection in (
            self._new_events,
            self._changed_events,
            self._new_suppressed,
            self._letters,
        ):
            collection.clear()
        return statements

    def _letters_written(self) -> list[Statement]:
        statements: list[Statement] = [*_INSERT_LETTERS.of([*self._letters])]
        for by in {letter[-1] for letter in self._letters}:
            bounds = (by, self._bounds.count, self._bounds.size)
            statements += [Query(_DROP_LETTERS, bounds), _COUNT_DROPPED]
        return statements

    async def drop_words(self, messages: Sequence[MessageRow]) -> None:
        """Take messages out of the search index, before their text is forgotten."""
        self.erased = True
        contents = await self._texts.load(messages)
        ids = [row.id for row in messages]
        await self._connection.script(dropping(zip(ids, contents, strict=True)))


def _id_queries(ids: Iterable[str], references: Iterable[str]) -> list[Query]:
    """What asks for these stored ids, and for the namesakes of these references."""
    wanted, sought = json.dumps(sorted(ids)), json.dumps(sorted(references))
    return [
        Query(_KNOWN_EVENTS, (wanted,)),
        Query(_NAMESAKES, (sought,)),
        Query(_KNOWN_SUPPRESSED, (wanted,)),
    ]
