"""What a batch asks of a store, and what it changes there: values between engine and adapter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from sessions.models import Reason, StreamCursor
from sessions.store.engine.receipts import Receipt
from sessions.store.engine.rows import EventRow, MessageRow, SessionRow


class Needs(NamedTuple):
    """What the decisions about some events may ask for.

    `ids` are stored ids of events. `references` are ids as they were published, of which the
    events of all publishers are wanted. `keys` are session keys. Nothing is in it twice.
    """

    ids: Sequence[str] = ()
    references: Sequence[str] = ()
    keys: Sequence[str] = ()


class FoundRows(NamedTuple):
    """What a store holds of what was needed; absent rows are left out.

    `events` and `suppressed` (id and session key) belong to the ids, `namesakes` are events of
    other publishers with the ids of the references, `sessions` belong to the keys, tombstones
    included. `next_session` and `next_message` are above every row id that is in use.
    """

    cursor: StreamCursor
    events: Sequence[EventRow]
    namesakes: Sequence[EventRow]
    suppressed: Sequence[tuple[str, str]]
    sessions: Sequence[SessionRow]
    next_session: int
    next_message: int


class LetterRow(NamedTuple):
    """A dead letter that is to be stored; a store that has its id already leaves it out."""

    id: str
    reason: str
    detail: str
    session: str | None
    event_id: str | None
    size: int
    sha256: str
    ms: int
    n: int
    at: int
    payload: bytes
    by: str | None


class RemovedMessages(NamedTuple):
    """Messages that go from a session, with their text; their events are known until `expires_at`.

    `ends` is set if all messages of the session go, in this or further steps.
    """

    session: SessionRow
    messages: Sequence[MessageRow]
    how: Reason
    expires_at: int
    ends: bool


class EndedSession(NamedTuple):
    """A session of which all messages are gone; its dead letters go too."""

    session: SessionRow
    deleted: bool


class OwnerTransfer(NamedTuple):
    """All sessions of one owner, tombstones too, become another's or nobody's."""

    before: str
    after: str | None


@dataclass(slots=True)
class Changes:
    """What was decided since the last time, in the order in which a store takes it.

    First goes what goes, then comes what comes. Rows of `changed` are written whole, those of
    `active` in what an append changes: state, turn, activity, counters.
    """

    gone: list[RemovedMessages] = field(default_factory=list[RemovedMessages])
    ended: list[EndedSession] = field(default_factory=list[EndedSession])
    purged: list[str] = field(default_factory=list[str])
    handovers: list[OwnerTransfer] = field(default_factory=list[OwnerTransfer])
    opened: list[SessionRow] = field(default_factory=list[SessionRow])
    changed: dict[int, SessionRow] = field(default_factory=dict[int, SessionRow])
    active: dict[int, SessionRow] = field(default_factory=dict[int, SessionRow])
    messages: list[MessageRow] = field(default_factory=list[MessageRow])
    # The keys of the sessions of `messages`, by their row ids.
    keys: dict[int, str] = field(default_factory=dict[int, str])
    events: dict[str, EventRow] = field(default_factory=dict[str, EventRow])
    events_again: dict[str, EventRow] = field(default_factory=dict[str, EventRow])
    suppressed: list[tuple[str, str, int]] = field(default_factory=list[tuple[str, str, int]])
    letters: list[LetterRow] = field(default_factory=list[LetterRow])
    receipts: list[Receipt] = field(default_factory=list[Receipt])

    def __bool__(self) -> bool:
        """Whether anything changes."""
        return self != Changes()

    @property
    def erases(self) -> bool:
        """Whether text goes for good."""
        return bool(self.gone or self.ended or self.purged)
