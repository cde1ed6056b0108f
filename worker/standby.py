"""Standing by: watching the lease until it is this worker's turn to lead.

Two signs say so. A lock on a file, which the kernel lets go when a process dies, is the quick one,
on one machine. A lease whose beat stands still is the other; it also shows a leader that lives and
hangs.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from typing import Final

from sessions.errors import Retryable, StoreUnavailable
from sessions.models import Lease
from sessions.process.progress import ProgressReporter
from sessions.process.retry import OutageLog, Reminder, cut_short_by
from sessions.store.backend import SessionBackend
from sessions.store.capabilities import LeaderLock
from sessions.stream.turns import TurnStream
from worker.leadership import ANSWERS_WITHIN, RENEWAL
from worker.patience import BlockedReason
from worker.status import WorkerStatus

log = logging.getLogger(__name__)

# Seconds of a still beat after which a leader counts as gone: three renewals, and early enough
# that a standby leads within 10 s.
SILENCE: Final = 6.0
# Seconds between two looks: a standby leads soon after the lock is free.
_LOOK: Final = 0.25
# Seconds that a worker which lost the lead waits before it trusts the lock: it was itself the one
# that held it, and the new leader takes it within a renewal.
_DISTRUST: Final = 1.5 * RENEWAL


class LeaseWatch:
    """What a standby has itself seen of the lease, by a clock that cannot be set.

    A worker that was just `fenced` off does not trust the lock until the lease has been still for
    a while.
    """

    def __init__(self, *, fenced: bool) -> None:
        self._distrust = _DISTRUST if fenced else 0.0
        self._lease: Lease | None = None
        self._since = 0.0

    def observe(self, lease: Lease) -> None:
        """Take one look at the lease as it is now."""
        if lease != self._lease:
            self._lease = lease
            self._since = time.monotonic()

    @property
    def is_free(self) -> bool:
        """Whether nobody holds it, or its holder shows no life."""
        return self._lease is not None and (self._lease.holder is None or self._still > SILENCE)

    @property
    def trusts_lock(self) -> bool:
        """Whether a lock that can be had means that its holder died."""
        return self._still >= self._distrust

    @property
    def _still(self) -> float:
        return time.monotonic() - self._since


class RedisReachability:
    """Whether Redis answers this worker: one that cannot read the stream must not lead."""

    def __init__(self, stream: TurnStream, trouble: BlockedReason) -> None:
        self._stream = stream
        self._trouble = trouble

    async def answers(self) -> bool:
        """Ask Redis now; that it does not answer is said once."""
        try:
            async with asyncio.timeout(ANSWERS_WITHIN):
                await self._stream.facts()
        except (Retryable, TimeoutError) as error:
            if self._trouble.text is None:
                self._trouble.text = str(error) or "Redis does not answer"
                log.warning("waiting: nobody leads without Redis: %s", self._trouble.text)
            return False
        self._trouble.text = None
        return True


class Standby:
    """A worker that waits for the lead."""

    def __init__(
        self,
        backend: SessionBackend,
        lock: LeaderLock,
        hearing: RedisReachability,
        status: WorkerStatus,
        *,
        holder: str,
        progress: ProgressReporter,
    ) -> None:
        self._backend = backend
        self._holder = holder
        self._lock = lock
        self._hearing = hearing
        self._status = status
        self._progress = progress
        self._blindness = OutageLog(log, "cannot see which worker leads: %s")
        self._shown = Reminder(RENEWAL)

    async def wait(self, stopping: asyncio.Event, *, fenced: bool) -> Lease | None:
        """Watch the lease until it is ours, and give it; None where `stopping` was set first.

        `fenced` says that this worker has just lost the lead.
        """
        watch, said = LeaseWatch(fenced=fenced), Reminder(math.inf)
        pause = cut_short_by(stopping)
        self._shown.reset()
        while not stopping.is_set():
            lease = await self._read_lease()
            if lease is not None:
                watch.observe(lease)
                taken = await self._take(lease, watch)
                if taken is not None:
                    return taken
                if said.due():
                    log.info("standing by; %s leads under epoch %d", lease.holder, lease.epoch)
                await self._show()
            self._progress.beat()
            await pause(_LOOK)
        return None

    async def _read_lease(self) -> Lease | None:
        """The lease as it is now; None where the store cannot be read, which is said once."""
        try:
            lease = await self._backend.lease()
        except StoreUnavailable as error:
            self._blindness.failed(error)
            return None
        self._blindness.over()
        return lease

    async def _show(self) -> None:
        self._progress.ready()
        if self._shown.due():
            await self._status.show_standby()

    async def _take(self, lease: Lease, watch: LeaseWatch) -> Lease | None:
        """Take the lead if it is our turn, and Redis answers us; None where it is not, or fails."""
        if not watch.is_free and not (watch.trusts_lock and self._lock.try_acquire()):
            return None
        taken = await self._acquire(lease) if await self._hearing.answers() else None
        if taken is None:
            # Kept, it would tell us that the next leader has died.
            self._lock.close()
        else:
            self._lock.try_acquire()
        return taken

    async def _acquire(self, seen: Lease) -> Lease | None:
        try:
            return await self._backend.acquire(self._holder, seen=seen)
        except StoreUnavailable as error:
            # A leader that was stopped inside a transaction holds SQLite's own lock. Its
            # supervisor ends it; until then nobody can write.
            log.warning("cannot take the lead yet: %s", error)
            return None
