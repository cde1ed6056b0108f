"""The one codec of the stream contract, version 1: stream fields <-> Event.

Every door uses it: the publisher before it sends, the HTTP doors before they publish, the worker
when it reads. So what one of them accepts, none of the others refuses. The contract itself is
docs/stream-contract.md.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import repeat
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
_OWNER_EVENT: Final = EventType.OWNER
_STATES: Final = frozenset({"idle", "running", "error"})
_ACTIONS: Final = frozenset({"replay", "purge"})


def is_id(text: str) -> bool:
    """Whether the text can be an event id."""
    return 0 < len(text) <= _MAX_ID and not text.strip(_ID)


def decode(raw: RawEntry, *, max_content: int = DEFAULT_MAX_CONTENT) -> Entry:
    """What a stream entry says; poison instead of an exception, since one entry stops nobody."""
    [entry] = decode_all([raw], max_content=max_content)
    return entry


def decode_all(raws: Sequence[RawEntry], *, max_content: int = DEFAULT_MAX_CONTENT) -> list[Entry]:
    """What each of these entries says, in their order.

    Those with the same names of fields are read together, a field of all of them at a time.
    """
    alike: defaultdict[tuple[bytes, ...], list[int]] = defaultdict(list)
    for number, raw in enumerate(raws):
        alike[tuple(raw.fields[::2])].append(number)
    if len(alike) == 1:
        [names] = alike
        return _decode_alike(names, raws, max_content)
    found: dict[int, Entry] = {}
    for names, numbers in alike.items():
        some = [raws[number] for number in numbers]
        found.update(zip(numbers, _decode_alike(names, some, max_content), strict=True))
    return [found[number] for number in range(len(raws))]


def _decode_alike(
    names: tuple[bytes, ...], raws: Sequence[RawEntry], max_content: int
) -> list[Entry]:
    try:
        shape = _shape_of(names, max_content)
        columns = [*zip(*[raw.fields[1::2] for raw in raws], strict=True)]
        events = _events(shape, columns)
    except InvalidEvent as error:
        if len(raws) == 1:
            return [_poisoned(raws[0], error)]
        # One of them is wrong, at least, and the others shall not suffer for it.
        return [entry for raw in raws for entry in _decode_alike(names, [raw], max_content)]
    digests = _payload_digests(events, shape, columns)
    return [*map(make_tuple, repeat(Entry), zip(raws, events, digests, strict=True))]


def _poisoned(raw: RawEntry, error: InvalidEvent) -> Entry:
    poison = Poison(Reason(error.reason), error.detail, *_salvage(raw.fields))
    return Entry(raw, poison, _digest(frame(raw.fields)))


def _salvage(pairs: Sequence[bytes]) -> tuple[str | None, str | None, str | None]:
    """Event id, session and publisher of an entry that is otherwise unusable, if legible."""
    found: dict[bytes, str] = {}
    for name, value in zip(pairs[::2], pairs[1::2], strict=True):
        if (
            name in (b"id", b"session", b"by")
            and 0 < len(value) <= MAX_SESSION
            and name not in found
        ):
            try:
                found[name] = value.decode()
            except UnicodeDecodeError:
                continue
    event_id = found.get(b"id")
    legible = event_id if event_id and is_id(event_id) else None
    return legible, found.get(b"session"), found.get(b"by")


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
            raise InvalidEvent(Reason.UNDECODABLE, detail, field=name) from None
    columns = [(value,) for value in encoded.values()]
    [event] = _events(_shape_of(tuple(encoded), max_content), columns)
    return event


def _events(shape: _Shape, columns: Sequence[Sequence[bytes]]) -> list[Event]:
    """The events of UTF-8 fields: the one validator behind every door.

    A column has the values that one field has in each of them. Raises InvalidEvent for the first
    field that is wrong in any.
    """
    versions: Sequence[bytes | None] = (None,) if shape.version is None else columns[shape.version]
    for version in {*versions}:
        if version != _VERSION:
            raise _wrong_version(version)
    made: list[Sequence[Any]] = [(value,) * len(versions) for value in _BLANK]
    for place, name, least, most, at, convert in shape.fields:
        column = columns[place]
        sizes = [*map(len, column)]
        if min(sizes) < least or max(sizes) > most:
            size = next(size for size in sizes if not least <= size <= most)
            raise _wrong_size(name, size, least, most)
        try:
            texts = [*map(bytes.decode, column)]
        except UnicodeDecodeError as error:
            raise InvalidEvent(
                Reason.UNDECODABLE, f"field {name} is not UTF-8: {error.reason}", field=name
            ) from None
        made[at] = texts if convert is None else convert(name, texts)
    made.pop()
    return [*map(_complete, map(make_tuple, repeat(Event), zip(*made, strict=True)))]


def _wrong_version(version: bytes | None) -> InvalidEvent:
    return InvalidEvent(
        Reason.UNKNOWN_VERSION,
        f"v is {version[:40]!r}; this Turnstream reads version {VERSION}"
        if version is not None
        else f"v is missing; write v {VERSION}",
        field="v",
    )


def _complete(event: Event) -> Event:
    """The event, after a look at what its type needs."""
    kind = event.type
    # Not so by its type: the values came from a list.
    if kind is None:  # pyright: ignore[reportUnnecessaryComparison]
        raise _invalid("type", "is missing")
    if event.id is None:  # pyright: ignore[reportUnnecessaryComparison]
        raise _invalid("id", "is missing")
    if event.agent == "" and kind is not _OWNER_EVENT:
        event = event._replace(agent=None)
    if kind is _DEAD_EVENT:
        event = event._replace(session="")
    elif not event.session and kind is not _OWNER_EVENT:
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


def _payload_digests(
    events: Sequence[Event], shape: _Shape, columns: Sequence[Sequence[bytes]]
) -> list[bytes]:
    """For each event 16 bytes that two share exactly when rule 1 calls them the same payload."""
    digests = _digests(shape.payload, columns)
    if shape.may_be_dead:
        others = _digests(shape.dead_payload, columns)
        for number, event in enumerate(events):
            if event.type is _DEAD_EVENT:
                digests[number] = others[number]
    return digests


def _digests(payload: _Payload, columns: Sequence[Sequence[bytes]]) -> list[bytes]:
    head, places = payload
    # No UTF-8 holds the byte 255.
    return [
        _digest(head + values)
        for values in map(b"\xff".join, zip(*[columns[place] for place in places], strict=True))
    ]


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
    return InvalidEvent(Reason.INVALID_FIELD, f"{name} {problem}", field=name)


def _wrong_size(name: str, size: int, least: int, most: int) -> InvalidEvent:
    if size > most and _rule(name.encode()).most is None:
        detail = f"{name} has {size} bytes; the limit is {most}"
        return InvalidEvent(Reason.TOO_LARGE, detail, field=name)
    return _invalid(name, f"must have {least} to {most} bytes, and has {size}")


# A converter takes a field's name and the texts that it has in some events, and gives the values
# of the events' attribute.
_Convert = Callable[[str, list[str]], list[Any]]


def _event_types(name: str, texts: list[str]) -> list[EventType]:
    try:
        return [_TYPES[text] for text in texts]
    except KeyError as error:
        known = ", ".join(EventType)
        detail = f"{name} {error.args[0][:40]!r} is unknown; it is one of {known}"
        raise InvalidEvent(Reason.UNKNOWN_TYPE, detail, field=name) from None


def _ids(name: str, texts: list[str]) -> list[str]:
    if "".join(texts).strip(_ID) or not all(texts) or max(map(len, texts)) > _MAX_ID:
        raise _invalid(name, "must be 1 to 128 characters of A-Z a-z 0-9 . _ : -")
    return texts


def _labels(_: str, texts: list[str]) -> list[str | None]:
    return [text or None for text in texts]


def _states(name: str, texts: list[str]) -> list[str]:
    return _chosen(name, texts, _STATES)


def _actions(name: str, texts: list[str]) -> list[str]:
    return _chosen(name, texts, _ACTIONS)


def _chosen(name: str, texts: list[str], allowed: frozenset[str]) -> list[str]:
    if not allowed.issuperset(texts):
        raise _invalid(name, f"must be one of {', '.join(sorted(allowed))}")
    return texts


def _flags(name: str, texts: list[str]) -> list[bool]:
    if {*texts} != {"1"}:
        raise _invalid(name, "must be 1 where it is given")
    return [True] * len(texts)


def _times(name: str, texts: list[str]) -> list[int]:
    try:
        return [*map(times.parse, texts)]
    except (ValueError, OverflowError) as error:
        raise _invalid(name, f"must be an RFC 3339 time: {error}") from None


class _Rule(NamedTuple):
    """How a field is read: the event's attribute, bytes at least and at most (None: the content
    bound), and a converter."""

    name: str | None
    least: int = 0
    most: int | None = MAX_LABEL
    convert: _Convert | None = None


_UNKNOWN: Final = _Rule(None, most=None)
_VERSION: Final = VERSION.encode()
_RULES: Final[dict[bytes, _Rule]] = {
    # Looked at before all others.
    b"v": _UNKNOWN,
    b"id": _Rule("id", convert=_ids),
    b"type": _Rule("type", most=None, convert=_event_types),
    b"session": _Rule("session", 1, MAX_SESSION),
    b"role": _Rule("role", 1, MAX_ROLE),
    b"content": _Rule("content", most=None),
    b"turn": _Rule("turn", convert=_ids),
    b"target": _Rule("target", convert=_ids),
    b"expect": _Rule("expect", most=None),
    b"close_with": _Rule("close_with", most=None),
    b"name": _Rule("name"),
    b"state": _Rule("state", convert=_states),
    b"action": _Rule("action", convert=_actions),
    b"if_exists": _Rule("if_exists", convert=_flags),
    # Not a label as the others: an owner event gives a session to nobody by an empty one.
    b"agent": _Rule("agent"),
    b"channel": _Rule("channel", convert=_labels),
    b"room": _Rule("room", convert=_labels),
    b"sender": _Rule("sender", convert=_labels),
    b"at": _Rule("at", convert=_times),
    b"by": _Rule("by", convert=_labels),
    b"expect_agent": _Rule("expect_agent"),
}
# The values of an event that has no field at all, and a place for the ones that nobody keeps.
_BLANK: Final[list[Any]] = [Event._field_defaults.get(name) for name in (*Event._fields, "")]
_SPARE: Final = len(Event._fields)


# The fields that make the payload, and the same of an event that is of no session.
_PAYLOAD: Final = tuple(name.encode() for name in ("type", *Event._fields[2:12]))
_DEAD_PAYLOAD: Final = tuple(name for name in _PAYLOAD if name != b"session")


# The names of a payload's fields as one, and their places in an entry.
_Payload = tuple[bytes, list[int]]


class _Shape(NamedTuple):
    """How entries with the same field names, in the same order, are read.

    `version` is the place of `v`; `fields` holds each other field's place, name, bounds, place
    in the event and converter. Only with an action can it be an event about a dead letter.
    """

    version: int | None
    fields: Sequence[tuple[int, str, int, int, int, _Convert | None]]
    payload: _Payload
    dead_payload: _Payload
    may_be_dead: bool


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
        b"action" in names,
    )


def _payload(names: tuple[bytes, ...], fields: Iterable[bytes]) -> _Payload:
    given = [name for name in fields if name in names]
    return b"%b\xff" % b" ".join(given), [names.index(name) for name in given]


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


def _complete_owner(event: Event) -> None:
    if event.agent is None:
        raise _invalid("agent", "is missing; an empty one leaves the session without an owner")
    if not event.session and not event.expect_agent:
        raise _invalid("session", "is missing; without it expect_agent names the owner so far")


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
    EventType.OWNER: _complete_owner,
    EventType.DEAD: _complete_dead,
}
