"""Two people in chats and one who writes to a bot: they keep talking, whatever else happens.

users = TalkingUsers(urls, token, outside)
async with users.talking():
    ...                       # what is done to the system
    await users.go_on()       # each of them says something new and has its answer
found = users.judge(workspace, backend)
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from harness.waiting import Stuck, wait_until
from proof.storm.external import ExternalServers
from proof.storm.journal import Ingress, StormMessage
from proof.storm.judge import Evidence, StormFinding, judge
from proof.storm.senders import BotTransport, Sender, SocketTransport, Transport

PEOPLE: Final = {"ada": Ingress.SOCKET, "ben": Ingress.SOCKET, "eve": Ingress.BOT}
# Seconds within which each of them must have an answer, whatever was done before.
_PATIENCE: Final = 60.0
_LOOK: Final = 0.02


class TalkingUsers:
    """Each of them sends one message at a time, and again where it is refused.

    `urls` are the replicas that serve chats.
    """

    def __init__(self, urls: Sequence[str], token: str, outside: ExternalServers) -> None:
        self.messages: list[StormMessage] = []
        self.refusals = outside.journal.refusals
        self._urls = urls
        self._token = token
        self._outside = outside
        self._begun: Counter[str] = Counter()
        self._answered: Counter[str] = Counter()
        self._tasks: list[asyncio.Task[None]] = []
        self._over = False

    @asynccontextmanager
    async def talking(self) -> AsyncGenerator[None]:
        """They talk while the block lasts; behind it every message has its answer.

        Raises Stuck where answers do not come.
        """
        self._tasks = [asyncio.create_task(self._talk(who), name=who) for who in PEOPLE]
        try:
            yield
            await self._end()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)

    async def go_on(self) -> None:
        """Return when each of them has said something new and has its answer; raises Stuck."""
        wanted = {person: self._begun[person] + 1 for person in PEOPLE}
        await wait_until(
            lambda: all(self._answered[person] >= wanted[person] for person in self._alive()),
            "two chats and a bot go on",
            within=_PATIENCE,
            pause=_LOOK,
        )

    def judge(self, workspace: Path, backend: str) -> list[StormFinding]:
        """Every promise that was broken to them; all that they said must be applied by now."""
        journal = self._outside.journal
        self.note_excess()
        evidence = Evidence.gathered(workspace, self.messages, journal, [], None, backend)
        own = {message.key for message in self.messages}
        found = evidence.store.sessions
        evidence.store.sessions = {key: found[key] for key in own & found.keys()}
        return judge(evidence)

    def note_excess(self) -> None:
        """Note as a surprise what the bot said without having been asked."""
        asked = [message for message in self.messages if message.ingress is Ingress.BOT]
        for chat in {message.chat for message in asked}:
            for text in self._outside.bot.texts_in(chat)[len(asked) :]:
                self._outside.journal.surprises.append(f"the bot said {text!r} unasked")

    def _alive(self) -> Sequence[str]:
        """All of them; raises what went wrong with one."""
        for task in self._tasks:
            if task.done():
                task.result()
        return [*PEOPLE]

    async def _talk(self, person: str) -> None:
        transport, journal = self._transport(PEOPLE[person]), self._outside.journal
        sender = Sender(transport, journal, random.Random(person), len(self._urls))
        try:
            for number in itertools.count():
                if self._over:
                    return
                message = StormMessage(person, number, PEOPLE[person])
                self.messages.append(message)
                self._begun[person] += 1
                await sender.send(message)
                self._answered[person] += 1
        finally:
            await transport.close()

    def _transport(self, ingress: Ingress) -> Transport:
        if ingress is Ingress.BOT:
            return BotTransport(self._outside)
        return SocketTransport(self._urls, self._token, self._outside.journal)

    async def _end(self) -> None:
        self._over = True
        try:
            async with asyncio.timeout(_PATIENCE):
                await asyncio.gather(*self._tasks)
        except TimeoutError:
            silent = ", ".join(task.get_name() for task in self._tasks if not task.done())
            raise Stuck(f"{silent}: no answer within {_PATIENCE:g} s") from None


__all__ = ["TalkingUsers"]
