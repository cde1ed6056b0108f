"""Sessions and messages of another program, as a store takes them in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sessions.models import STREAM_START, Entry, Event, EventType, OutcomeKind, RawEntry
from sessions.store.engine import rules
from sessions.store.engine.changes import Changes, Needs
from sessions.store.engine.rows import SessionRow
from sessions.store.engine.workset import Workset


class ImportedSession(NamedTuple):
    """A session of another program. Times are microseconds."""

    key: str
    name: str | None
    agent: str | None
    channel: str | None
    room: str | None
    sender: str | None
    state: str
    turn: str | None
    state_since: int | None
    created_at: int
    last_activity: int


class ImportedMessage(NamedTuple):
    """A message of another program; the id is derived from what it is, so that it comes in once.

    `detail` is kept with its outcome: what the source knew of it and a message has no place for.
    """

    key: str
    id: str
    role: str
    content: str
    created_at: int
    detail: str | None = None

    @property
    def event(self) -> Event:
        """The event that would have made it."""
        return Event(
            self.id,
            EventType.APPEND,
            session=self.key,
            role=self.role,
            content=self.content,
            at=self.created_at,
        )


def needs_of(sessions: Sequence[ImportedSession], messages: Sequence[ImportedMessage]) -> Needs:
    """What taking these in asks of the store."""
    keys = {one.key for one in sessions} | {one.key for one in messages}
    return Needs(ids=sorted({one.id for one in messages}), keys=sorted(keys))


def take_in(
    work: Workset, sessions: Sequence[ImportedSession], messages: Sequence[ImportedMessage]
) -> int:
    """Add what is not there yet, in the given order; the number of new messages.

    A session that is there stays as it is and gets its new messages at its end. Messages whose id
    is known, and those of a session that was deleted, have no effect.
    """
    for session in sessions:
        if session.key not in work.sessions:
            work.new_session(_opened(session))
    added = 0
    for message in messages:
        home = work.sessions.get(message.key)
        if home is not None and home.live and message.id not in work.events:
            _add(work, home, message)
            added += 1
    return added


def add_details(changes: Changes, messages: Sequence[ImportedMessage]) -> None:
    """Note the details of the messages that are new, with their outcomes."""
    for message in messages:
        row = changes.events.get(message.id)
        if row is not None:
            changes.events[message.id] = row._replace(detail=message.detail)


def _opened(session: ImportedSession) -> SessionRow:
    row = rules.opened(session.key, 0, 1, session.created_at)
    for name in ImportedSession._fields:
        setattr(row, name, getattr(session, name))
    return row


def _add(work: Workset, home: SessionRow, message: ImportedMessage) -> None:
    event = message.event
    # No entry of the stream made it: an empty digest agrees with every payload.
    entry = Entry(RawEntry(STREAM_START, ()), event, b"")
    seq = work.add_message(home, event, role=message.role, content=message.content, turn=None)
    work.record_outcome(entry, event, OutcomeKind.APPLIED, session=home, seq=seq)
