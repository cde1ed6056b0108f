"""How entries are read whose fields have the same names, in the same order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from sessions.errors import InvalidEvent
from sessions.models import Event, Reason
from sessions.wire.fields import RULES, Convert, rule_of

# The place behind all attributes of an event, for values that nobody keeps.
SPARE: Final = len(Event._fields)

# The fields that make the payload, and the same of an event that is of no session.
_PAYLOAD: Final = tuple(name.encode() for name in ("type", *Event._fields[2:12]))
_DEAD_PAYLOAD: Final = tuple(name for name in _PAYLOAD if name != b"session")

# The names of a payload's fields as one, and their places in an entry.
Payload = tuple[bytes, list[int]]


class EntryShape(NamedTuple):
    """How entries with the same field names, in the same order, are read.

    `version` is the place of `v`; `fields` holds each other field's place, name, bounds, place
    in the event and converter. Only with an action can it be an event about a dead letter.
    """

    version: int | None
    fields: Sequence[tuple[int, str, int, int, int, Convert | None]]
    payload: Payload
    dead_payload: Payload
    may_be_dead: bool


def shape_of(names: tuple[bytes, ...], max_content: int) -> EntryShape:
    """How entries with these names of fields are read; raises InvalidEvent if one comes twice."""
    try:
        return _known_shape(names, max_content)
    except KeyError:
        return _shape(names, max_content)


# A producer writes its fields in one order. Only names of the contract are kept: an unknown one may
# have megabytes.
@lru_cache(maxsize=64)
def _known_shape(names: tuple[bytes, ...], max_content: int) -> EntryShape:
    for name in names:
        RULES[name]
    return _shape(names, max_content)


def _shape(names: tuple[bytes, ...], max_content: int) -> EntryShape:
    if len({*names}) != len(names):
        raise InvalidEvent(Reason.UNDECODABLE, "a field is given twice")
    return EntryShape(
        names.index(b"v") if b"v" in names else None,
        [
            (
                place,
                name[:40].decode(errors="backslashreplace"),
                rule.least,
                rule.most or max_content,
                Event._fields.index(rule.name) if rule.name is not None else SPARE,
                rule.convert,
            )
            for place, name in enumerate(names)
            for rule in [rule_of(name)]
            if name != b"v"
        ],
        _payload(names, _PAYLOAD),
        _payload(names, _DEAD_PAYLOAD),
        b"action" in names,
    )


def _payload(names: tuple[bytes, ...], fields: Iterable[bytes]) -> Payload:
    given = [name for name in fields if name in names]
    return b"%b\xff" % b" ".join(given), [names.index(name) for name in given]
