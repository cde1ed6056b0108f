"""Redis refuses writes in each of its ways, once for half a minute, in the middle of turns.

Turns come by WebSocket and by signed webhook to three replicas of ingest, and two chats and a bot
that one of them fetches from keep talking all the time. Whatever Redis says meanwhile, each message
becomes one turn with its whole answer, and no process ends.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Final

from harness.waiting import Stuck
from proof.redis_refusals import WAYS
from proof.report import RunReport
from proof.stack import StackSetup
from proof.storm.external import ExternalServers
from proof.storm.journal import Ingress, Journal, StormMessage
from proof.storm.judge import Evidence, judge
from proof.storm.senders import Sender, SocketTransport, Transport, WebhookClient, WebhookTransport
from proof.storm.system import REPLICAS, StormSystem
from proof.talking_users import TalkingUsers

# Conversations, and messages of each: with answers that take some seconds they last longer than
# all refusals.
_SESSIONS: Final = 16
_MESSAGES: Final = 20
_LONGEST_ANSWER: Final = 4.0
# Seconds that one way is refused, that the others are, and between two of them.
_LONG: Final = 30.0
_SHORT: Final = (2.0, 5.0)
_BETWEEN: Final = 2.0
# Seconds for everything.
LIMIT: Final = 240.0


@dataclass
class _Talk:
    """What goes on while Redis refuses."""

    seed: str
    system: StormSystem
    outside: ExternalServers
    journal: Journal
    gates: Sequence[WebhookClient]
    messages: list[StormMessage] = field(default_factory=list[StormMessage])
    faults: list[tuple[str, float]] = field(default_factory=list[tuple[str, float]])

    async def go_on(self) -> None:
        """Return when every message has its answer."""
        for number in range(_SESSIONS):
            self.messages += _conversation(number)
        users = TalkingUsers(self.system.urls, self.system.token, self.outside)
        try:
            async with asyncio.timeout(LIMIT), users.talking():
                await users.go_on()
                async with asyncio.TaskGroup() as tasks:
                    for number in range(_SESSIONS):
                        tasks.create_task(self._send(number))
                    tasks.create_task(self._refuse())
        finally:
            users.note_excess()
            self.messages += users.messages

    async def _send(self, number: int) -> None:
        messages = _conversation(number)
        chance = random.Random(f"{self.seed}/{number}")
        transport = self._transport(messages[0].ingress)
        await Sender(transport, self.journal, chance, len(REPLICAS)).send_all(messages)

    def _transport(self, ingress: Ingress) -> Transport:
        if ingress is Ingress.WEBHOOK:
            return WebhookTransport(self.gates, self.outside, self.journal)
        return SocketTransport(self.system.urls, self.system.token, self.journal)

    async def _refuse(self) -> None:
        chance = random.Random(self.seed)
        ways = chance.sample([*WAYS], len(WAYS))
        longest = chance.choice(ways)
        for way in ways:
            await asyncio.sleep(_BETWEEN)
            async with WAYS[way](self.system.redis.url, self.system.stream.redis):
                await asyncio.sleep(_LONG if way == longest else chance.uniform(*_SHORT))
            over, before = time.monotonic(), len(self.journal.ended)
            await self.system.until(self._more_than(before), f"answers come after {way}")
            self.faults.append((way, time.monotonic() - over))

    def _more_than(self, count: int) -> Callable[[], bool]:
        return lambda: len(self.journal.ended) > count


def _conversation(number: int) -> list[StormMessage]:
    """Every second session is one of the webhook's."""
    ingress = Ingress.WEBHOOK if number % 2 else Ingress.SOCKET
    return [StormMessage(f"r{number}", place, ingress) for place in range(_MESSAGES)]


async def run_refusals(setup: StackSetup) -> RunReport:
    """Let Redis refuse in all its ways, and judge what is left."""
    began = time.monotonic()
    report = RunReport(setup.backend, setup.seed)
    journal = Journal()
    outside = ExternalServers(journal, seed=setup.seed, longest=_LONGEST_ANSWER)
    async with (
        outside.served(),
        StormSystem.running(setup.folder, outside=outside, backend=setup.backend) as system,
        AsyncExitStack() as stack,
    ):
        gates = [await stack.enter_async_context(WebhookClient.opened(url)) for url in system.urls]
        talk = _Talk(setup.seed, system, outside, journal, gates)
        try:
            await talk.go_on()
            await system.quiet()
        except TimeoutError:
            report.fail(Stuck(f"not everything was answered within {LIMIT:g} s"))
        except Stuck as error:
            report.fail(error)
        except ExceptionGroup as group:
            # Of several tasks that got stuck; anything else is raised.
            stuck, others = group.split(Stuck)
            if stuck is None or others is not None:
                raise
            report.fail(Stuck("; ".join(map(str, stuck.exceptions))))
        report.ends = [f"{end.name} ended with {end.code}" for end in system.children.by_themselves]
    _judge(setup, talk, report)
    report.seconds = time.monotonic() - began
    return report


def _judge(setup: StackSetup, talk: _Talk, report: RunReport) -> None:
    # A full Redis drops what was applied, so that the stream cannot tell what was published.
    evidence = Evidence.gathered(
        setup.folder / "workspace", talk.messages, talk.journal, [], None, setup.backend
    )
    report.events, report.sessions = len(talk.messages), len(evidence.store.sessions)
    report.faults = talk.faults
    for finding in judge(evidence):
        kind = str(finding.broken)
        report.found[kind] = report.found.get(kind, 0) + 1
        report.examples.append(f"{finding.broken}: {finding.text}")
    del report.examples[8:]
