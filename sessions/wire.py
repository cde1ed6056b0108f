"""The one codec of the stream contract, version 1: stream fields <-> Event.

Every door uses it: the publisher before it sends, the HTTP doors before they publish, the worker
when it reads. So what one of them accepts, none of the others refuses. The contract itself is
docs/stream-contract.md.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from sessions import times
from sessions.errors import InvalidEvent
from sessions.models import Entry, Event, EventType, Poison, RawEntry, Reason

VERSION: Final = "1"

# Bounds of the contract, in bytes of UTF-8.
MAX_SESSION: Final = 512
MAX_ROLE: Final = 32
# A display name or a platform's id; long enough for every platform we know, short in an index.
MAX_LABEL: Final = 512
# What one message may hold unless the operator sets another bound.
DEFAULT_MAX_CONTENT: Final = 256 * 1024
# What a dead letter keeps of its entry. An unknown version keeps all of it up to the content
# bound, because it must be replayable after an upgrade.
DEAD_PAYLOAD: Final = 64 * 1024

_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_STATES: Final = frozenset({"idle", "running", "error"})
_ACTIONS: Final = frozenset({"replay", "purge"})

_PAYLOAD_FIELDS: Final = (
    *("type", "session", "role", "content", "turn", "target", "expect", "close_with"),
    *("name", "state", "action"),
)
_FIELDS: Final = (
    "id",
    *_PAYLOAD_FIELDS,
    *("if_exists", "agent", "channel", "room", "sender", "at"),
)


def is_id(text: str) -> bool:
    """Whether the text can be an event id."""
    return _ID.fullmatch(text) is not None


def decode(raw: RawEntry, *, max_content: int = DEFAULT_MAX_CONTENT) -> Entry:
    """What a stream entry says; poison instead of an exception, since one entry stops nobody."""
    try:
        fields = _text_fields(raw.fields, max_content)
    except InvalidEvent as error:
        return Entry(raw, Poison(Reason(error.reason), error.detail, *_salvage(raw.fields)))
    try:
        return Entry(raw, parse(fields, max_content=max_content))
    except InvalidEvent as error:
        return Entry(raw, Poison(Reason(error.reason), error.detail, *_salvage(raw.fields)))


def _text_fields(pairs: Sequence[bytes], max_content: int) -> dict[str, str]:
    fields: dict[str, str] = {}
    for name, value in zip(pairs[::2], pairs[1::2], strict=True):
        if len(value) > max_content:
            raise InvalidEvent(
                Reason.TOO_LARGE,
                f"field {name[:40]!r} has {len(value)} bytes; the limit is {max_content}",
            )
        try:
            fields[name.decode()] = value.decode()
        except UnicodeDecodeError as error:
            raise InvalidEvent(
                Reason.UNDECODABLE, f"field {name[:40]!r} is not UTF-8: {error.reason}"
            ) from None
    if 2 * len(fields) != len(pairs):
        raise InvalidEvent(Reason.UNDECODABLE, "a field is given twice")
    return fields


def _salvage(pairs: Sequence[bytes]) -> tuple[str | None, str | None]:
    """Event id and session of an entry that is otherwise unusable, where they are legible."""
    found: dict[bytes, str] = {}
    for name, value in zip(pairs[::2], pairs[1::2], strict=True):
        if name in (b"id", b"session") and 0 < len(value) <= MAX_SESSION and name not in found:
            try:
                found[name] = value.decode()
            except UnicodeDecodeError:
                continue
    event_id = found.get(b"id")
    return (event_id if event_id and is_id(event_id) else None), found.get(b"session")


def parse(fields: Mapping[str, str], *, max_content: int = DEFAULT_MAX_CONTENT) -> Event:
    """The event that these text fields describe.

    Unknown fields are ignored: a later 1.x producer may add some. Raises InvalidEvent with the
    dead letter's reason and a sentence that names the field.
    """
    version = fields.get("v")
    if version != VERSION:
        raise InvalidEvent(
            Reason.UNKNOWN_VERSION,
            f"v is {version!r}; this Turnstream reads version {VERSION}"
            if version is not None
            else f"v is missing; write v {VERSION}",
        )
    event_type = _event_type(fields)
    event = Event(
        id=_required_id(fields, "id"),
        type=event_type,
        session="" if event_type is EventType.DEAD else _session(fields),
        role=_bounded(fields, "role", MAX_ROLE, required=event_type is EventType.APPEND),
        content=_text(fields, "content", max_content),
        turn=_optional_id(fields, "turn"),
        target=_optional_id(fields, "target"),
        expect=_text(fields, "expect", max_content),
        close_with=_text(fields, "close_with", max_content),
        name=_text(fields, "name", MAX_LABEL),
        state=_choice(fields, "state", _STATES),
        action=_choice(fields, "action", _ACTIONS),
        if_exists=_flag(fields, "if_exists"),
        agent=_label(fields, "agent"),
        channel=_label(fields, "channel"),
        room=_label(fields, "room"),
        sender=_label(fields, "sender"),
        at=_time(fields),
    )
    check = _COMPLETE.get(event_type)
    if check is not None:
        check(event)
    return event


def encode(event: Event) -> dict[str, str]:
    """The fields of one XADD; `parse` reads them back to an equal event."""
    fields = {"v": VERSION}
    for name in _FIELDS:
        value = getattr(event, name)
        if value is None or value is False or (name == "session" and value == ""):
            continue
        if value is True:
            value = "1"
        elif name == "at":
            value = times.render(value)
        fields[name] = str(value)
    return fields


def payload_digest(event: Event) -> bytes:
    """16 bytes that two events share exactly when rule 1 calls them the same payload."""
    parts: list[str] = []
    for name in _PAYLOAD_FIELDS:
        value = getattr(event, name)
        parts.append("-" if value is None else f"{len(value)}:{value}")
    return hashlib.sha256("".join(parts).encode()).digest()[:16]


def raw_digest(raw: RawEntry) -> bytes:
    """The same for an entry that has no payload because it could not be read."""
    return hashlib.sha256(frame(raw.fields)).digest()[:16]


def frame(fields: Iterable[bytes]) -> bytes:
    """The raw bytes of an entry as one string: each name and value as `length:bytes,`."""
    return b"".join(b"%d:%b," % (len(field), field) for field in fields)


def unframe(payload: bytes) -> list[bytes]:
    """The fields of a framed entry; raises ValueError where it was cut."""
    fields: list[bytes] = []
    offset = 0
    while offset < len(payload):
        colon = payload.index(b":", offset)
        end = colon + 1 + int(payload[offset:colon])
        if payload[end : end + 1] != b",":
            raise ValueError("the payload was cut")
        fields.append(payload[colon + 1 : end])
        offset = end + 1
    return fields


def _event_type(fields: Mapping[str, str]) -> EventType:
    text = fields.get("type")
    if text is None:
        raise _invalid("type", "is missing")
    try:
        return EventType(text)
    except ValueError:
        known = ", ".join(EventType)
        raise InvalidEvent(
            Reason.UNKNOWN_TYPE, f"type {text[:40]!r} is unknown; it is one of {known}"
        ) from None


def _invalid(name: str, problem: str) -> InvalidEvent:
    return InvalidEvent(Reason.INVALID_FIELD, f"{name} {problem}")


def _required_id(fields: Mapping[str, str], name: str) -> str:
    value = _optional_id(fields, name)
    if value is None:
        raise _invalid(name, "is missing")
    return value


def _optional_id(fields: Mapping[str, str], name: str) -> str | None:
    value = fields.get(name)
    if value is not None and _ID.fullmatch(value) is None:
        raise _invalid(name, "must be 1 to 128 characters of A-Z a-z 0-9 . _ : -")
    return value


def _session(fields: Mapping[str, str]) -> str:
    value = _bounded(fields, "session", MAX_SESSION, required=True)
    assert value is not None
    return value


def _bounded(
    fields: Mapping[str, str], name: str, limit: int, *, required: bool = False
) -> str | None:
    value = _text(fields, name, limit)
    if value is None and required:
        raise _invalid(name, "is missing")
    if value == "":
        raise _invalid(name, f"must have 1 to {limit} bytes")
    return value


def _text(fields: Mapping[str, str], name: str, limit: int) -> str | None:
    value = fields.get(name)
    # A character takes at most four bytes, so most texts need no second look.
    if value is not None and 4 * len(value) > limit:
        size = _utf8_size(name, value)
        if size > limit:
            reason = Reason.TOO_LARGE if limit > MAX_LABEL else Reason.INVALID_FIELD
            raise InvalidEvent(reason, f"{name} has {size} bytes; the limit is {limit}")
    return value


def _utf8_size(name: str, value: str) -> int:
    try:
        return len(value.encode())
    except UnicodeEncodeError:
        raise InvalidEvent(Reason.UNDECODABLE, f"{name} holds a lone surrogate") from None


def _label(fields: Mapping[str, str], name: str) -> str | None:
    return _text(fields, name, MAX_LABEL) or None


def _choice(fields: Mapping[str, str], name: str, allowed: frozenset[str]) -> str | None:
    value = fields.get(name)
    if value is not None and value not in allowed:
        raise _invalid(name, f"must be one of {', '.join(sorted(allowed))}")
    return value


def _flag(fields: Mapping[str, str], name: str) -> bool:
    value = fields.get(name)
    if value not in (None, "1"):
        raise _invalid(name, "must be 1 where it is given")
    return value == "1"


def _time(fields: Mapping[str, str]) -> int | None:
    value = fields.get("at")
    if value is None:
        return None
    try:
        return times.parse(value)
    except (ValueError, OverflowError) as error:
        raise _invalid("at", f"must be an RFC 3339 time: {error}") from None


def _complete_append(event: Event) -> None:
    if event.content is None:
        raise _invalid("content", "is missing")


def _complete_rollback(event: Event) -> None:
    if (event.target is None) == (event.expect is None):
        raise _invalid("target", "or expect is needed on a rollback, exactly one of them")


def _complete_rename(event: Event) -> None:
    if event.name is None:
        raise _invalid("name", "is missing; an empty one clears the name")


def _complete_state(event: Event) -> None:
    if event.state is None:
        raise _invalid("state", "is missing")


def _complete_dead(event: Event) -> None:
    if event.action is None:
        raise _invalid("action", "is missing")
    if event.target is None:
        raise _invalid("target", "is missing; it is the dead letter's id")


_COMPLETE: Final[dict[EventType, Callable[[Event], None]]] = {
    EventType.APPEND: _complete_append,
    EventType.ROLLBACK: _complete_rollback,
    EventType.RENAME: _complete_rename,
    EventType.STATE: _complete_state,
    EventType.DEAD: _complete_dead,
}
