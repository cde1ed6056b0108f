"""A message that someone wrote to an agent, in the form that waits in a lane."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

from sessions.models import Event, EventType
from sessions.stream.lanes.closing import rollback_id
from sessions.stream.lanes.values import Origin, lane_of


def removal_id(message: str) -> str:
    """The id of the event that says that this message was taken out of its lane."""
    return f"{message}:removed"


@dataclass(frozen=True, slots=True)
class Inbound:
    """What a turn needs to know of the message that opens it.

    `id` is the turn's id: derived from the platform's own ids, so that a redelivery is the same
    message. `former` is the id that an older version made of the same names, "" if it is the same
    one. Everything is published in the name of `agent`, whose session it must be. `at` is when it
    was written, in microseconds. `reply_to` names the channel (`type.alias`) that delivers the
    answer, and `address` where to, in that channel's words. Until `due` (microseconds) its turn
    waits for messages to join it; 0 joins none. `command` is set if it asks for something else than
    an answer. What is not `stored` goes into no stream and no store: its replica remembers it.

    A message that woke its session was put into the lane from outside: by `from_agent`, "" for an
    administrator; None for what somebody wrote to the agent. `chain` are the sessions whose turns
    woke each other until this one, the first one first. `traceparent` is of the trace that the
    message came with.
    """

    id: str
    session: str
    text: str
    agent: str
    at: int
    channel: str | None = None
    room: str | None = None
    sender: str | None = None
    reply_to: str | None = None
    address: str | None = None
    due: int = 0
    command: str | None = None
    former: str = ""
    chain: tuple[str, ...] = ()
    from_agent: str | None = None
    traceparent: str | None = None
    stored: bool = True

    @property
    def lane(self) -> str:
        """The lane that it waits in."""
        return lane_of(self.session, self.agent)

    @property
    def origin(self) -> Origin | None:
        """Where it came from, if an answer could be sent there at any time."""
        if self.woken or not self.stored or self.reply_to is None or self.address is None:
            return None
        return Origin(self.reply_to, self.address)

    @property
    def woken(self) -> bool:
        """Whether it was put into the lane from outside."""
        return self.from_agent is not None

    @property
    def log_fields(self) -> dict[str, str | None]:
        """What a log line about it, or about its turn, is about."""
        return {
            "event_id": self.id,
            "turn": self.id,
            "agent": self.agent,
            "session": self.session,
            "channel": self.channel,
        }

    def dump(self) -> str:
        """The text that the lane keeps."""
        return json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def load(cls, text: str) -> Self:
        """The message of that text. What another version wrote beside our fields is left out.

        Raises ValueError or TypeError if it is no message.
        """
        known = {field.name for field in fields(cls)}
        told: dict[str, Any] = json.loads(text)
        found = {name: value for name, value in told.items() if name in known}
        # JSON has no tuples.
        found["chain"] = tuple(found.get("chain", ()))
        return cls(**found)

    def opening(self) -> Event:
        """The user append that opens the turn."""
        return Event(
            self.id,
            EventType.APPEND,
            session=self.session,
            role="user",
            content=self.text,
            turn=self.id,
            state="running",
            # What wakes a session makes none: it may be deleted while the message waits.
            if_exists=self.woken,
            agent=self.agent,
            channel=self.channel,
            room=self.room,
            sender=self.sender,
            at=self.at,
        )

    def joined_with(self, followers: Sequence[Self]) -> Self:
        """This message and those after it as one, told as the last of them was."""
        if not followers:
            return self
        text = "\n".join([self.text, *(follower.text for follower in followers)])
        return replace(followers[-1], id=self.id, former=self.former, text=text)

    def joining(self, turn: str) -> Event:
        """What makes the id of a message known that became a part of another one's turn."""
        return Event(
            self.id,
            EventType.STATE,
            session=self.session,
            turn=turn,
            state="running",
            agent=self.agent,
        )

    def removal(self) -> Event:
        """What makes the message known as taken out of its lane: it has no effect when it comes.

        It changes nothing else, neither the session's state nor whether there is a session.
        """
        return Event(
            removal_id(self.id),
            EventType.ROLLBACK,
            session=self.session,
            target=self.id,
            agent=self.agent,
        )

    def clearing(self) -> Event:
        """The event that the command to start again publishes."""
        return Event(self.id, EventType.DELETE, session=self.session, agent=self.agent)

    def answer(
        self, suffix: str, role: str, content: str, *, at: int, state: str | None = None
    ) -> Event:
        """An append that belongs to the turn, with the id `{turn}:{suffix}`."""
        return Event(
            f"{self.id}:{suffix}",
            EventType.APPEND,
            session=self.session,
            role=role,
            content=content,
            turn=self.id,
            state=state,
            agent=self.agent,
            at=at,
        )

    def closing(self, id: str, state: str) -> Event:
        """What says, under an id of its own, how the turn was closed."""
        return Event(
            id,
            EventType.STATE,
            session=self.session,
            turn=self.id,
            state=state,
            agent=self.agent,
        )

    def taking_back(self, *, close_with: str) -> list[Event]:
        """What removes the user append again, or closes it where that is too late."""
        rollback = Event(
            rollback_id(self.id),
            EventType.ROLLBACK,
            session=self.session,
            target=self.id,
            close_with=close_with,
            turn=self.id,
            agent=self.agent,
        )
        return [rollback, self.closing(f"{self.id}:state", "error")]
