"""Events for tests: the fields of a stream entry, and the stream that turns them into entries."""

from __future__ import annotations

from typing import Final

from sessions import wire
from sessions.models import Entry, RawEntry, StreamId

Fields = dict[str, str | bytes]

# Milliseconds. Any number does: stream ids are order, not time.
_FIRST: Final = 1_700_000_000_000


class EntrySequence:
    """Gives entries ascending ids, and makes them from raw bytes, as the worker does."""

    def __init__(self) -> None:
        self._last = StreamId(_FIRST, 0)

    def entry(self, fields: Fields) -> Entry:
        """The next entry."""
        self._last = StreamId(self._last.ms + 1, 0)
        return entry_at(self._last, fields)


def entry_at(stream_id: StreamId, fields: Fields) -> Entry:
    """The entry at a given place of the stream."""
    raw = [part for pair in fields.items() for part in map(_bytes, pair)]
    return wire.decode(RawEntry(stream_id, raw))


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode()


def event(event_type: str, event_id: str, **fields: str | bytes) -> Fields:
    """Any event; its session is `s` unless another is given."""
    session: Fields = {} if event_type == "dead" else {"session": "s"}
    return {"v": "1", "id": event_id, "type": event_type, **session, **fields}


def user(event_id: str, content: str = "hello", **fields: str) -> Fields:
    """A user append."""
    return event("append", event_id, role="user", content=content, **fields)


def reply(event_id: str, content: str = "hi", **fields: str) -> Fields:
    """An assistant append; it answers a turn where `turn` is given."""
    return event("append", event_id, role="assistant", content=content, **fields)


def rollback(event_id: str, **fields: str) -> Fields:
    """A rollback, by `target` or `expect`."""
    return event("rollback", event_id, **fields)


def reset(event_id: str, **fields: str) -> Fields:
    """A reset."""
    return event("reset", event_id, **fields)


def delete(event_id: str, **fields: str) -> Fields:
    """A delete."""
    return event("delete", event_id, **fields)


def rename(event_id: str, name: str, **fields: str) -> Fields:
    """A rename."""
    return event("rename", event_id, name=name, **fields)


def state(event_id: str, to: str, **fields: str) -> Fields:
    """A change of state."""
    return event("state", event_id, state=to, **fields)


def context(event_id: str, **fields: str) -> Fields:
    """A context event: routing and owner, no message."""
    return event("context", event_id, **fields)


def owner(event_id: str, agent: str, **fields: str) -> Fields:
    """An owner event: it gives the session to the agent; to nobody with an empty one."""
    return event("owner", event_id, agent=agent, **fields)


def hand_over(event_id: str, before: str, after: str) -> Fields:
    """An owner event that gives all sessions of an agent to another one."""
    fields = owner(event_id, after, expect_agent=before)
    del fields["session"]
    return fields


def dead(event_id: str, action: str, target: str) -> Fields:
    """A replay or purge of a dead letter."""
    return event("dead", event_id, action=action, target=target)


def poison(event_id: str, **fields: str | bytes) -> Fields:
    """An event with a legible id and session that nobody can apply."""
    return event("no-such-type", event_id, **fields)
