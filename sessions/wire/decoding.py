"""The events of stream entries and of text fields: the one validator behind every entry point."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import repeat
from typing import Any, Final

from sessions.errors import InvalidEvent
from sessions.models import Entry, Event, Poison, RawEntry, Reason, make_tuple
from sessions.wire.fields import DEFAULT_MAX_CONTENT, MAX_SESSION, VERSION, invalid, is_id, rule_of
from sessions.wire.framing import frame
from sessions.wire.needs import complete
from sessions.wire.payloads import digest, payload_digests
from sessions.wire.shapes import EntryShape, shape_of

_VERSION: Final = VERSION.encode()
# The values of an event that has no field at all, and a place for the ones that nobody keeps.
_BLANK: Final[list[Any]] = [Event._field_defaults.get(name) for name in (*Event._fields, "")]


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
        shape = shape_of(names, max_content)
        columns = [*zip(*[raw.fields[1::2] for raw in raws], strict=True)]
        events = _events(shape, columns)
    except InvalidEvent as error:
        if len(raws) == 1:
            return [_poisoned(raws[0], error)]
        # One of them is wrong, at least, and the others shall not suffer for it.
        return [entry for raw in raws for entry in _decode_alike(names, [raw], max_content)]
    digests = payload_digests(events, shape, columns)
    return [*map(make_tuple, repeat(Entry), zip(raws, events, digests, strict=True))]


def _poisoned(raw: RawEntry, error: InvalidEvent) -> Entry:
    poison = Poison(Reason(error.reason), error.detail, *_salvage(raw.fields))
    return Entry(raw, poison, digest(frame(raw.fields)))


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
    [event] = _events(shape_of(tuple(encoded), max_content), columns)
    return event


def _events(shape: EntryShape, columns: Sequence[Sequence[bytes]]) -> list[Event]:
    """The events of UTF-8 fields: the one validator behind every entry point.

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
    return [*map(complete, map(make_tuple, repeat(Event), zip(*made, strict=True)))]


def _wrong_version(version: bytes | None) -> InvalidEvent:
    return InvalidEvent(
        Reason.UNKNOWN_VERSION,
        f"v is {version[:40]!r}; this Turnstream reads version {VERSION}"
        if version is not None
        else f"v is missing; write v {VERSION}",
        field="v",
    )


def _wrong_size(name: str, size: int, least: int, most: int) -> InvalidEvent:
    if size > most and rule_of(name.encode()).most is None:
        detail = f"{name} has {size} bytes; the limit is {most}"
        return InvalidEvent(Reason.TOO_LARGE, detail, field=name)
    return invalid(name, f"must have {least} to {most} bytes, and has {size}")
