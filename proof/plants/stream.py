"""Bugs on the stream's side of the worker."""

from __future__ import annotations

import asyncio

import worker.app
from sessions.models import Entry, StreamCursor, StreamId
from worker.consumer import Consumer
from worker.upkeep import Upkeep

# Seconds between the two steps in the wrong order, so that a short run has a kill in there.
_BETWEEN = 0.02
# Entries that the wrong trimming leaves: fewer than wait after a fault.
_LENGTH = 20


class _AckFirst(Consumer):
    async def _apply(self, batch: list[Entry]) -> None:
        last = batch[-1].raw.stream_id
        await self._stream.trim(StreamId(last.ms, last.seq + 1))
        await asyncio.sleep(_BETWEEN)
        await super()._apply(batch)


def ack_before_commit() -> None:
    """Remove a batch from the stream, then apply it."""
    worker.app.Consumer = _AckFirst


class _EagerToTrim(Consumer):
    async def _fetch(self, after: StreamCursor | Entry) -> list[Entry]:
        if self._cursor is not None:
            await self._upkeep.trim(self._cursor)
        return await super()._fetch(after)


class _ByLength(Upkeep):
    async def trim(self, cursor: StreamCursor) -> None:
        stream = self._stream
        await stream._redis.execute_command("XTRIM", stream.key, "MAXLEN", _LENGTH)


def trim_by_length() -> None:
    """XTRIM MAXLEN, and before every batch, since a run is short."""
    worker.app.Consumer = _EagerToTrim
    worker.app.Upkeep = _ByLength
