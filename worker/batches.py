"""Reading batches of entries from the stream, and applying them to the store."""

from __future__ import annotations

import time
from contextlib import aclosing
from typing import Final

from sessions import times
from sessions.models import Entry, Event, EventType, StreamCursor, StreamId
from sessions.process.durations import QUICK, Durations
from sessions.process.tracing import is_tracing, parent_in, record
from sessions.store.backend import Following, SessionBackend
from sessions.stream.turns import TurnStream
from worker.readahead import ReadAhead
from worker.upkeep import Chore, Upkeep

# Entries in one transaction. Half as many drain 20 % slower; twice as many drain no faster, and
# keep a reader of fresh data waiting twice as long.
BATCH_COUNT: Final = 1000
# Bytes in one transaction, which bounds the worker's memory: text is held about five times.
BATCH_BYTES: Final = 4 * 1024 * 1024
_ERASING: Final = frozenset({EventType.ROLLBACK, EventType.RESET, EventType.DELETE, EventType.DEAD})


class Batches:
    """Reads and applies one batch after the other, and knows the cursor behind the last one.

    `cursor` is None until somebody who leads has looked it up in the store. `delays` are the times
    from an entry's arrival in Redis to its commit.
    """

    def __init__(self, backend: SessionBackend, stream: TurnStream, upkeep: Upkeep) -> None:
        self.cursor: StreamCursor | None = None
        self.applied_entries = 0
        self.delays = Durations(QUICK)
        self._backend = backend
        self._stream = stream
        self._upkeep = upkeep
        # What was read in advance, and from where.
        self._coming: tuple[StreamCursor, list[Entry]] | None = None

    def forget(self) -> None:
        """Drop what was true while this worker led before: another one may have gone on since."""
        self.cursor = self._coming = None

    async def next(self, cursor: StreamCursor) -> list[Entry]:
        """The entries behind the cursor; none where none came for a while, or a chore waits."""
        coming, self._coming = self._coming, None
        if coming is not None and coming[0] == cursor:
            return coming[1]
        return await self.read(cursor.applied, wait=not self._upkeep.waiting)

    async def apply(self, batch: list[Entry]) -> None:
        """Apply a batch; behind a full one there is more, which is read in the meantime."""
        if len(batch) < BATCH_COUNT:
            await self._commit(batch)
            return
        async with aclosing(ReadAhead(self.read, batch[-1].raw.stream_id)) as following:
            cursor = await self._commit(batch, following.entries)
            self._coming = cursor, await following.entries()

    async def read(self, place: StreamId, *, wait: bool = False) -> list[Entry]:
        """The entries behind a place, as many as fit into a batch; `wait` as with the stream."""
        return await self._stream.read(place, count=BATCH_COUNT, size=BATCH_BYTES, wait=wait)

    async def _commit(self, batch: list[Entry], following: Following | None = None) -> StreamCursor:
        began = time.time()
        self.cursor = await self._backend.apply(batch, following=following)
        if is_tracing():
            _record(batch, began)
        self.applied_entries += len(batch)
        # Redis' clock in the ids, ours now: the two may differ.
        self.delays.add_ages([entry.raw.stream_id.ms for entry in batch], times.now() // 1000)
        if any(map(_erases, batch)):
            self._upkeep.request(Chore.TIDY)
        return self.cursor


def _record(batch: list[Entry], began: float) -> None:
    """Spans for the entries that came with a trace: their time in the stream, and in the batch."""
    took = time.time() - began
    for entry in batch:
        parent = parent_in(entry.raw.fields)
        if parent is not None:
            event = entry.body.id if isinstance(entry.body, Event) else entry.body.event_id
            waited = began - entry.raw.stream_id.ms / 1000
            record("stream wait", parent, waited, after=took, event=event)
            record("apply", parent, took, event=event)


def _erases(entry: Entry) -> bool:
    return isinstance(entry.body, Event) and entry.body.type in _ERASING
