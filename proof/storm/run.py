"""One storm, from an empty workspace to a judgement."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import httpx

from harness.waiting import Stuck
from proof.storm.external import ExternalServers
from proof.storm.faults import (
    Death,
    PlatformOutage,
    freeze,
    kill,
    send_platforms_away,
    send_redis_away,
)
from proof.storm.journal import AGENT, AIDE, Ingress, Journal, StormMessage
from proof.storm.judge import Evidence, StormFault, StormFinding, judge
from proof.storm.report import StormReport
from proof.storm.senders import (
    DiscordTransport,
    Sender,
    SendRefused,
    SlackTransport,
    SocketTransport,
    Transport,
    WakeTransport,
    WebhookClient,
    WebhookTransport,
)
from proof.storm.system import REPLICAS, StormSystem

# Shares of all messages that have their answer when a replica is killed, when one is frozen, when
# Redis goes away, and when the platforms take no more replies, after which another replica is
# killed while it may be sending parked ones; each at the earliest when the one before it is over.
_KILL_AT: Final = 0.08
_FREEZE_AT: Final = 0.25
_AWAY_AT: Final = 0.5
_PLATFORMS_AWAY_AT: Final = 0.65
# Share of the messages that are delivered once more when all is over.
_LATE: Final = 0.05
# Where the sessions come in, in turn.
_INGRESSES: Final = (Ingress.SOCKET, Ingress.WEBHOOK, Ingress.SLACK, Ingress.DISCORD)
# Seconds in which all sessions begin.
_ARRIVAL: Final = 10.0
# As many agents may wait for answers as there are sessions.
_NO_LIMITS: Final = httpx.Limits()
# Seconds in which a tenth message would be refused as well.
_SETTLE: Final = 2.0


@dataclass(frozen=True)
class Plan:
    """How much is sent, and how long it may take; seconds."""

    folder: Path
    seed: str
    sessions: int
    messages: int
    longest_answer: float
    limit: float


@dataclass
class Storm:
    """A running storm."""

    plan: Plan
    system: StormSystem
    outside: ExternalServers
    journal: Journal
    gates: Sequence[WebhookClient]
    api: httpx.AsyncClient
    messages: list[StormMessage] = field(default_factory=list[StormMessage])
    deaths: list[Death] = field(default_factory=list[Death])
    refused: list[str] = field(default_factory=list[str])
    goes_on: float = 0.0
    outage: PlatformOutage | None = None

    async def rage(self) -> None:
        """All of it; returns when every message has its answer."""
        await asyncio.gather(
            *(self._send_nine(ingress) for ingress in (Ingress.SOCKET, Ingress.WEBHOOK))
        )
        conversations = [self._messages_of(number) for number in range(self.plan.sessions)]
        async with asyncio.TaskGroup() as tasks:
            for messages in conversations:
                tasks.create_task(self._send(messages))
                tasks.create_task(self._wake(messages))
            tasks.create_task(self._do_harm())
        await self._deliver_late()

    def _messages_of(self, number: int) -> list[StormMessage]:
        """Every fourth session comes by the same way."""
        ingress = _INGRESSES[number % len(_INGRESSES)]
        found = [StormMessage(f"s{number}", place, ingress) for place in range(self.plan.messages)]
        self.messages += [*found, *_wakes(found[0])]
        return found

    def _transport(self, message: StormMessage) -> Transport:
        if message.waker:
            token = self.system.agent_tokens[message.waker]
            return WakeTransport(self.api, token, self.outside)
        if message.ingress is Ingress.WEBHOOK:
            return WebhookTransport(self.gates, self.outside, self.journal)
        if message.ingress is Ingress.SLACK:
            return SlackTransport(self.outside)
        if message.ingress is Ingress.DISCORD:
            return DiscordTransport(self.outside)
        return SocketTransport(self.system.urls, self.system.token, self.journal)

    async def _send(self, messages: Sequence[StormMessage]) -> None:
        first = messages[0]
        chance = random.Random(f"{self.plan.seed}/{first.session}")
        await asyncio.sleep(chance.uniform(0.0, _ARRIVAL))
        await self._sender(first, chance).send_all(messages)

    async def _wake(self, messages: Sequence[StormMessage]) -> None:
        """The other agent wakes the session at any time, and while the platforms are away."""
        early, late = _wakes(messages[0])
        chance = random.Random(f"{self.plan.seed}/{early.name}")
        earlier = messages[chance.randrange(len(messages))].name
        await self._until(lambda: earlier in self.journal.ended, f"{earlier} has its answer")
        await self._sender(early, chance).send_all([early])
        await self._until(lambda: self.outside.away or self.outage is not None, "platforms leave")
        await self._sender(late, chance).send_all([late])

    def _sender(self, message: StormMessage, chance: random.Random) -> Sender:
        return Sender(self._transport(message), self.journal, chance, len(REPLICAS))

    # -- nine at once ------------------------------------------------------------------------

    async def _send_nine(self, ingress: Ingress) -> None:
        """One session gets nine messages at once while its agent thinks: one has no place."""
        session = "hooknine" if ingress is Ingress.WEBHOOK else "webnine"
        messages = [StormMessage(session, place, ingress) for place in range(9)]
        transport = self._transport(messages[0])
        held = self.outside.held[session] = asyncio.Event()
        tasks = {
            asyncio.create_task(transport.deliver(message, message.number % len(REPLICAS))): message
            for message in messages
        }
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(_SETTLE)
        held.set()
        for task, message in tasks.items():
            try:
                self.journal.note_end(message, await task)
                self.messages.append(message)
            except SendRefused as refusal:
                self.refused.append(str(refusal))
        await transport.close()

    # -- harm --------------------------------------------------------------------------------

    async def _do_harm(self) -> None:
        chance = random.Random(self.plan.seed)
        victim, frozen = chance.sample(REPLICAS, 2)
        before = len(self.journal.ended)
        total = len(self.messages) - before

        async def share(share: float) -> None:
            wanted = before + share * total
            await self._until(lambda: len(self.journal.ended) >= wanted, "answers come")

        await share(_KILL_AT)
        self.deaths.append(await kill(self.system, victim))
        await share(_FREEZE_AT)
        self.deaths.append(await freeze(self.system, frozen))
        await share(_AWAY_AT)
        await self._send_redis_away()
        await share(_PLATFORMS_AWAY_AT)
        self.outage = await send_platforms_away(self.system, self.outside, self.journal)
        self.deaths.append(await kill(self.system, chance.choice(REPLICAS)))

    async def _send_redis_away(self) -> None:
        back = await send_redis_away(self.system)
        ended = len(self.journal.ended)
        if ended < len(self.messages):
            await self._until(lambda: len(self.journal.ended) > ended, "answers come again")
            self.goes_on = time.monotonic() - back

    async def _until(self, holds: Callable[[], bool], what: str) -> None:
        await self.system.until(holds, what, self.plan.limit)

    async def _deliver_late(self) -> None:
        """Some messages come once more when everything is over; all of the interrupted do."""
        chance = random.Random(f"{self.plan.seed}/late")
        fallen = {c.turn for death in self.deaths for c in death.casualties}
        chosen = [m for m in self.messages if m.turn in fallen or chance.random() < _LATE]
        await asyncio.gather(*(self._again(message, chance.randrange(3)) for message in chosen))

    async def _again(self, message: StormMessage, replica: int) -> None:
        transport = self._transport(message)
        self.journal.redelivered += 1
        with suppress(SendRefused):
            self.journal.note_end(message, await transport.deliver(message, replica))
        await transport.close()


async def run(plan: Plan) -> StormReport:
    """Let it storm, and judge what is left."""
    began = time.monotonic()
    journal = Journal()
    outside = ExternalServers(journal, seed=plan.seed, longest=plan.longest_answer)
    report = StormReport(plan.seed)
    async with (
        outside.served(),
        StormSystem.running(plan.folder, outside=outside) as system,
        AsyncExitStack() as stack,
    ):
        gates = [await stack.enter_async_context(WebhookClient.opened(url)) for url in system.urls]
        api = httpx.AsyncClient(base_url=system.api, trust_env=False, limits=_NO_LIMITS)
        await stack.enter_async_context(api)
        storm = Storm(plan, system, outside, journal, gates, api)
        entries: list[str] | None = None
        try:
            await _in_time(storm.rage(), plan.limit)
            report.took = journal.last_end - began
            entries = await system.quiet()
        except Stuck as error:
            report.findings.append(StormFinding(StormFault.STUCK, str(error)))
        ends = [f"{end.name} ended with {end.code}" for end in system.children.by_themselves]
    report.findings += [StormFinding(StormFault.SURPRISE, text) for text in ends]
    evidence = Evidence.gathered(
        *(system.workspace, storm.messages, journal, storm.deaths, entries), outage=storm.outage
    )
    report.findings += judge(evidence)
    report.add_evidence(evidence, refused=storm.refused, goes_on=storm.goes_on)
    report.seconds = time.monotonic() - began
    return report


def _wakes(message: StormMessage) -> tuple[StormMessage, StormMessage]:
    """With what the other agent wakes the session of a message."""
    waker = AGENT if message.ingress.agent == AIDE else AIDE
    first, second = (replace(message, number=number, waker=waker) for number in range(2))
    return first, second


async def _in_time(work: Coroutine[Any, Any, None], seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await work
    except TimeoutError:
        raise Stuck(f"not everything was answered within {seconds:g} s") from None
    except ExceptionGroup as group:
        # Of several tasks that got stuck; anything else is raised.
        stuck, others = group.split(Stuck)
        if stuck is None or others is not None:
            raise
        raise Stuck("; ".join(map(str, stuck.exceptions))) from group
