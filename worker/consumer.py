"""The consumer: reads the stream from the store's cursor and applies it, batch by batch.

    wait for the lead  →  claim the stream  →  read, apply, read, apply …  →  let the lead go

It runs as one task. Upkeep that others ask for (`ask`) is done between two batches, because there
is one writing connection and this task owns it. Trouble that passes by itself is waited out here;
anything else ends the task, and with it the process.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Final

from sessions import times
from sessions.errors import Fenced, Retryable, StoreUnavailable, StreamFull, StreamUnavailable
from sessions.models import Entry, Event, EventType, StreamCursor, StreamId
from sessions.process.progress import ProgressReporter
from sessions.store.backend import Following, SessionBackend
from sessions.stream.turns import StreamFacts, TurnStream
from worker.announcing import announcing
from worker.leadership import ANSWERS_WITHIN, DEAF_AFTER, RENEWAL, DeathLock, stand_by
from worker.readahead import ReadAhead
from worker.recognition import recognise
from worker.regression import regression, vanished
from worker.upkeep import Chore, Upkeep, under_pressure

log = logging.getLogger(__name__)

# Entries in one transaction. Half as many drain 20 % slower; twice as many drain no faster, and
# keep a reader of fresh data waiting twice as long.
BATCH_COUNT: Final = 1000
# Bytes in one transaction, which bounds the worker's memory: text is held about five times.
BATCH_BYTES: Final = 4 * 1024 * 1024
# Seconds between two tries while something passing is in the way.
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 2.0
# Seconds between two lines about the same trouble.
_REPEAT_TROUBLE: Final = 10.0
_ERASING: Final = frozenset({EventType.ROLLBACK, EventType.RESET, EventType.DELETE, EventType.DEAD})


class Consumer:
    """One worker's share in the stream: standing by, or leading."""

    def __init__(
        self,
        backend: SessionBackend,
        stream: TurnStream,
        upkeep: Upkeep,
        *,
        holder: str,
        place: str,
        lock: DeathLock,
        progress: ProgressReporter,
        adopt: bool = False,
    ) -> None:
        self._backend = backend
        self._stream = stream
        self._upkeep = upkeep
        self._holder = holder
        self._place = place
        self._lock = lock
        self._progress = progress
        self._adopt = adopt
        self._stopping = asyncio.Event()
        self._leading = False
        self._cursor: StreamCursor | None = None
        # What was read in advance, and from where.
        self._coming: tuple[StreamCursor, list[Entry]] | None = None
        self._claimed = False
        self._missing = 0
        self._next_check = 0.0
        self._turns = 0
        self._trouble: str | None = None
        self.applied_entries = 0

    @property
    def leading(self) -> bool:
        """Whether this worker holds the lead, as far as it knows."""
        return self._leading

    @property
    def hindered(self) -> bool:
        """Whether something passing is in the way."""
        return self._trouble is not None

    @property
    def steps(self) -> int:
        """Grows while the consumer or its store does anything."""
        return self._turns + self._backend.steps

    @property
    def stopping(self) -> asyncio.Event:
        """Set as soon as a stop was asked for."""
        return self._stopping

    def stop(self) -> None:
        """End after the batch in hand."""
        self._stopping.set()

    def ask(self, chore: Chore) -> None:
        """Have a chore done between two batches; a standby forgets it."""
        if self._leading:
            self._upkeep.ask(chore)

    async def run(self) -> None:
        """Stand by, lead, and stand by again when fenced off, until stopped."""
        await self._patiently(self._check_claim)
        fenced = False
        while not self._stopping.is_set():
            lease = await stand_by(
                self._backend,
                self._lock,
                holder=self._holder,
                fenced=fenced,
                stopping=self._stopping,
                progress=self._progress,
                show=self._show_standby,
                hears=self._hears,
            )
            if lease is None:
                return
            log.info("leading under epoch %d as %s", lease.epoch, self._holder)
            try:
                await self._lead()
                await self._release()
            except Fenced as error:
                log.warning("the lead is lost: %s", error)
            finally:
                self._leading = False
                self._lock.close()
            # Whoever leads by now may not have the lock yet.
            fenced = True

    async def _lead(self) -> None:
        """Lead until a stop is asked for, or Redis has not answered for too long."""
        self._leading = True
        self._cursor = self._coming = None
        async with announcing(self._stream, lambda: self._cursor):
            while not self._stopping.is_set():
                try:
                    await self._patiently(self._step)
                except _Deaf as error:
                    log.warning("the lead is given up: %s", error)
                    return

    async def _release(self) -> None:
        try:
            await self._backend.release()
        except StoreUnavailable as error:
            # The kernel lets go of the lock that a standby also watches.
            log.warning("the lease is left to lapse: %s", error)

    async def _hears(self) -> bool:
        """Whether Redis answers; that it does not is said once."""
        try:
            async with asyncio.timeout(ANSWERS_WITHIN):
                await self._stream.facts()
        except (Retryable, TimeoutError) as error:
            if self._trouble is None:
                self._trouble = str(error) or "Redis does not answer"
                log.warning("waiting: nobody leads without Redis: %s", self._trouble)
            return False
        self._trouble = None
        return True

    async def _patiently(self, step: Callable[[], Awaitable[None]]) -> None:
        """Do the step again until nothing passing is in its way, or a stop is asked for.

        Raises _Deaf where we lead and Redis has not answered for DEAF_AFTER seconds.
        """
        loop = asyncio.get_running_loop()
        pause, told, began = _FIRST_PAUSE, float("-inf"), loop.time()
        self._trouble = None
        while True:
            try:
                await step()
            except Retryable as error:
                self._trouble = str(error)
                if loop.time() - told >= _REPEAT_TROUBLE:
                    log.warning("waiting: %s", error)
                    told = loop.time()
                    if isinstance(error, StoreUnavailable):
                        await self._show(trouble=str(error))
                silent = loop.time() - self._stream.answered
                if self._leading and isinstance(error, StreamUnavailable) and silent > DEAF_AFTER:
                    raise _Deaf(f"Redis has not answered for {silent:.0f} s") from error
            else:
                if self._trouble is not None:
                    log.info("going on after %.1f s", loop.time() - began)
                    self._trouble = None
                    await self._show(trouble="")
                return
            finally:
                self._turns += 1
            if self._stopping.is_set():
                return
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    # -- leading -----------------------------------------------------------------------------

    async def _step(self) -> None:
        """One round: look after the stream if it is time, then do a chore, then a batch."""
        # Whoever took the lead from one that hangs gets the lock only when that one goes.
        self._lock.take()
        cursor = await self._checked()
        self._progress.ready()
        if self._upkeep.waiting:
            await self._upkeep.do_one(cursor)
        batch = await self._next(cursor)
        if batch:
            await self._apply(batch)
        self._progress.beat()

    async def _next(self, cursor: StreamCursor) -> list[Entry]:
        """The entries behind the cursor; none where none came for a while, or a chore waits."""
        coming, self._coming = self._coming, None
        if coming is not None and coming[0] == cursor:
            return coming[1]
        return await self._read(cursor.applied, wait=not self._upkeep.waiting)

    async def _read(self, place: StreamId, *, wait: bool = False) -> list[Entry]:
        return await self._stream.read(place, count=BATCH_COUNT, size=BATCH_BYTES, wait=wait)

    async def _apply(self, batch: list[Entry]) -> None:
        """Apply a batch; behind a full one there is more, which is read in the meantime."""
        if len(batch) < BATCH_COUNT:
            await self._commit(batch)
            return
        async with aclosing(ReadAhead(self._read, batch[-1].raw.stream_id)) as following:
            cursor = await self._commit(batch, following.entries)
            self._coming = cursor, await following.entries()

    async def _commit(self, batch: list[Entry], following: Following | None = None) -> StreamCursor:
        self._cursor = await self._backend.apply(batch, following=following)
        self.applied_entries += len(batch)
        if any(map(_erases, batch)):
            self._upkeep.ask(Chore.TIDY)
        return self._cursor

    async def _checked(self) -> StreamCursor:
        """The cursor, after making sure every RENEWAL seconds that it fits the stream.

        And before every chore: one that trims to where another stream was read drops what nobody
        has read.
        """
        loop = asyncio.get_running_loop()
        soon = loop.time() < self._next_check and not self._upkeep.waiting
        if self._cursor is not None and soon:
            return self._cursor
        cursor = self._cursor or await self._backend.cursor()
        # The lease first: it must not lapse because Redis is away.
        await self._backend.renew()
        facts = await self._stream.facts(cursor.applied, counted=cursor.skipped + cursor.resolved)
        reason = regression(cursor, facts)
        if reason is not None:
            cursor = await self._begin_epoch(cursor, facts, reason)
        elif facts.added is not None and facts.added != cursor.added:
            await self._backend.renew(added=facts.added)
        await self._settle_claim(facts, cursor)
        self._watch_for_gaps(cursor, facts)
        if facts.store.get("vanished", "0") != str(self._missing):
            await self._show(vanished=self._missing)
        if under_pressure(await self._stream.memory()):
            await self._upkeep.trim(cursor)
        self._cursor = cursor
        self._next_check = loop.time() + RENEWAL
        return cursor

    async def _begin_epoch(
        self, cursor: StreamCursor, facts: StreamFacts, reason: str
    ) -> StreamCursor:
        """Read the stream from its beginning: ids that are known already have no effect."""
        if cursor.epoch == 0:
            # Before the epoch begins, so that it is done again if it is cut short.
            known = await recognise(self._backend, self._read)
            if known:
                log.warning("%d entries of the stream are known from the session files", known)
        gone = (facts.added or facts.length) - facts.length
        fresh = await self._backend.begin_epoch(skipped=gone, above=facts.epoch)
        level = logging.INFO if cursor.epoch == 0 else logging.ERROR
        log.log(level, "stream epoch %d begins: %s", fresh.epoch, reason)
        self._claimed, self._missing = False, 0
        if cursor.epoch != 0:
            await self._show(regressed=f"{times.render(times.now())} {reason}")
        return fresh

    async def _settle_claim(self, facts: StreamFacts, cursor: StreamCursor) -> None:
        """Tell publishers and readers the epoch.

        A Redis that takes no writes now may delay it, but what can be read is applied all the same.
        """
        if self._claimed and facts.epoch == cursor.epoch:
            return
        try:
            await self._check_claim()
            await self._stream.announce(epoch=cursor.epoch)
        except (StreamFull, StreamUnavailable) as error:
            log.warning("cannot register in Redis yet: %s", error)
        else:
            self._claimed = True

    async def _show(self, **facts: str | int) -> None:
        """Let `status` and the metrics see something; where that cannot be now, the log has it."""
        try:
            await self._stream.announce(**facts)
        except Retryable as error:
            log.debug("cannot show %s: %s", facts, error)

    async def _show_standby(self) -> None:
        try:
            async with asyncio.timeout(ANSWERS_WITHIN):
                await self._stream.note_standby(self._holder)
        except (Retryable, TimeoutError) as error:
            log.debug("cannot show that this worker stands by: %s", error)

    async def _check_claim(self) -> None:
        """Claim the stream for this store, or end: StoreMismatch says whose it is."""
        store_id = await self._backend.store_id()
        assert store_id is not None
        await self._stream.register(
            backend=self._backend.name,
            store_id=store_id,
            place=self._place,
            adopt=self._adopt,
        )

    def _watch_for_gaps(self, cursor: StreamCursor, facts: StreamFacts) -> None:
        """Say so when entries were added that nobody got to read."""
        missing = vanished(cursor, facts)
        if missing > self._missing:
            log.error(
                "%d stream entries vanished before they were read: something else trims the "
                "stream, or deletes from it",
                missing,
            )
        self._missing = max(self._missing, missing)


class _Deaf(Exception):
    """Redis does not answer this leader; it may answer a standby."""


def _erases(entry: Entry) -> bool:
    return isinstance(entry.body, Event) and entry.body.type in _ERASING
