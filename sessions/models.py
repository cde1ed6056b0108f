"""What moves through Turnstream: events on the stream, and what the store shows of them.

Plain frozen values without behaviour of their own; the four of the hot path are named tuples,
because a frozen dataclass of 20 fields costs four times as much to make. `wire` makes events out
of stream entries, the backends make the rest. Times are integer microseconds since 1970 UTC
(`times`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, NamedTuple, Protocol, TypeVar, cast

from sessions.errors import InvalidRequest
from sessions.ids import stored_id

T = TypeVar("T")


class _MakeTuple(Protocol):
    def __call__(self, kind: type[T], values: Iterable[Any], /) -> T: ...


# What a named tuple's own `__new__` does, without being a Python function. It does not check the
# number of the values; for the hot path only.
make_tuple: Final[_MakeTuple] = cast("Any", tuple[Any]).__new__


class EventType(StrEnum):
    """What an event asks the worker to do."""

    APPEND = "append"
    ROLLBACK = "rollback"
    RESET = "reset"
    DELETE = "delete"
    RENAME = "rename"
    STATE = "state"
    CONTEXT = "context"
    OWNER = "owner"
    DEAD = "dead"


class OutcomeKind(StrEnum):
    """How an event ended."""

    APPLIED = "applied"
    NOOP = "noop"
    DEAD = "dead"


class Reason(StrEnum):
    """Why an event had no effect, or (the last group) why it became a dead letter."""

    TARGET_NOT_SEEN = "target_not_seen"
    ANSWERED = "answered"
    NOT_LAST = "not_last"
    ALREADY_ROLLED_BACK = "already_rolled_back"
    DELETED = "deleted"
    RESET = "reset"
    WRONG_SESSION = "wrong_session"
    NOT_USER_APPEND = "not_user_append"
    NOT_APPLIED = "not_applied"
    SESSION_DELETED = "session_deleted"
    STALE_TURN = "stale_turn"
    NO_SESSION = "no_session"
    NOT_OWNER = "not_owner"
    NO_DEAD_LETTER = "no_dead_letter"
    NOT_REPLAYABLE = "not_replayable"
    STILL_DEAD = "still_dead"

    UNDECODABLE = "undecodable"
    UNKNOWN_VERSION = "unknown_version"
    UNKNOWN_TYPE = "unknown_type"
    INVALID_FIELD = "invalid_field"
    TOO_LARGE = "too_large"
    ID_CONFLICT = "id_conflict"
    APPLY_FAILED = "apply_failed"


class StreamId(NamedTuple):
    """A Redis stream id; compares as numbers, which its text form does not."""

    ms: int
    seq: int

    def __str__(self) -> str:
        return f"{self.ms}-{self.seq}"

    @classmethod
    def parse(cls, text: str | bytes) -> StreamId:
        """Read `ms-seq`; raises ValueError for anything else."""
        raw = text if isinstance(text, bytes) else text.encode()
        # bytes.isdigit knows the ten ASCII digits only, which str.isdigit does not.
        ms, _, seq = raw.partition(b"-")
        if not (ms.isdigit() and seq.isdigit()):
            raise ValueError(f"not a stream id: {text!r}")
        return cls(int(ms), int(seq))


STREAM_START: Final = StreamId(0, 0)

# An epoch of at most 9 digits, a stream id of two 64-bit numbers, an event id of 128 characters
# with its publisher's space.
_POSITION = re.compile(
    r"([0-9]{1,9})\.([0-9]{1,20}-[0-9]{1,20})\.([A-Za-z0-9._:-]{0,128}(?:@[0-9a-f]{16})?)"
)


@dataclass(frozen=True, slots=True)
class Position:
    """A point of the stream that a reader can wait for.

    `epoch` 0 means that no worker had registered the stream yet: such a position is reached only
    by its event's outcome. `event_id` is the stored one (`ids.stored_id`), which holds the space of
    its publisher; it is empty in the position of a read.
    """

    epoch: int
    stream_id: StreamId
    event_id: str = ""

    def __str__(self) -> str:
        return f"{self.epoch}.{self.stream_id}.{self.event_id}"

    @classmethod
    def parse(cls, text: str) -> Position:
        """Read the token form; raises InvalidRequest for anything that we did not hand out."""
        match = _POSITION.fullmatch(text)
        if match is None:
            raise InvalidRequest(
                "this is not a position; use one from X-Turnstream-Position or a publish answer"
            )
        return cls(int(match[1]), StreamId.parse(match[2]), match[3])


class Event(NamedTuple):
    """One entry of the stream, checked against the contract. Absent fields are None.

    docs/stream-contract.md has the meaning of each field. Only `publish` checks an event.
    `type` to `action` stand together: they are the payload that rule 1 compares.
    """

    id: str
    type: EventType
    session: str = ""
    role: str | None = None
    content: str | None = None
    turn: str | None = None
    target: str | None = None
    expect: str | None = None
    close_with: str | None = None
    name: str | None = None
    state: str | None = None
    action: str | None = None
    if_exists: bool = False
    agent: str | None = None
    channel: str | None = None
    room: str | None = None
    sender: str | None = None
    at: int | None = None
    by: str | None = None
    expect_agent: str | None = None

    @property
    def stored_id(self) -> str:
        """The id under which the store keeps it: with the space of its publisher."""
        return stored_id(self.id, self.by)

    @property
    def payload(self) -> tuple[str | None, ...]:
        """The fields in which two events of one id must agree, all but `type`."""
        return self[2:12]

    @property
    def routing(self) -> tuple[str | None, ...]:
        """Owner claim, channel, room and sender."""
        return self[13:17]


@dataclass(frozen=True, slots=True)
class Poison:
    """An entry that can never be applied as it is; it becomes a dead letter.

    `event_id` is the one that was published, `by` its publisher.
    """

    reason: Reason
    detail: str
    event_id: str | None
    session: str | None
    by: str | None = None

    @property
    def stored_id(self) -> str | None:
        """The id under which the store keeps its outcome."""
        return None if self.event_id is None else stored_id(self.event_id, self.by)


class RawEntry(NamedTuple):
    """A stream entry as Redis gave it: field, value, field, value, …"""

    stream_id: StreamId
    fields: Sequence[bytes]

    @property
    def size(self) -> int:
        """Bytes of all names and values."""
        return sum(map(len, self.fields))


class Entry(NamedTuple):
    """A stream entry together with what it says, and 16 bytes that stand for its payload."""

    raw: RawEntry
    body: Event | Poison
    digest: bytes


@dataclass(frozen=True, slots=True)
class Outcome:
    """The one result of an event. `duplicates` counts the later entries that carried its id.

    `id` is the one that was published; the position holds the stored one. `digest` stands for the
    first payload, as `Entry.digest` does; it is empty if the store does not know the payload.
    `generation` is the one of the session that the event found, None if it was not to find any.
    """

    id: str
    outcome: OutcomeKind
    reason: str | None
    session: str | None
    position: Position
    duplicates: int
    detail: str | None
    digest: bytes = field(default=b"", compare=False)
    generation: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Session:
    """A session as lists show it. `agent` is the owner, `turn` the running turn.

    `state` is `idle`, `running` or `error`. `last_activity` is the time of the newest message.
    `owned_from` is the generation that the present owner opened.
    """

    key: str
    generation: int
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
    owned_from: int = 1


@dataclass(frozen=True, slots=True)
class Message:
    """A stored message; `seq` grows within its session and is never used twice by one owner.

    Numbers may be missing, because messages are taken back.
    `id` and `turn` are as they were published, `by` is the agent whose token published it.
    """

    seq: int
    id: str
    role: str
    content: str
    turn: str | None
    created_at: int
    by: str | None = None


@dataclass(frozen=True, slots=True)
class SearchHit:
    """A message that a search found, with its session's key."""

    session: str
    message: Message


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An entry that could not be applied. `payload` holds its raw fields, cut at 64 KiB.

    `size` counts the bytes of all raw fields, and `sha256` (hex digits) is of all of them.
    `event_id` and `session` are None if they could not be read. `at` is when the worker met it;
    `by` is the agent whose token published it.
    """

    id: str
    reason: str
    detail: str
    session: str | None
    event_id: str | None
    size: int
    sha256: str
    stream_id: StreamId
    at: int
    payload: bytes
    by: str | None = None


@dataclass(frozen=True, slots=True)
class StreamCursor:
    """How far the store has applied the stream, committed with the rows.

    `resolved` counts the entries read in this epoch; `skipped` the ones that Redis had added and
    removed again before this epoch began. `added` is Redis' own count when last compared.
    """

    epoch: int
    applied: StreamId
    resolved: int
    skipped: int
    added: int


@dataclass(frozen=True, slots=True)
class Routing:
    """Owner and routing of a session, or of the tombstone of one (`live` is then false).

    `owned_from` is the generation that the owner opened.
    """

    agent: str | None
    channel: str | None
    room: str | None
    sender: str | None
    live: bool
    owned_from: int


@dataclass(frozen=True, slots=True)
class LetterBounds:
    """Dead letters that are kept of one publisher: the newest, so many and of so many bytes."""

    count: int = 10_000
    size: int = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Lease:
    """Who leads. `beat` grows with every renewal; `holder` is None after a clean stop."""

    epoch: int
    holder: str | None
    beat: int
