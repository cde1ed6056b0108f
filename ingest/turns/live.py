"""A turn while this replica has it: who listens to it, what was said, what interrupts it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ingest.agents.base import Progress, Reply
from ingest.reads import History
from sessions.errors import LaneLost
from sessions.stream.lanes.inbound import Inbound


class Interruption(StrEnum):
    """What came between a turn and its end."""

    ABORT = "abort"
    """Somebody asked for it."""
    LOST = "lost"
    """Another replica took the lane over."""
    STOP = "stop"
    """This process is to end."""


class Ending(StrEnum):
    """How a turn ended, as far as this replica knows."""

    REPLIED = "replied"
    FAILED = "failed"
    ABORTED = "aborted"
    REFUSED = "refused"
    """Nothing was stored; `retryable` says whether the same message may be sent again."""
    ELSEWHERE = "elsewhere"
    """Another replica has it, or it was run before: the store tells how it ended."""
    LEFT = "left"
    """This process ends before the turn does; the lane stays as it is for another one."""


@dataclass(frozen=True, slots=True)
class TurnEnd:
    """The end of a turn. `text` is the reply, or what to tell the user; `code` the gateway's.

    `stored` is what closed a turn that failed; empty where nothing of it was kept.
    """

    ending: Ending
    text: str = ""
    code: str | None = None
    reply: Reply | None = None
    retryable: bool = False
    stored: str = ""

    @property
    def kept(self) -> str:
        """What the store keeps as the answer; empty where it keeps none."""
        answered = self.ending in (Ending.REPLIED, Ending.ABORTED)
        return self.stored or (self.text if answered else "")


class Broadcast:
    """What an agent says and does in one turn, told to its listeners as it happens."""

    def __init__(self) -> None:
        # One that is slow must drop out: its calls return at once.
        self.listeners: set[Progress] = set()
        self._said: list[str] = []

    @property
    def said(self) -> str:
        """The text so far."""
        return "".join(self._said)

    def recall(self, said: str) -> None:
        """Take over what an earlier try of the turn has shown; its listeners know it."""
        self._said = [said] if said else []

    def chunk(self, text: str) -> None:
        """A piece of the reply."""
        self._said.append(text)
        for listener in tuple(self.listeners):
            listener.chunk(text)

    def tool_call(self, id: str, name: str, arguments: Mapping[str, Any]) -> None:
        """A tool is used."""
        for listener in tuple(self.listeners):
            listener.tool_call(id, name, arguments)

    def tool_result(self, id: str, name: str, output: str) -> None:
        """A tool answered."""
        for listener in tuple(self.listeners):
            listener.tool_result(id, name, output)


class LiveTurn:
    """One message of this replica, from its place in the lane to the end of its turn.

    `attended` is true while a person waits for it who can be told to try again; what a platform
    was answered 200 for is not attended. Agents tell `progress` what they do. `accepted` is done
    when the message is in its lane, with the loop's time of that moment. `begun` is set when it
    does not wait any more, `end` done when the turn is over as far as this replica has to do with
    it. `opened` is true once the store has its message, stored by this very turn. `joined` are the
    messages that became a part of it. `reading` is the session's history, if it is read while the
    message still gets its place.
    """

    def __init__(self, inbound: Inbound, *, attended: bool, lane: str | None = None) -> None:
        """`lane` is set for a message that waits in another lane than its own."""
        self.inbound = inbound
        self.lane = lane or inbound.lane
        self.attended = attended
        self.opened = False
        self.joined: list[Inbound] = []
        self.reading: asyncio.Task[History | None] | None = None
        self.progress = Broadcast()
        self.interruption: Interruption | None = None
        loop = asyncio.get_running_loop()
        self.accepted: asyncio.Future[float] = loop.create_future()
        self.end: asyncio.Future[TurnEnd] = loop.create_future()
        self.begun = asyncio.Event()
        self._interrupted = asyncio.Event()

    @property
    def said(self) -> str:
        """The text of the reply so far."""
        return self.progress.said

    def interrupt(self, what: Interruption) -> None:
        """Have the turn end early; a lost lane overrules, otherwise the first reason counts."""
        if self.interruption is None or what is Interruption.LOST:
            self.interruption = what
        self._interrupted.set()

    async def wait_interrupted(self, seconds: float) -> None:
        """Return when the turn is interrupted, at the latest after so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                await self._interrupted.wait()
        except TimeoutError:
            return

    def join(self, followers: list[Inbound]) -> None:
        """Take the messages that wait behind this one into its turn."""
        self.joined = followers
        self.inbound = self.inbound.joined_with(followers)

    def separate(self, alone: Inbound) -> None:
        """Let the messages go that joined it; `alone` is its message without them."""
        self.inbound, self.joined = alone, []

    def conclude(self, end: TurnEnd) -> None:
        """Tell everybody how it ended; only the first time counts."""
        if not self.end.done():
            self.end.set_result(end)

    def check_lane(self) -> None:
        """Raise LaneLost where another replica has the lane."""
        if self.interruption is Interruption.LOST:
            raise LaneLost(f"the lane of turn {self.inbound.id} was taken over")
