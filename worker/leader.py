"""Leading: one round after the other, until a stop is asked for or Redis falls silent."""

from __future__ import annotations

import asyncio
import logging

from sessions.errors import Retryable, StreamUnavailable
from sessions.models import StreamCursor
from sessions.process.progress import ProgressReporter
from sessions.store.backend import SessionBackend
from sessions.store.capabilities import LeaderLock
from sessions.stream.turns import TurnStream
from worker.announcing import announcing
from worker.batches import Batches
from worker.leadership import DEAF_AFTER, RENEWAL
from worker.patience import Patience
from worker.upkeep import Upkeep
from worker.watch import StreamWatch

log = logging.getLogger(__name__)


class Leader:
    """What a worker does while it leads. Upkeep that others ask for is done between two batches."""

    def __init__(
        self,
        backend: SessionBackend,
        stream: TurnStream,
        *,
        watch: StreamWatch,
        batches: Batches,
        upkeep: Upkeep,
        patience: Patience,
        lock: LeaderLock,
        progress: ProgressReporter,
    ) -> None:
        self._backend = backend
        self._stream = stream
        self._watch = watch
        self._batches = batches
        self._upkeep = upkeep
        self._patience = patience
        self._lock = lock
        self._progress = progress
        self._next_check = 0.0

    async def lead(self, stopping: asyncio.Event) -> None:
        """Lead until `stopping` is set, or Redis has not answered for too long; raises Fenced."""
        self._batches.forget()
        async with announcing(self._stream, lambda: self._batches.cursor) as announcement:
            while not stopping.is_set():
                if announcement.done():
                    # It has failed. Unseen, agents would be refused once their share is full.
                    announcement.result()
                try:
                    await self._patience.run_until_done(self._step, check=self._check_hearing)
                except _Deaf as error:
                    log.warning("the lead is given up: %s", error)
                    return

    async def _step(self) -> None:
        """One round: look after the stream if it is time, then do a chore, then a batch."""
        # A worker that took the lead from one that hangs gets the lock only when that one goes.
        self._lock.try_acquire()
        cursor = await self._checked()
        self._progress.ready()
        if self._upkeep.waiting:
            await self._upkeep.do_one(cursor)
        batch = await self._batches.next(cursor)
        if batch:
            await self._batches.apply(batch)
        self._progress.beat()

    async def _checked(self) -> StreamCursor:
        """The cursor, after making sure every RENEWAL seconds that it fits the stream.

        And before every chore: one that trims to where another stream was read drops what nobody
        has read.
        """
        loop = asyncio.get_running_loop()
        cursor = self._batches.cursor
        soon = loop.time() < self._next_check and not self._upkeep.waiting
        if cursor is not None and soon:
            return cursor
        cursor = await self._watch.check(cursor or await self._backend.cursor())
        # At once: an epoch that it began must not be begun again because of what fails below.
        self._batches.cursor = cursor
        await self._upkeep.relieve(cursor)
        self._next_check = loop.time() + RENEWAL
        return cursor

    def _check_hearing(self, error: Retryable) -> None:
        """Raise _Deaf where Redis has not answered for DEAF_AFTER seconds."""
        silent = asyncio.get_running_loop().time() - self._stream.answered
        if isinstance(error, StreamUnavailable) and silent > DEAF_AFTER:
            raise _Deaf(f"Redis has not answered for {silent:.0f} s") from error


class _Deaf(Exception):
    """Redis does not answer this leader; it may answer a standby."""
