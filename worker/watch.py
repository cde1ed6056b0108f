"""Watching that the stream is still the one that the cursor was written for."""

from __future__ import annotations

import logging

from sessions import times
from sessions.models import StreamCursor
from sessions.store.backend import SessionBackend
from sessions.stream.turns import StreamFacts, TurnStream
from worker.claim import StoreClaim
from worker.recognition import Read, recognise
from worker.regression import regression, vanished
from worker.status import WorkerStatus

log = logging.getLogger(__name__)


class StreamWatch:
    """Compares the stream with the cursor, and acts where they do not fit."""

    def __init__(
        self,
        backend: SessionBackend,
        stream: TurnStream,
        claim: StoreClaim,
        status: WorkerStatus,
        read: Read,
    ) -> None:
        self._backend = backend
        self._stream = stream
        self._claim = claim
        self._status = status
        self._read = read
        self._missing = 0

    async def check(self, cursor: StreamCursor) -> StreamCursor:
        """The cursor from which to read the stream as it is now: this one, or a new epoch's.

        It renews the lease, claims the stream and reports entries that are gone.
        """
        # The lease first: it must not lapse because Redis is away.
        await self._backend.renew()
        facts = await self._stream.facts(cursor.applied, counted=cursor.skipped + cursor.resolved)
        reason = regression(cursor, facts)
        if reason is not None:
            cursor = await self._begin_epoch(cursor, facts, reason)
        elif facts.added is not None and facts.added != cursor.added:
            await self._backend.renew(added=facts.added)
        await self._claim.announce_epoch(cursor.epoch, registered=facts.epoch)
        await self._report_gaps(cursor, facts)
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
        self._missing = 0
        if cursor.epoch != 0:
            await self._status.announce(regressed=f"{times.render(times.now())} {reason}")
        return fresh

    async def _report_gaps(self, cursor: StreamCursor, facts: StreamFacts) -> None:
        """Say so when entries were added that nobody got to read."""
        missing = vanished(cursor, facts)
        if missing > self._missing:
            log.error(
                "%d stream entries vanished before they were read: something else trims the "
                "stream, or deletes from it",
                missing,
            )
        self._missing = max(self._missing, missing)
        if facts.store.get("vanished", "0") != str(self._missing):
            await self._status.announce(vanished=self._missing)
