"""The records of an export, version 1: one JSON object a line, each beginning with its `kind`.

docs/export-format.md tells users the same. A header comes first. Then come sessions, messages,
other outcomes, suppressed ids, dead letters and receipts, in this order, and an `end` with the
number of each kind and the sha256 of all bytes before it. Within a kind the order is the store's.

Ids are the stored ones: those of an agent's events end with `@` and 16 hex digits. Times are RFC
3339 in UTC, with microseconds if they have any.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)

from sessions.models import OutcomeKind, StreamCursor
from sessions.store.engine.changes import LetterRow
from sessions.store.engine.receipts import Receipt
from sessions.store.engine.rows import (
    OUTCOME_CODES,
    EventRow,
    MessageRow,
    SessionRow,
    packed,
    unpacked,
)
from sessions.store.image import KeyedEvent, KeyedMessage, StoreHead, SuppressedId
from sessions.transfer.texts import Base64, Count, Place, Time

FORMAT: Final = "turnstream-export"
VERSION: Final = 1
_KINDS: Final = {code: kind for kind, code in OUTCOME_CODES.items()}


class Record(BaseModel):
    """A line."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    def line(self) -> bytes:
        """The line, with its end."""
        return self.model_dump_json().encode() + b"\n"


class Filter(Record):
    """What the export was narrowed to; without any it is whole."""

    sessions: list[str] | None = None
    agent: str | None = None
    since: Time | None = None


class Header(Record):
    """The first line."""

    kind: Literal["turnstream-export"] = FORMAT
    version: int = VERSION
    filter: Filter | None = None


class StoreLine(Record):
    """What a store has once; only a backup has it. `applied` is the place in the stream."""

    kind: Literal["store"] = "store"
    store_id: str
    created_at: Count
    epoch: Count
    applied: Place
    resolved: Count
    skipped: Count
    added: Count
    letters_dropped: Count

    @classmethod
    def of(cls, head: StoreHead) -> StoreLine:
        """The record of a store that was made."""
        cursor = head.cursor
        return cls.model_construct(
            kind="store",
            store_id=head.store_id or "",
            created_at=head.created_at,
            epoch=cursor.epoch,
            applied=packed(cursor.applied),
            resolved=cursor.resolved,
            skipped=cursor.skipped,
            added=cursor.added,
            letters_dropped=head.letters_dropped,
        )

    @property
    def head(self) -> StoreHead:
        """What the store had."""
        applied = unpacked(*self.applied)
        cursor = StreamCursor(self.epoch, applied, self.resolved, self.skipped, self.added)
        return StoreHead(self.store_id, self.created_at, cursor, self.letters_dropped)


class SessionLine(Record):
    """A session, or with `deleted_at` what is remembered of a deleted one."""

    kind: Literal["session"] = "session"
    number: Count
    session: Annotated[str, Field(min_length=1)]
    generation: Count
    deleted_at: Time | None
    name: str | None
    agent: str | None
    channel: str | None
    room: str | None
    sender: str | None
    state: Literal["idle", "running", "error"]
    turn: str | None
    state_since: Time | None
    created_at: Time
    last_activity: Time
    next_seq: Count
    owned_from: Count

    @classmethod
    def of(cls, row: SessionRow) -> SessionLine:
        """The record of a row."""
        same = {name: getattr(row, name) for name in _SAME_IN_SESSIONS}
        deleted_at = None if row.live else row.ended_at
        return cls.model_construct(
            kind="session", number=row.id, session=row.key, deleted_at=deleted_at, **same
        )

    def row(self) -> SessionRow:
        """The row, without messages as yet."""
        same = {name: getattr(self, name) for name in _SAME_IN_SESSIONS}
        return SessionRow(
            id=self.number,
            key=self.session,
            live=int(self.deleted_at is None),
            ended_at=self.deleted_at,
            message_count=0,
            **same,
        )


_SAME_IN_SESSIONS: Final = (
    *("generation", "name", "agent", "channel", "room", "sender", "state", "turn"),
    *("state_since", "created_at", "last_activity", "next_seq", "owned_from"),
)


class OutcomeFields(Record):
    """What became of an event. `at` is its place in the stream, of that `epoch`."""

    digest: str
    outcome: Literal["applied", "noop", "dead"]
    reason: str | None
    session: str | None
    generation: Count | None
    seq: Count | None
    gone: str | None
    epoch: Count
    at: Place
    duplicates: Count
    detail: str | None
    expires_at: Time | None

    @classmethod
    def of_event(cls, row: EventRow) -> dict[str, Any]:
        """The fields of a row."""
        same = {name: getattr(row, name) for name in _SAME_IN_EVENTS}
        kind = _KINDS[row.outcome].value
        return {"digest": row.digest.hex(), "outcome": kind, "at": (row.ms, row.n), **same}

    def event(self, event_id: str, *, found: bool) -> EventRow:
        """The row; its session's number, if it `found` one, is the store's to say."""
        same = {name: getattr(self, name) for name in _SAME_IN_EVENTS}
        return EventRow(
            event_id=event_id,
            digest=bytes.fromhex(self.digest),
            outcome=OUTCOME_CODES[OutcomeKind(self.outcome)],
            session_id=0 if found else None,
            ms=self.at[0],
            n=self.at[1],
            **same,
        )


_SAME_IN_EVENTS: Final = (
    *("reason", "session", "generation", "seq", "gone", "epoch", "duplicates", "detail"),
    "expires_at",
)


class MessageOutcome(OutcomeFields):
    """What became of the event of a message. A no-op that left one did not `find` its session."""

    found: bool


class MessageLine(Record):
    """A message, with what became of its event."""

    kind: Literal["message"] = "message"
    number: Count
    session: str
    seq: Count
    id: str
    role: str
    content: str
    turn: str | None
    created_at: Time
    by: str | None
    event: MessageOutcome

    @classmethod
    def of(cls, message: KeyedMessage) -> MessageLine:
        """The record of a stored message."""
        key, row, event = message
        fields = OutcomeFields.of_event(event)
        found = event.session_id is not None
        outcome = MessageOutcome.model_construct(found=found, **fields)
        same = {name: getattr(row, name) for name in _SAME_IN_MESSAGES}
        return cls.model_construct(
            kind="message", number=row.id, session=key, id=row.event_id, event=outcome, **same
        )

    def message(self) -> KeyedMessage:
        """The message; its session's number is the store's to say."""
        same = {name: getattr(self, name) for name in _SAME_IN_MESSAGES}
        row = MessageRow(id=self.number, session_id=0, event_id=self.id, **same)
        return KeyedMessage(self.session, row, self.event.event(self.id, found=self.event.found))


_SAME_IN_MESSAGES: Final = ("seq", "role", "content", "turn", "created_at", "by")


class OutcomeLine(OutcomeFields):
    """What became of an event that shows no message; `home` is the session that it found."""

    kind: Literal["outcome"] = "outcome"
    id: str
    home: str | None

    @classmethod
    def of(cls, event: KeyedEvent) -> OutcomeLine:
        """The record of a stored event."""
        home, row = event
        fields = OutcomeFields.of_event(row)
        return cls.model_construct(kind="outcome", id=row.event_id, home=home, **fields)

    def keyed(self) -> KeyedEvent:
        """The event."""
        return KeyedEvent(self.home, self.event(self.id, found=self.home is not None))


class SuppressedLine(Record):
    """A user append that has no effect if it comes, until `expires_at`."""

    kind: Literal["suppressed"] = "suppressed"
    id: str
    session: str
    expires_at: Time

    @classmethod
    def of(cls, one: SuppressedId) -> SuppressedLine:
        """The record of a suppressed id."""
        return cls.model_construct(
            kind="suppressed", id=one.event_id, session=one.session, expires_at=one.expires_at
        )

    def suppressed(self) -> SuppressedId:
        """The suppressed id."""
        return SuppressedId(self.id, self.session, self.expires_at)


class LetterLine(Record):
    """A dead letter; `payload` is base64 of its raw fields, maybe cut."""

    kind: Literal["dead_letter"] = "dead_letter"
    id: str
    reason: str
    detail: str
    session: str | None
    event_id: str | None
    size: Count
    sha256: str
    stream_id: Place
    at: Time
    by: str | None
    payload: Base64

    @classmethod
    def of(cls, row: LetterRow) -> LetterLine:
        """The record of a row."""
        same = {name: getattr(row, name) for name in _SAME_IN_LETTERS}
        return cls.model_construct(kind="dead_letter", stream_id=(row.ms, row.n), **same)

    def row(self) -> LetterRow:
        """The row."""
        same = {name: getattr(self, name) for name in _SAME_IN_LETTERS}
        return LetterRow(ms=self.stream_id[0], n=self.stream_id[1], **same)


_SAME_IN_LETTERS: Final = (
    *("id", "reason", "detail", "session", "event_id", "size", "sha256", "at", "payload", "by"),
)


class ReceiptLine(Record):
    """What came into the store from elsewhere."""

    kind: Literal["receipt"] = "receipt"
    source: str
    session: str
    format: str
    digest: str
    size: Count
    messages: Count
    aside: Count
    at: Time
    detail: str

    @classmethod
    def of(cls, receipt: Receipt) -> ReceiptLine:
        """The record of a receipt."""
        fields = receipt._asdict()
        return cls.model_construct(kind="receipt", format=fields.pop("kind"), **fields)

    def receipt(self) -> Receipt:
        """The receipt."""
        fields = {name: getattr(self, name) for name in Receipt._fields if name != "kind"}
        return Receipt(kind=self.format, **fields)


class End(Record):
    """The last line: how many records of each kind there are, and the digest of all before it."""

    kind: Literal["end"] = "end"
    counts: dict[str, Count]
    sha256: str


AnyRecord: TypeAlias = Annotated[
    StoreLine
    | SessionLine
    | MessageLine
    | OutcomeLine
    | SuppressedLine
    | LetterLine
    | ReceiptLine
    | End,
    Field(discriminator="kind"),
]
_ANY: Final[TypeAdapter[AnyRecord]] = TypeAdapter(AnyRecord)
# The kinds of all lines.
KINDS: Final = (
    *(FORMAT, "store", "session", "message", "outcome", "suppressed", "dead_letter"),
    *("receipt", "end"),
)


def record_of(line: bytes) -> AnyRecord:
    """The record of a line behind the first. Raises ValueError that names the field."""
    try:
        return _ANY.validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the line"
        raise ValueError(f"{place}: {first['msg']}") from None
