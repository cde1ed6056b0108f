"""The rows of a store as the writer holds them while it works on a batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final, NamedTuple

from sessions.ids import shown_id
from sessions.models import Outcome, OutcomeKind, Position, StreamId

OUTCOME_CODES: Final = {OutcomeKind.APPLIED: 1, OutcomeKind.NOOP: 2, OutcomeKind.DEAD: 3}
_OUTCOMES: Final = {code: kind for kind, code in OUTCOME_CODES.items()}


@dataclass(slots=True)
class SessionRow:
    """A row of `sessions`, in the order of its columns; it changes while its batch is applied."""

    id: int
    key: str
    generation: int
    live: int
    ended_at: int | None
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
    message_count: int
    next_seq: int
    owned_from: int


class EventRow(NamedTuple):
    """A row of `events`, in the order of its columns. `event_id` holds its publisher's space."""

    event_id: str
    digest: bytes
    outcome: int
    reason: str | None
    session_id: int | None
    session: str | None
    generation: int | None
    seq: int | None
    gone: str | None
    epoch: int
    ms: int
    n: int
    duplicates: int
    detail: str | None
    expires_at: int | None

    def stands_at(self, stream_id: StreamId) -> bool:
        """Whether this is the very entry that gave the id its outcome, read once more."""
        return (self.ms, self.n) == packed(stream_id)


class MessageRow(NamedTuple):
    """A visible message. `id` grows with the stream; ids hold their publisher's space."""

    id: int
    session_id: int
    seq: int
    event_id: str
    role: str
    turn: str | None
    created_at: int
    content: str
    by: str | None


def columns(row_type: type) -> str:
    """The column list of a row type."""
    return ", ".join(row_type.__annotations__)


# `dataclasses.astuple` does this too, and copies every value deeply on the way.
session_values: Final[Callable[[SessionRow], tuple[Any, ...]]] = attrgetter(
    *SessionRow.__annotations__
)


def packed(stream_id: StreamId) -> tuple[int, int]:
    """A stream id as two columns.

    Redis' numbers have 64 bits and no sign, SQLite's have one: the upper half becomes negative.
    """
    ms, seq = stream_id
    return (ms if ms < 2**63 else ms - 2**64), (seq if seq < 2**63 else seq - 2**64)


def unpacked(ms: int, seq: int) -> StreamId:
    """The stream id that was `packed`."""
    return StreamId(ms % 2**64, seq % 2**64)


def outcome_of(row: EventRow, key: str | None) -> Outcome:
    """What callers see of an event's row."""
    return Outcome(
        id=shown_id(row.event_id),
        outcome=_OUTCOMES[row.outcome],
        reason=row.reason,
        session=key,
        position=Position(row.epoch, unpacked(row.ms, row.n), row.event_id),
        duplicates=row.duplicates,
        detail=row.detail,
        digest=row.digest,
        generation=row.generation,
    )
