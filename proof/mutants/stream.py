"""Bugs on the stream's side of the worker."""

from __future__ import annotations

import asyncio

import worker.app
from sessions.models import Entry, StreamId
from sessions.stream.turns import TurnStream
from worker.batches import Batches

# Seconds between the two steps in the wrong order, so that a short run has a kill in there.
_BETWEEN = 0.1
# Entries that the wrong trimming leaves: fewer than wait after a fault.
_LENGTH = 20


class _AckFirst(Batches):
    async def apply(self, batch: list[Entry]) -> None:
        last = batch[-1].raw.stream_id
        await self._stream.trim(StreamId(last.ms, last.seq + 1), applied=last)
        await asyncio.sleep(_BETWEEN)
        await super().apply(batch)


def ack_before_commit() -> None:
    """Remove a batch from the stream, then apply it."""
    worker.app.Batches = _AckFirst


class _ByLength(TurnStream):
    async def read(
        self, cursor: StreamId, *, count: int, size: int, wait: bool = False
    ) -> list[Entry]:
        await self._redis.execute_command("XTRIM", self.key, "MAXLEN", _LENGTH)
        return await super().read(cursor, count=count, size=size, wait=wait)


def trim_by_length() -> None:
    """XTRIM MAXLEN, whatever is read; before every batch, since a run is short."""
    worker.app.TurnStream = _ByLength
