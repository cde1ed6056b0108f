"""The working set of one batch: rows that a store holds, changed in memory, and what to write back.

Pure: the driver of a batch brings the rows that it `needs`, and takes the `changes` to the store.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from sessions import wire
from sessions.ids import SPACE_MARK, shown_id, space_of, stored_id
from sessions.models import Entry, Event, OutcomeKind, Poison, Reason, make_tuple
from sessions.store.engine import rules
from sessions.store.engine.changes import (
    Changes,
    EndedSession,
    FoundRows,
    LetterRow,
    Needs,
    OwnerTransfer,
    RemovedMessages,
)
from sessions.store.engine.rows import OUTCOME_CODES, EventRow, MessageRow, SessionRow, packed
from sessions.store.engine.tally import BatchTally
from sessions.times import DAY

# How long an id is known after its message has gone: longer than any platform redelivers, any
# outbox keeps and any slack of the stream reaches.
ID_RETENTION: Final = 30 * DAY

# Found once: an attribute of an enumeration costs as much as a call.
_APPLIED: Final = OutcomeKind.APPLIED


@dataclass(slots=True)
class WriterCache:
    """What a leader remembers from batch to batch; nobody else changes the store meanwhile.

    `sessions` are rows as the last batch left them. `spaces` are the publishers that the store has
    seen: without any, no id has a namesake, and none is looked for.
    """

    sessions: dict[str, SessionRow] = field(default_factory=dict[str, SessionRow])
    spaces: set[str] = field(default_factory=set[str])


class Workset:
    """Rows of one batch: `add_found` before deciding; `taken_changes` gives what to write."""

    def __init__(self, memory: WriterCache, *, now: int) -> None:
        self.now = now
        self.sessions = memory.sessions
        self.events: dict[str, EventRow] = {}
        self.suppressed: set[tuple[str, str]] = set()
        self._changes = Changes()
        self._spaces = memory.spaces
        self._namesakes: dict[str, list[str]] = {}
        self._epoch = 0
        self.tally = BatchTally()
        # The ids of the next new session and message; 0 before they are known.
        self._next_session = 0
        self._next_message = 0

    # -- what the store holds ----------------------------------------------------------------

    def needs(self, events: Iterable[Event | Poison]) -> Needs:
        """The rows that the decisions about these events may ask for, and that are not here."""
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
        sought = sorted(filter(None, references)) if self._spaces else []
        return Needs(sorted(wanted), sought, sorted(keys - self.sessions.keys()))

    def add_found(self, found: FoundRows) -> None:
        """Take in what was found. What this batch has changed already counts."""
        for row in found.events:
            self.events[row.event_id] = row
        for row in found.namesakes:
            self.events.setdefault(row.event_id, row)
            self._note_namesake(row.event_id)
        self.suppressed.update(found.suppressed)
        for session in found.sessions:
            self.sessions[session.key] = session
        if not self._next_message:
            self._epoch = found.cursor.epoch
            self._next_session, self._next_message = found.next_session, found.next_message

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

    # -- what changes ------------------------------------------------------------------------

    def taken_changes(self) -> Changes:
        """What was decided since the last time; it is the caller's to write down."""
        changes, self._changes = self._changes, Changes()
        return changes

    def new_session(self, session: SessionRow) -> SessionRow:
        """Take in a session that is not stored yet; its id is given here."""
        session.id = self._next_session
        self._next_session += 1
        self.sessions[session.key] = session
        self._changes.opened.append(session)
        return session

    def touch(self, session: SessionRow) -> None:
        """Have all of a session written."""
        self._changes.changed[session.id] = session

    def add_message(
        self, session: SessionRow, event: Event, *, role: str, content: str, turn: str | None
    ) -> int:
        """Append a message to a session, with all that follows from it for the session; its seq."""
        row_id, seq, now = self._next_message, session.next_seq, self.now
        created = now if event.at is None else event.at
        by = event.by
        event_id = event.id if by is None else event.stored_id
        # By position, here and below: this runs for every event, and names cost as much again.
        row = (row_id, session.id, seq, event_id, role, turn, created, content, by)
        changes = self._changes
        changes.messages.append(make_tuple(MessageRow, row))
        self._next_message = row_id + 1
        session.next_seq = seq + 1
        session.message_count += 1
        if session.last_activity < created:
            session.last_activity = max(session.last_activity, min(created, now))
        changes.keys[session.id] = session.key
        changes.active[session.id] = session
        return seq

    def remove_message(self, session: SessionRow, message: MessageRow) -> None:
        """Take one message out of its session; the others stay."""
        session.message_count -= 1
        self._changes.active[session.id] = session
        self._forget(session, [message], Reason.ALREADY_ROLLED_BACK, ends=False)

    def empty(self, session: SessionRow, messages: Sequence[MessageRow], how: Reason) -> None:
        """Take some of the messages out of a session that loses all of them."""
        self._forget(session, messages, how, ends=True)

    def _forget(
        self, session: SessionRow, messages: Sequence[MessageRow], how: Reason, *, ends: bool
    ) -> None:
        """Let messages go; their ids are known for a while yet."""
        expires_at = self.now + ID_RETENTION
        self._changes.gone.append(RemovedMessages(session, messages, how, expires_at, ends))
        for message in messages:
            row = self.events.get(message.event_id)
            if row is not None:
                self.events[message.event_id] = row._replace(gone=how, expires_at=expires_at)

    def end(self, session: SessionRow, *, deleted: bool) -> None:
        """End the generation of a session without messages [4, 9]."""
        self._changes.ended.append(EndedSession(session, deleted))
        if deleted:
            rules.bury(session, self.now)
        else:
            rules.clear(session)
        self.touch(session)

    def hand_over(self, before: str, after: str | None) -> None:
        """Make the sessions of one owner another's, tombstones too [10]."""
        self._changes.handovers.append(OwnerTransfer(before, after))
        for session in self.sessions.values():
            if session.agent == before:
                session.agent = after

    def suppress(self, event_id: str, key: str) -> None:
        """Keep a user append that did not come yet from having an effect in that session."""
        self.suppressed.add((event_id, key))
        self._changes.suppressed.append((event_id, key, self.now + ID_RETENTION))

    def purge(self, letter_id: str) -> None:
        """Let a dead letter go."""
        self._changes.purged.append(letter_id)

    # -- outcomes ----------------------------------------------------------------------------

    def record_outcome(
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
        if outcome is _APPLIED:
            self.tally.applied.append(event.type)
        else:
            self.tally.others.append((event.type, outcome, reason))
        home = session if outcome is _APPLIED else None
        key = None if home is not None else event.session or None
        event_id = event.id if event.by is None else event.stored_id
        generation = session.generation if session is not None else None
        self._outcome(entry, event_id, outcome, reason, home, generation, key, seq, None)

    def count_again(self, row: EventRow, body: Event | Poison) -> None:
        """Count one more entry with the id of an event that has its outcome [7]."""
        self.tally.others.append((body.type if isinstance(body, Event) else None, None, None))
        row = row._replace(duplicates=row.duplicates + 1)
        self.events[row.event_id] = row
        new = self._changes.events
        (new if row.event_id in new else self._changes.events_again)[row.event_id] = row

    def bury_entry(self, entry: Entry, poison: Poison) -> None:
        """Make a dead letter of the entry, and its outcome `dead` where its id is still free."""
        kind = entry.body.type if isinstance(entry.body, Event) else None
        self.tally.others.append((kind, OutcomeKind.DEAD, poison.reason))
        self._changes.letters.append(_letter(entry, poison, self.now))
        event_id = poison.stored_id
        if event_id is not None and event_id not in self.events:
            key, reason, detail = poison.session, poison.reason, poison.detail
            self._outcome(entry, event_id, OutcomeKind.DEAD, reason, None, None, key, None, detail)

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
            None if seq is not None else self.now + ID_RETENTION,
        )
        row = self.events[event_id] = make_tuple(EventRow, values)
        if self._spaces and SPACE_MARK in event_id:
            self._note_namesake(event_id)
        changes = self._changes
        if known is None or event_id in changes.events:
            changes.events[event_id] = row
        else:
            changes.events_again[event_id] = row


def _letter(entry: Entry, poison: Poison, now: int) -> LetterRow:
    """What is kept of an entry that cannot be applied [5]."""
    raw = entry.raw
    ms, n = packed(raw.stream_id)
    framed = wire.frame(raw.fields)
    digest = hashlib.sha256(framed).hexdigest()
    keep = len(framed) if poison.reason is Reason.UNKNOWN_VERSION else wire.DEAD_PAYLOAD
    return LetterRow(
        f"{raw.stream_id}-{digest[:12]}",
        poison.reason,
        poison.detail,
        poison.session,
        poison.event_id,
        raw.size,
        digest,
        ms,
        n,
        now,
        framed[:keep],
        poison.by,
    )
