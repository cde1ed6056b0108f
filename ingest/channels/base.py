"""What a channel is: it verifies and reads what its platform brings, and sends replies there.

A new kind of channel is one file with a class that has these methods, and a line in factory.py.
Lanes, turns, commands, redelivery and retries are not its business.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from sessions.errors import Retryable, SessionError


class Undeliverable(SessionError):
    """The platform will never take this reply."""


class PauseAsked(Retryable):
    """The platform asks us to leave it alone for `retry_after` seconds."""


class Unreadable(SessionError):
    """What the platform brought cannot be read; it would not be better the next time."""


@dataclass(frozen=True, slots=True)
class PushRequest:
    """A request as it came. `headers` have lower-case names, `body` is what was signed."""

    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class ChannelMessage:
    """A message in no platform's words.

    `id` is derived from the platform's own ids and the account that they belong to; `former` is the
    id that an older version made of them, "" if it is the same. `target` is where replies go as
    session keys name it, `address` the same as the channel's `send` wants it. `places` are the
    parts that the target is made of, if it is made of several, such as a chat and its topic. `at`
    is in microseconds. With `by_room` everybody who writes to the target shares one session.
    """

    id: str
    text: str
    sender: str
    target: str
    address: str
    at: int
    thread: str | None = None
    by_room: bool = False
    places: tuple[str, ...] = ()
    former: str = ""


@dataclass(frozen=True, slots=True)
class PushedMessages:
    """What a request brought; `answer` where the platform wants to read something of its own.

    With `leave_out` a message that no turn can hold is left out: the platform would bring it again
    for ever if it was refused.
    """

    messages: Sequence[ChannelMessage]
    answer: Mapping[str, Any] | None = None
    leave_out: bool = False


class ReplyStatus(StrEnum):
    """How the turn ended that is replied to."""

    REPLIED = "replied"
    FAILED = "failed"
    ABORTED = "aborted"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A piece of a reply on its way. `turn` is the id of the message that it answers.

    `id` is the same for every try of this piece, and another one for each piece. `address` and
    `sender` are those of the message.
    """

    id: str
    turn: str
    session: str
    text: str
    status: ReplyStatus
    address: str
    sender: str


Take = Callable[[ChannelMessage], Awaitable[None]]
"""Takes a message that a channel fetched. Redis has it when this returns.

Raises Retryable if it was not taken: bring it again, it is stored once. Any other SessionError
means that it can never be taken.
"""


class Channel(Protocol):
    """One configured channel. Safe for concurrent use: several messages are at work at a time."""

    @property
    def type(self) -> str:
        """The kind, such as `telegram`."""
        ...

    @property
    def alias(self) -> str:
        """Which one of that kind."""
        ...

    @property
    def delivers(self) -> bool:
        """Whether `send` can bring replies anywhere."""
        ...

    async def open(self, request: PushRequest) -> PushedMessages:
        """Verify a request over its raw body, then read it.

        The same request gives messages with the same ids, so that they are stored once.

        Raises NotFound if the channel takes none, Unauthorized, AccessRefused, WrongSignature,
        OldTimestamp, InvalidJson or BrokenPayload.
        """
        ...

    def split(self, text: str) -> Sequence[str]:
        """The text in pieces that the platform takes, in order; joined they say the same.

        The same text must give the same pieces: after a restart the rest of them is sent.
        """
        ...

    async def send(self, reply: Outgoing) -> None:
        """Send one piece, once.

        Raises Retryable if it may be tried again, PauseAsked if the platform says when, and
        Undeliverable if it will never be taken. A piece may come again if the process ended before
        that was noted.
        """
        ...

    async def show_work(self, address: str) -> None:
        """Show for some seconds that an answer is being worked on, if that is possible."""
        ...

    async def listen(self, take: Take) -> None:
        """Fetch messages for ever where the platform does not push them; else return at once.

        `take` returns when Redis has the message, and raises as `MessageReceiver.accept` does.
        """
        ...


def name_of(channel: Channel) -> str:
    """The channel's name in settings, events and sessions: `type.alias`."""
    return f"{channel.type}.{channel.alias}"
