"""The fields of the stream contract: their bounds, and how the text of each becomes a value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from sessions import times
from sessions.errors import InvalidEvent
from sessions.models import EventType, Reason
from sessions.text import trimmed

VERSION: Final = "1"

# Bounds of the contract, in bytes of UTF-8.
MAX_SESSION: Final = 512
MAX_ROLE: Final = 32
# A display name or a platform's id; long enough for every platform we know, short in an index.
MAX_LABEL: Final = 512
# What one message may hold unless the operator sets another bound.
DEFAULT_MAX_CONTENT: Final = 256 * 1024

# Characters of an id. `strip` leaves nothing of an id, in a third of a pattern's time.
_ID: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-"
_MAX_ID: Final = 128
_STATES: Final = frozenset({"idle", "running", "error"})
_ACTIONS: Final = frozenset({"replay", "purge"})
_TYPES: Final = {str(kind): kind for kind in EventType}


def is_id(text: str) -> bool:
    """Whether the text can be an event id."""
    return 0 < len(text) <= _MAX_ID and not text.strip(_ID)


def invalid(name: str, problem: str) -> InvalidEvent:
    """The error of a field whose value cannot be."""
    return InvalidEvent(Reason.INVALID_FIELD, f"{name} {problem}", field=name)


# A converter takes a field's name and the texts that it has in some events, and gives the values
# of the events' attribute.
Convert = Callable[[str, list[str]], list[Any]]


def _event_types(name: str, texts: list[str]) -> list[EventType]:
    try:
        return [_TYPES[text] for text in texts]
    except KeyError as error:
        known = ", ".join(EventType)
        detail = f"{name} {error.args[0][:40]!r} is unknown; it is one of {known}"
        raise InvalidEvent(Reason.UNKNOWN_TYPE, detail, field=name) from None


def _ids(name: str, texts: list[str]) -> list[str]:
    if "".join(texts).strip(_ID) or not all(texts) or max(map(len, texts)) > _MAX_ID:
        raise invalid(name, "must be 1 to 128 characters of A-Z a-z 0-9 . _ : -")
    return texts


def _labels(_: str, texts: list[str]) -> list[str | None]:
    return [text or None for text in texts]


def _routing(_: str, texts: list[str]) -> list[str | None]:
    # A batch repeats few of them.
    kept = {text: trimmed(text) or None for text in {*texts}}
    return [*map(kept.__getitem__, texts)]


def _states(name: str, texts: list[str]) -> list[str]:
    return _chosen(name, texts, _STATES)


def _actions(name: str, texts: list[str]) -> list[str]:
    return _chosen(name, texts, _ACTIONS)


def _chosen(name: str, texts: list[str], allowed: frozenset[str]) -> list[str]:
    if not allowed.issuperset(texts):
        raise invalid(name, f"must be one of {', '.join(sorted(allowed))}")
    return texts


def _flags(name: str, texts: list[str]) -> list[bool]:
    if {*texts} != {"1"}:
        raise invalid(name, "must be 1 if it is given")
    return [True] * len(texts)


def _times(name: str, texts: list[str]) -> list[int]:
    try:
        return [*map(times.parse, texts)]
    except (ValueError, OverflowError) as error:
        raise invalid(name, f"must be an RFC 3339 time: {error}") from None


class FieldRule(NamedTuple):
    """How a field is read: the event's attribute, bytes at least and at most (None: the content
    bound), and a converter."""

    name: str | None
    least: int = 0
    most: int | None = MAX_LABEL
    convert: Convert | None = None


_UNKNOWN: Final = FieldRule(None, most=None)
RULES: Final[dict[bytes, FieldRule]] = {
    # Looked at before all others.
    b"v": _UNKNOWN,
    b"id": FieldRule("id", convert=_ids),
    b"type": FieldRule("type", most=None, convert=_event_types),
    b"session": FieldRule("session", 1, MAX_SESSION),
    b"role": FieldRule("role", 1, MAX_ROLE),
    b"content": FieldRule("content", most=None),
    b"turn": FieldRule("turn", convert=_ids),
    b"target": FieldRule("target", convert=_ids),
    b"expect": FieldRule("expect", most=None),
    b"close_with": FieldRule("close_with", most=None),
    b"name": FieldRule("name"),
    b"state": FieldRule("state", convert=_states),
    b"action": FieldRule("action", convert=_actions),
    b"if_exists": FieldRule("if_exists", convert=_flags),
    # Not a label as the others: an owner event gives a session to nobody by an empty one.
    b"agent": FieldRule("agent"),
    b"channel": FieldRule("channel", convert=_routing),
    b"room": FieldRule("room", convert=_routing),
    b"sender": FieldRule("sender", convert=_routing),
    b"at": FieldRule("at", convert=_times),
    b"by": FieldRule("by", convert=_labels),
    b"expect_agent": FieldRule("expect_agent"),
}


def rule_of(name: bytes) -> FieldRule:
    """The rule of a field; of an unknown name one that ignores it."""
    return RULES.get(name, _UNKNOWN)
