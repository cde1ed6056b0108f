"""The one codec of the stream contract, version 1: stream fields <-> Event.

Every door uses it: the publisher before it sends, the HTTP doors before they publish, the worker
when it reads. So what one of them accepts, none of the others refuses. The contract itself is
docs/stream-contract.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final, NamedTuple

from sessions import times
from sessions.errors import InvalidEvent
from sessions.models import Entry, Event, EventType, Poison, RawEntry, Reason, make_tuple

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

# Characters of an id. `strip` leaves nothing of an id, in a third of a pattern's time.
_ID: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-"
_MAX_ID: Final = 128
# Found once: an attribute of an enumeration costs as much as a call.
_DEAD_EVENT: Final = EventType.DEAD
_STATES: Final = frozenset({"idle", "running", "error"})
_ACTIONS: Final = frozenset({"replay", "purge"})


def is_id(text: str) -> bool:
    """Whether the text can be an event id."""
    return 0 < len(text) <= _MAX_ID and not text.strip(_ID)


def decode(raw: RawEntry, *, max_content: int = DEFAULT_MAX_CONTENT) -> Entry:
    """What a stream entry says; poison instead of an exception, since one entry stops nobody."""
    values = raw.fields[1::2]
    try:
        shape = _shape_of(tuple(raw.fields[::2]), max_content)
        event = _event(shape, values)
    except InvalidEvent as error:
        poison = Poison(Reason(error.reason), error.detail, *_salvage(raw.fields))
        return Entry(raw, poison, _digest(frame(raw.fields)))
    return make_tuple(Entry, (raw, event, _payload_digest(event, shape, values)))


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
    encoded: dict[bytes, bytes] = {}
    for name, text in fields.items():
        try:
            encoded[name.encode()] = text.encode()
        except UnicodeEncodeError:
            detail = f"{name!a} holds a lone surrogate"
            raise InvalidEvent(Reason.UNDECODABLE, detail) from None
    return _event(_shape_of(tuple(encoded), max_content), [*encoded.values()])


def _event(shape: _Shape, values: Sequence[bytes]) -> Event:
    """The event of UTF-8 fields: the one validator behind every door."""
    version = values[shape.version] if shape.version is not None else None
    if version != _VERSION:
        raise InvalidEvent(
            Reason.UNKNOWN_VERSION,
            f"v is {version[:40]!r}; this Turnstream reads version {VERSION}"
            if version is not None
            else f"v is missing; write v {VERSION}",
        )
    made = _BLANK.copy()
    for place, name, least, most, at, convert in shape.fields:
        value = values[place]
        if not least <= len(value) <= most:
            raise _wrong_size(name, len(value), least, most)
        try:
            text = value.decode()
        except UnicodeDecodeError as error:
            raise InvalidEvent(
                Reason.UNDECODABLE, f"field {name} is not UTF-8: {error.reason}"
            ) from None
        made[at] = text if convert is None else convert(name, text)
    made.pop()
    return _complete(make_tuple(Event, made))


def _complete(event: Event) -> Event:
    """The event, after a look at what its type needs."""
    kind = event.type
    # Not so by its type: the values came from a list.
    if kind is None:  # pyright: ignore[reportUnnecessaryComparison]
        raise _invalid("type", "is missing")
    if event.id is None:  # pyright: ignore[reportUnnecessaryComparison]
        raise _invalid("id", "is missing")
    if kind is _DEAD_EVENT:
        event = event._replace(session="")
    elif not event.session:
        raise _invalid("session", "is missing")
    complete = _COMPLETE.get(kind)
    if complete is not None:
        complete(event)
    return event


def encode(event: Event) -> dict[str, str]:
    """The fields of one XADD; `parse` reads them back to an equal event."""
    fields = {"v": VERSION}
    for name, value in zip(Event._fields, event, strict=True):
        if value is None or value is False or (name == "session" and value == ""):
            continue
        if value is True:
            fields[name] = "1"
        elif isinstance(value, int):
            fields[name] = times.render(value)
        else:
            fields[name] = value
    return fields


def _payload_digest(event: Event, shape: _Shape, values: Sequence[bytes]) -> bytes:
    """16 bytes that two events share exactly when rule 1 calls them the same payload."""
    head, pick = shape.dead_payload if event.type is _DEAD_EVENT else shape.payload
    # No UTF-8 holds the byte 255.
    return _digest(head + b"\xff".join(pick(values)))


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()[:16]


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


def _invalid(name: str, problem: str) -> InvalidEvent:
    return InvalidEvent(Reason.INVALID_FIELD, f"{name} {problem}")


def _wrong_size(name: str, size: int, least: int, most: int) -> InvalidEvent:
    if size > most and _rule(name.encode()).most is None:
        return InvalidEvent(Reason.TOO_LARGE, f"{name} has {size} bytes; the limit is {most}")
    return _invalid(name, f"must have {least} to {most} bytes, and has {size}")


# A converter takes a field's name and text and gives the value of the event's attribute.


def _event_type(name: str, text: str) -> EventType:
    found = _TYPES.get(text)
    if found is None:
        known = ", ".join(EventType)
        raise InvalidEvent(
            Reason.UNKNOWN_TYPE, f"{name} {text[:40]!r} is unknown; it is one of {known}"
        )
    return found


def _id(name: str, text: str) -> str:
    if text.strip(_ID) or not 0 < len(text) <= _MAX_ID:
        raise _invalid(name, "must be 1 to 128 characters of A-Z a-z 0-9 . _ : -")
    return text


def _label(_: str, text: str) -> str | None:
    return text or None


def _state(name: str, text: str) -> str:
    return _choice(name, text, _STATES)


def _action(name: str, text: str) -> str:
    return _choice(name, text, _ACTIONS)


def _choice(name: str, text: str, allowed: frozenset[str]) -> str:
    if text not in allowed:
        raise _invalid(name, f"must be one of {', '.join(sorted(allowed))}")
    return text


def _flag(name: str, text: str) -> bool:
    if text != "1":
        raise _invalid(name, "must be 1 where it is given")
    return True


def _time(name: str, text: str) -> int:
    try:
        return times.parse(text)
    except (ValueError, OverflowError) as error:
        raise _invalid(name, f"must be an RFC 3339 time: {error}") from None


class _Rule(NamedTuple):
    """How a field is read: the event's attribute, bytes at least and at most (None: the content
    bound), and a converter."""

    name: str | None
    least: int = 0
    most: int | None = MAX_LABEL
    convert: Callable[[str, str], Any] | None = None


_UNKNOWN: Final = _Rule(None, most=None)
_VERSION: Final = VERSION.encode()
_RULES: Final[dict[bytes, _Rule]] = {
    # Looked at before all others.
    b"v": _UNKNOWN,
    b"id": _Rule("id", convert=_id),
    b"type": _Rule("type", most=None, convert=_event_type),
    b"session": _Rule("session", 1, MAX_SESSION),
    b"role": _Rule("role", 1, MAX_ROLE),
    b"content": _Rule("content", most=None),
    b"turn": _Rule("turn", convert=_id),
    b"target": _Rule("target", convert=_id),
    b"expect": _Rule("expect", most=None),
    b"close_with": _Rule("close_with", most=None),
    b"name": _Rule("name"),
    b"state": _Rule("state", convert=_state),
    b"action": _Rule("action", convert=_action),
    b"if_exists": _Rule("if_exists", convert=_flag),
    b"agent": _Rule("agent", convert=_label),
    b"channel": _Rule("channel", convert=_label),
    b"room": _Rule("room", convert=_label),
    b"sender": _Rule("sender", convert=_label),
    b"at": _Rule("at", convert=_time),
}
# The values of an event that has no field at all, and a place for the ones that nobody keeps.
_BLANK: Final[list[Any]] = [Event._field_defaults.get(name) for name in (*Event._fields, "")]
_SPARE: Final = len(Event._fields)


# The fields that make the payload, and the same of an event that is of no session.
_PAYLOAD: Final = tuple(name.encode() for name in ("type", *Event._fields[2:12]))
_DEAD_PAYLOAD: Final = tuple(name for name in _PAYLOAD if name != b"session")


_Pick = Callable[[Sequence[bytes]], Sequence[bytes]]


class _Shape(NamedTuple):
    """How entries with the same field names, in the same order, are read.

    `version` is the place of `v`; `fields` holds each other field's place, name, bounds, place
    in the event and converter; a payload is the names of its fields and what picks their values.
    """

    version: int | None
    fields: Sequence[tuple[int, str, int, int, int, Callable[[str, str], Any] | None]]
    payload: tuple[bytes, _Pick]
    dead_payload: tuple[bytes, _Pick]


def _shape_of(names: tuple[bytes, ...], max_content: int) -> _Shape:
    try:
        return _known_shape(names, max_content)
    except KeyError:
        return _shape(names, max_content)


# A producer writes its fields in one order. Only names of the contract are kept: a stranger's may
# have megabytes.
@lru_cache(maxsize=64)
def _known_shape(names: tuple[bytes, ...], max_content: int) -> _Shape:
    for name in names:
        _RULES[name]
    return _shape(names, max_content)


def _shape(names: tuple[bytes, ...], max_content: int) -> _Shape:
    if len({*names}) != len(names):
        raise InvalidEvent(Reason.UNDECODABLE, "a field is given twice")
    return _Shape(
        names.index(b"v") if b"v" in names else None,
        [
            (
                place,
                name[:40].decode(errors="backslashreplace"),
                rule.least,
                rule.most or max_content,
                Event._fields.index(rule.name) if rule.name is not None else _SPARE,
                rule.convert,
            )
            for place, name in enumerate(names)
            for rule in [_rule(name)]
            if name != b"v"
        ],
        _payload(names, _PAYLOAD),
        _payload(names, _DEAD_PAYLOAD),
    )


def _payload(names: tuple[bytes, ...], fields: Iterable[bytes]) -> tuple[bytes, _Pick]:
    given = [name for name in fields if name in names]
    places = [names.index(name) for name in given]

    def pick_few(values: Sequence[bytes]) -> Sequence[bytes]:
        return [values[place] for place in places]

    # Of a single place an itemgetter gives the value itself.
    pick: _Pick = itemgetter(*places) if len(places) > 1 else pick_few
    return b"%b\xff" % b" ".join(given), pick


def _rule(name: bytes) -> _Rule:
    return _RULES.get(name, _UNKNOWN)


_TYPES: Final = {str(kind): kind for kind in EventType}


def _complete_append(event: Event) -> None:
    if event.role is None:
        raise _invalid("role", "is missing")
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
