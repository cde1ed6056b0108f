"""Heartbeats, sweeps and signals: what keeps a replica's lanes its own and finds the dead ones'."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from ingest.turns.live import Interruption
from ingest.turns.queue import TurnQueue
from sessions.errors import DeclaredDead, RedisRefused, SessionError
from sessions.process.retry import OutageLog, Pauses, retry, unless_refused
from sessions.process.tasks import TaskWatcher
from sessions.stream.lanes.values import Signal
from sessions.stream.lanes.watch import DEAD_AFTER, ReplicaWatch

log = logging.getLogger(__name__)

# Seconds between two beats: ten of them fit into the time after which silence is death.
BEAT: Final = 1.0
# Seconds between two looks at the others' beats.
LOOK: Final = 0.5


@asynccontextmanager
async def keeping(
    queue: TurnQueue,
    *,
    beat: float = BEAT,
    look: float = LOOK,
    dead_after: float = DEAD_AFTER,
) -> AsyncGenerator[None]:
    """Keep the queue's lanes as long as the context is open. Redis being away interrupts nothing.

    A defect in one of the loops ends the process: a replica that does not keep its lanes must not
    run turns. So does what Redis refuses for good.
    """
    liveness = Liveness(queue, dead_after=dead_after)
    async with TaskWatcher(queue.end.fail) as tasks:
        tasks.start(_every(beat, liveness.beat), "beats of the lanes")
        tasks.start(_every(look, liveness.sweep), "sweeps of the lanes")
        tasks.start(_listen(liveness), "signals of the lanes")
        yield


class Liveness:
    """Shows that one replica lives, and does what it learns from the others' beats and signals."""

    def __init__(self, queue: TurnQueue, *, dead_after: float = DEAD_AFTER) -> None:
        self.replicas = queue.lanes.replicas
        self._table = queue.table
        self._executor = queue.executor
        self._waiting = queue.waiting
        self._membership = queue.membership
        self._watch = ReplicaWatch(dead_after)
        self._unknown: set[str] = set()

    async def beat(self) -> None:
        """Show that this replica lives, and act on what changed. Raises Retryable."""
        held = {hold.lane: hold for hold in self._table.holds}
        name = self._membership.name
        try:
            pulse = await self.replicas.beat([*held.values()], self._table.waiting_lanes)
        except DeclaredDead:
            await self._membership.rejoin(name)
            return
        for lane in pulse.lost:
            self._table.interrupt(held[lane], Interruption.LOST)
        for lane in pulse.aborted:
            self._table.interrupt(held[lane], Interruption.ABORT)
        for lane in pulse.free:
            self._waiting.take_first(lane)

    async def sweep(self) -> None:
        """Take over what dead replicas left, and find what this one has lost sight of."""
        try:
            dead = self._watch.observe(await self.replicas.beats(), ignore=self.replicas.name)
            sweep = await self.replicas.sweep(dead)
        except RedisRefused:
            raise
        except SessionError:
            self._watch.forget()
            raise
        for hold in sweep.taken:
            log.warning(
                "took over the lane of turn %s (%s)", hold.id, hold.stage, extra={"turn": hold.id}
            )
            self._executor.adopt(hold)
        for hold in sweep.woken:
            self._executor.adopt(hold)
        # Unknown twice: once may be a turn that ended while the answer was on its way.
        unknown = {hold.token: hold for hold in sweep.held if not self._table.runs(hold)}
        for token in unknown.keys() & self._unknown:
            self._executor.adopt(unknown[token])
        self._unknown = {*unknown}
        for lane, message_id in sweep.due:
            self._waiting.take_due(lane, message_id)
        self._executor.former = sweep.former

    def hint(self, signal: Signal) -> None:
        """Act on another replica's signal."""
        if signal.word == "free":
            self._waiting.take_freed(signal.lane)
        elif signal.word == "removed":
            self._waiting.look_again(signal.lane)
        elif signal.word == "abort":
            self._table.interrupt_lane(signal.lane, Interruption.ABORT)


async def _every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    loop = asyncio.get_running_loop()
    outage = OutageLog(log, "lanes are not kept: %s")
    while True:
        began = loop.time()
        try:
            await work()
            outage.over()
        except RedisRefused:
            raise
        except SessionError as error:
            outage.failed(error)
        await asyncio.sleep(max(0.0, began + seconds - loop.time()))


async def _listen(liveness: Liveness) -> None:
    async def hear() -> None:
        async for signal in liveness.replicas.signals():
            if signal is not None:
                liveness.hint(signal)

    await retry(
        hear,
        on=SessionError,
        pauses=Pauses(LOOK),
        # No limit: without signals the beats say the same, later.
        patience=None,
        goes_on=unless_refused,
        report=lambda error: log.debug("signals are not heard: %s", error),
    )
