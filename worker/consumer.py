"""The consumer: one worker's share in the stream, which it reads from the store's cursor.

    stand by  →  lead: move in, then read, apply, read, apply …  →  let the lead go

It runs as one task. Trouble that passes by itself is waited out (`patience`); anything else ends
the task, and with it the process.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from enum import StrEnum

from sessions.errors import Fenced, StoreUnavailable
from sessions.models import Lease
from sessions.process.durations import Durations
from sessions.store.backend import CountsOutcomes, OutcomeCount, SessionBackend
from sessions.store.capabilities import LeaderLock
from sessions.stream.turns import RedisMemory
from worker.batches import Batches
from worker.claim import StoreClaim
from worker.leader import Leader
from worker.moving_in import MovingIn
from worker.patience import Patience
from worker.standby import Standby
from worker.upkeep import Chore, Upkeep

log = logging.getLogger(__name__)


class WorkerPhase(StrEnum):
    """What a worker does."""

    STARTING = "starting"
    STANDBY = "standby"
    LEADING = "leading"


class Consumer:
    """Stands by, leads, lets the lead go, and stands by again."""

    def __init__(
        self,
        backend: SessionBackend,
        *,
        claim: StoreClaim,
        standby: Standby,
        leader: Leader,
        batches: Batches,
        upkeep: Upkeep,
        patience: Patience,
        lock: LeaderLock,
        moving_in: MovingIn,
        stopping: asyncio.Event,
    ) -> None:
        self._backend = backend
        self._claim = claim
        self._standby = standby
        self._leader = leader
        self._batches = batches
        self._upkeep = upkeep
        self._patience = patience
        self._lock = lock
        self._moving_in = moving_in
        self._stopping = stopping
        self._phase = WorkerPhase.STARTING

    @property
    def leading(self) -> bool:
        """Whether this worker holds the lead, as far as it knows."""
        return self._phase is WorkerPhase.LEADING

    @property
    def standing_by(self) -> bool:
        """Whether this worker waits for the lead."""
        return self._phase is WorkerPhase.STANDBY

    @property
    def hindered(self) -> bool:
        """Whether something passing is in the way."""
        return self.trouble is not None

    @property
    def trouble(self) -> str | None:
        """What passing thing is in the way; None if nothing is."""
        return self._patience.trouble.text

    @property
    def steps(self) -> int:
        """Grows while the consumer or its store does anything."""
        return self._patience.tries + self._backend.steps

    @property
    def applied_entries(self) -> int:
        """How many entries of the stream this worker has applied."""
        return self._batches.applied_entries

    @property
    def delays(self) -> Durations:
        """The times from an entry's arrival in Redis to its commit, of what was applied here."""
        return self._batches.delays

    @property
    def outcomes(self) -> Iterable[OutcomeCount]:
        """What became of the events that were applied here; nothing if the store does not count."""
        return self._backend.outcomes if isinstance(self._backend, CountsOutcomes) else ()

    @property
    def redis_memory(self) -> RedisMemory | None:
        """Redis' memory as the leader saw it last; None while this worker does not lead."""
        return self._upkeep.memory if self.leading else None

    @property
    def stopping(self) -> asyncio.Event:
        """Set as soon as a stop was asked for."""
        return self._stopping

    def stop(self) -> None:
        """End after the batch in hand."""
        self._stopping.set()

    def request(self, chore: Chore) -> None:
        """Have a chore done between two batches; a standby forgets it."""
        if self.leading:
            self._upkeep.request(chore)

    async def run(self) -> None:
        """Stand by, lead, and stand by again after the lead was lost, until stopped."""
        await self._patience.run_until_done(self._claim.check)
        fenced = False
        while not self._stopping.is_set():
            self._phase = WorkerPhase.STANDBY
            lease = await self._standby.wait(self._stopping, fenced=fenced)
            if lease is not None:
                await self._lead(lease)
            # The worker that leads by now may not have the lock yet.
            fenced = True

    async def _lead(self, lease: Lease) -> None:
        log.info("leading under epoch %d as %s", lease.epoch, lease.holder)
        self._phase = WorkerPhase.LEADING
        try:
            await self._patience.run_until_done(self._moving_in.run)
            await self._leader.lead(self._stopping)
            await self._release()
        except Fenced as error:
            log.warning("the lead is lost: %s", error)
        finally:
            self._phase = WorkerPhase.STARTING
            self._lock.close()

    async def _release(self) -> None:
        try:
            await self._backend.release()
        except StoreUnavailable as error:
            # The kernel lets go of the lock that a standby also watches.
            log.warning("the lease is left to lapse: %s", error)
