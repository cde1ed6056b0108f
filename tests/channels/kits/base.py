"""What the suite needs to know of a channel: a kit, which is the channel's platform in a test.

A kit brings messages as its platform does, over the real protocol, and tells what a person there
has read. What a channel cannot do is said by `Abilities`; the suite then asserts what the
documentation says instead.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol

from starlette.responses import Response

from harness.waiting import wait_until
from ingest.turns.unavailable import NOTICE
from tests.channels.weather import Fault, PlatformServer

# The agents of the installation: each has one account at each platform.
AGENTS: Final = ("anna", "bert")

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Person:
    """Somebody who writes to agents. Each platform makes ids of its own kind of the number."""

    number: int = field(default_factory=lambda: next(_numbers))

    @property
    def name(self) -> str:
        """The name that the person has everywhere."""
        return f"ada{self.number}"


@dataclass(frozen=True)
class Said:
    """A message of a person to an agent's account; the same one when it is brought again.

    `note` is a word that no other message has. It is in the text, and in the model's answer.
    """

    person: Person
    note: str
    text: str
    agent: str = AGENTS[0]
    in_group: bool = False
    number: int = field(default_factory=lambda: next(_numbers))

    @property
    def key(self) -> tuple[str, int]:
        """What tells it from all others: platforms number messages for each account."""
        return self.agent, self.number

    @property
    def answer(self) -> str:
        """What the agent answers, unless the test says something else."""
        return f"{self.agent}: {self.note}"


def said(text: str = "hello {}", person: Person | None = None, **more: Any) -> Said:
    """A new message; `{}` in its text is where the note stands."""
    note = f"note{next(_numbers)}x"
    return Said(person or Person(), note, text.format(note), **more)


@dataclass(frozen=True)
class Abilities:
    """What a channel can do, as the documentation says."""

    # Whether ingest sends replies to it. Else those who asked read them.
    delivers: bool = True
    # Whether a person there sees what a session answers that another one has woken.
    shows_woken: bool = True
    # Whether /new and /stop are commands there.
    has_commands: bool = True
    # Whether a command may name the bot that it is for, in a group.
    has_mentions: bool = False
    # Whether a delivery has an id by which its receiver knows it when it comes again.
    names_deliveries: bool = False
    # Whether the platform knows a delivery that comes again, and shows it once.
    drops_repeats: bool = False
    # Characters of one message at most.
    longest: int | None = None


@dataclass(frozen=True)
class Delivery:
    """A reply as it came to a person. `id` is what it is called, if it is called anything."""

    text: str
    id: str | None = None


class Doors(Protocol):
    """Where the installation is reached by those outside of it."""

    @property
    def workspace(self) -> Path:
        """Where tokens are made."""
        ...

    @property
    def ingests(self) -> Sequence[str]:
        """The replicas of ingest."""
        ...

    @property
    def api(self) -> str:
        """The api."""
        ...

    def is_taken(self, session: str, agent: str, turn: str) -> Awaitable[bool]:
        """Whether the message is in its lane, or was."""
        ...


class Kit(ABC):
    """One channel's platform, with an account for each agent."""

    name: ClassVar[str]
    abilities: ClassVar[Abilities] = Abilities()
    # What those are told who may not write, in the order in which `intrude` tries.
    turns_away: ClassVar[Sequence[str]]
    # What is answered to what nobody can read, in the order in which `bring_junk` brings it.
    answers_junk: ClassVar[Sequence[str]]

    def __init__(self) -> None:
        self.server: PlatformServer | None = None
        self.doors: Doors

    # -- before the installation starts ------------------------------------------------------

    async def prepare(self, stack: AsyncExitStack) -> None:  # noqa: B027 - most have nothing to do
        """Start the platform's server, if ingest is a client of one."""

    def settings(self) -> Mapping[str, Mapping[str, Any]]:
        """The tables of the settings, by their names."""
        return {}

    def channel(self, agent: str) -> str | None:
        """The channel that the agent lists in its settings; None if it has it without."""
        return None

    # -- while it runs -----------------------------------------------------------------------

    async def open(self, doors: Doors, stack: AsyncExitStack) -> None:
        """Begin to bring messages."""
        self.doors = doors

    @abstractmethod
    def session(self, message: Said) -> str:
        """The key of the session that the message belongs to."""

    @abstractmethod
    async def bring(self, message: Said, *, replica: int = 0) -> None:
        """Bring it, and again while it is refused for now, as the platform does.

        Platforms that push begin at that replica. A message may be brought any number of times.
        """

    @asynccontextmanager
    async def watching(self, message: Said) -> AsyncIterator[None]:
        """Let the person look at the message's session within the block. Most always do."""
        yield

    @abstractmethod
    def deliveries(self, person: Person, agent: str = AGENTS[0]) -> Sequence[Delivery]:
        """What the person was answered by the agent, in the order in which it came."""

    def texts(self, person: Person, agent: str = AGENTS[0]) -> list[str]:
        """The texts of the deliveries."""
        return [delivery.text for delivery in self.deliveries(person, agent)]

    @abstractmethod
    async def intrude(self, message: Said) -> Sequence[str]:
        """Bring a message as those do who may not write, in each way; what they are told."""

    @abstractmethod
    async def bring_junk(self, note: str) -> Sequence[str]:
        """Bring what nobody can read, with the note in it; what it is answered."""

    async def leave(self, message: Said) -> None:
        """Let the person read nothing until the message is brought again. Not if it `delivers`."""
        raise NotImplementedError(self.name)

    def refused(self, message: Said) -> str:
        """What the person reads if the session has become another agent's."""
        return NOTICE

    def refusal(self, fault: Fault) -> Response:
        """The platform's answer to a request of ingest, in its own words. `delivers` only."""
        raise NotImplementedError(fault)

    # -- for tests ---------------------------------------------------------------------------

    async def answered(self, message: Said, *, count: int = 1, within: float = 30.0) -> list[str]:
        """Wait until the person has had so many answers of that agent: their texts."""
        person, agent = message.person, message.agent
        await wait_until(
            lambda: len(self.deliveries(person, agent)) >= count,
            f"{self.name}: {count} answers to {person.name}",
            within=within,
        )
        return self.texts(person, agent)
