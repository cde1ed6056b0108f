"""What the model keeps: sessions with their messages, ids with their outcomes, dead letters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from sessions import times
from sessions.models import (
    DeadLetter,
    Entry,
    Event,
    EventType,
    Message,
    Outcome,
    Poison,
    Reason,
    Session,
)

ID_RETENTION: Final = 30 * times.DAY


@dataclass
class StoredMessage:
    """A message in its session; `number` grows with every message of the store.

    `stored` and `turn` are ids with the space of their publisher.
    """

    number: int
    message: Message
    closes: bool
    stored: str
    turn: str | None


@dataclass
class SessionRecord:
    """A session, or the tombstone of one; `number` grows with every session of the store."""

    number: int
    shown: Session
    live: bool = True
    ended_at: int = 0
    next_seq: int = 1
    lines: list[StoredMessage] = field(default_factory=list[StoredMessage])


@dataclass
class StoredEvent:
    """A stored id with its outcome, and how long it is remembered (None: as long as its row).

    `made` is true if a message came of it, in the session of that `number`.
    """

    outcome: Outcome
    payload: tuple[object, ...]
    generation: int | None
    expires_at: int | None
    gone: Reason | None = None
    made: bool = False
    number: int | None = None


@dataclass
class StoredLetter:
    """A dead letter; `whole` are its entry's fields where all of them were kept."""

    number: int
    shown: DeadLetter
    whole: Sequence[bytes] | None


def payload_of(entry: Entry) -> tuple[object, ...]:
    """What makes two entries with one id the same event [1]."""
    event = entry.body
    if isinstance(event, Poison):
        return ("unreadable", *entry.raw.fields)
    asked = (event.type, event.session, event.role, event.content, event.turn, event.target)
    return (*asked, event.expect, event.close_with, event.name, event.state, event.action)


def empty(key: str, generation: int, born: int) -> Session:
    """A session of that key without messages."""
    return Session(
        key=key,
        generation=generation,
        name=None,
        agent=None,
        channel=None,
        room=None,
        sender=None,
        state="idle",
        turn=None,
        state_since=None,
        created_at=born,
        last_activity=born,
        message_count=0,
    )


def take_labels(stored: SessionRecord, event: Event) -> None:
    """Owner and routing: the first owner stays, the last routing wins."""
    shown = stored.shown
    stored.shown = replace(
        shown,
        agent=shown.agent if event.type is EventType.OWNER else shown.agent or event.agent,
        channel=event.channel or shown.channel,
        room=event.room or shown.room,
        sender=event.sender or shown.sender,
    )


def is_answered(asked: StoredMessage, lines: Iterable[StoredMessage]) -> bool:
    """Whether a later assistant message answers this user message [3]."""
    later = [line for line in lines if line.message.seq > asked.message.seq]
    turns = {asked.stored, asked.turn} - {None}
    if any(one.message.role == "assistant" and one.turn in turns for one in later):
        return True
    for one in later:
        if asked.turn is not None or one.message.role == "user":
            return False
        if one.message.role == "assistant" and one.turn is None:
            return True
    return False
