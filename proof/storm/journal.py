"""What was said, and what was seen of it by senders, by the agent and by the platform."""

from __future__ import annotations

import time
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from ingest.channels.discord.snowflakes import first_at
from proof.botapi import TOKEN
from proof.discordapi import DiscordBot
from proof.slackapi import TEAM, SlackApp
from sessions import times
from sessions.ids import derived_id

# The alias of the webhook channel, and of the bot.
ALIAS: Final = "storm"
# What Discord calls channels and messages. The messages are not from before the bot's first start.
_FIRST_CHANNEL: Final = 730_000_000_000_000_000
_LATER: Final = times.parse("2040-01-01T00:00:00Z")
# Who answers in chats, and what the bot and the webhook bring; and who answers in
# Slack and Discord.
AGENT: Final = "main"
AIDE: Final = "aide"


class Ingress(StrEnum):
    """Where a message comes in."""

    SOCKET = "socket"
    WEBHOOK = "webhook"
    BOT = "bot"
    SLACK = "slack"
    DISCORD = "discord"

    @property
    def agent(self) -> str:
        """Who answers what comes in there."""
        return AIDE if self in (Ingress.SLACK, Ingress.DISCORD) else AGENT


@dataclass(frozen=True)
class StormMessage:
    """A message that somebody sends; its name stands in its text and in its answer.

    With `waker` it is that agent who sends it, by waking the session that came in there.
    """

    session: str
    number: int
    ingress: Ingress
    waker: str = ""

    @property
    def name(self) -> str:
        """What tells it from all others; the sender's own id of it, too."""
        return f"{self.session}/{'wake' if self.waker else ''}{self.number}"

    @property
    def is_sent(self) -> bool:
        """Whether a platform is sent its reply."""
        return self.ingress is not Ingress.SOCKET

    @property
    def way(self) -> str:
        """The name of the channel that it comes in by, if it comes by one."""
        return f"{'telegram' if self.ingress is Ingress.BOT else self.ingress}.{ALIAS}"

    @property
    def text(self) -> str:
        """What is sent."""
        return f"message {self.name}, please answer"

    @property
    def answer(self) -> str:
        """What the agent answers."""
        return f"an answer to {self.name} for you"

    @property
    def key(self) -> str:
        """The session's key."""
        match self.ingress:
            case Ingress.WEBHOOK:
                return f"webhook_{ALIAS}_{self.session}_{self.session}"
            case Ingress.BOT:
                return f"telegram_{ALIAS}_{self.chat}_{self.session}"
            case Ingress.SLACK:
                return f"slack_{ALIAS}_{self.direct}_{self.session}"
            case Ingress.DISCORD:
                return f"discord_{ALIAS}_{self.channel}_{self.chat}"
            case Ingress.SOCKET:
                return f"gw_{self.session}"

    @property
    def turn(self) -> str:
        """The id of its turn."""
        if self.waker:
            return derived_id("wake", self.waker, self.wake_key)
        match self.ingress:
            case Ingress.WEBHOOK:
                return derived_id("wh", ALIAS, self.name)
            case Ingress.BOT:
                number = TOKEN.partition(":")[0]
                return derived_id("tg", "bot", number, str(self.chat), str(self.place))
            case Ingress.SLACK:
                return derived_id("sl", TEAM, SlackApp.id, self.direct, self.ts)
            case Ingress.DISCORD:
                return derived_id("dc", str(DiscordBot.number), str(self.snowflake))
            case Ingress.SOCKET:
                return derived_id("gw", "agent", self.ingress.agent, self.key, self.name)

    @property
    def wake_key(self) -> str:
        """Under which Idempotency-Key it wakes the session."""
        return self.name.replace("/", ".")

    @property
    def chat(self) -> int:
        """The number of its sender's chat with the bot."""
        return _chat_of(self.session)

    @property
    def direct(self) -> str:
        """The name of its sender's direct messages with the app."""
        return f"D{self.chat}"

    @property
    def channel(self) -> int:
        """The number of its sender's channel in a Discord server."""
        return _FIRST_CHANNEL + self.chat

    @property
    def snowflake(self) -> int:
        """What Discord calls it there: higher for each next one."""
        return first_at(_LATER) + (self.number << 32) + self.chat

    @property
    def ts(self) -> str:
        """What Slack calls it there."""
        return f"{1_700_000_000 + self.number}.000100"

    @property
    def place(self) -> int:
        """Its number in that chat; there is no message 0."""
        return self.number + 1


@dataclass(frozen=True)
class AgentRun:
    """The agent was asked to answer a message; `lines` is the length of the prompt."""

    name: str
    lines: int
    at: float


class SentReply(NamedTuple):
    """A reply that a platform was sent."""

    text: str
    at: float


@dataclass
class Journal:
    """Everything that happened, by a monotonic clock; one task after the other writes here.

    `replies` are those that the platform was sent for a turn, `ended` what the sender of a
    message read at its end, `taken` the messages that a replica took with a 200. `parked` has the
    channel of each turn whose reply was seen to be parked. `refusals` are answers after which one
    tries again, by their code; `surprises` those that should not be.
    """

    runs: list[AgentRun] = field(default_factory=list[AgentRun])
    replies: dict[str, list[SentReply]] = field(default_factory=dict[str, list[SentReply]])
    parked: dict[str, str] = field(default_factory=dict[str, str])
    ended: dict[str, str] = field(default_factory=dict[str, str])
    taken: set[str] = field(default_factory=set[str])
    refusals: Counter[str] = field(default_factory=Counter[str])
    surprises: list[str] = field(default_factory=list[str])
    redelivered: int = 0
    last_end: float = 0.0

    def runs_of(self, key: str) -> list[AgentRun]:
        """What the agent was asked in the session with that key, in order."""
        last = key.rpartition("_")[2]
        names = [run.name.partition("/")[0] for run in self.runs]
        own = {name for name in names if last in (name, str(_chat_of(name)))}
        return [run for run, name in zip(self.runs, names, strict=True) if name in own]

    def note_reply(self, turn: str, text: str) -> None:
        """A platform was sent the reply to this turn."""
        self.replies.setdefault(turn, []).append(SentReply(text, time.monotonic()))

    def arrived(self, turns: Iterable[str]) -> int:
        """How many of these turns have their reply at the platform."""
        return sum(turn in self.replies for turn in turns)

    def note_end(self, message: StormMessage, text: str) -> None:
        """Its sender read this; a later reading must be the same."""
        told = self.ended.setdefault(message.name, text)
        if told != text:
            self.surprises.append(f"{message.name} was told as {told!r} and then as {text!r}")
        self.last_end = time.monotonic()


def _chat_of(session: str) -> int:
    return zlib.crc32(session.encode())
