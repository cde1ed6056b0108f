"""Upkeep of stream and store, done by the consumer between two batches.

arq's cron jobs ask for it by the clock; nothing here decides when. Each chore is bounded, so that
turns never wait long for one.
"""

from __future__ import annotations

import logging
from enum import StrEnum
from typing import Final

from sessions import times
from sessions.errors import Retryable
from sessions.models import StreamCursor, StreamId
from sessions.store.backend import SessionBackend
from sessions.stream.turns import RedisMemory, TurnStream

log = logging.getLogger(__name__)

# What stays in the stream behind the cursor, whichever is less: a store that comes back from a
# backup reads it again. A day is the age of a nightly backup.
SLACK_HOURS: Final = 24
SLACK_BYTES: Final = 64 * 1024 * 1024
# Above this share of Redis' memory limit there is no slack: room for new turns comes first.
PRESSURE: Final = 0.8
# Sessions deleted, and ids forgotten, in one go: some 10 ms each.
_EXPIRE_STEP: Final = 20
_FORGET_STEP: Final = 2000


class Chore(StrEnum):
    """What can be asked for."""

    TRIM = "trim"
    RETENTION = "retention"
    TIDY = "tidy"


class Upkeep:
    """The chores that wait, and how they are done. `memory` is Redis', as it was last seen."""

    def __init__(self, backend: SessionBackend, stream: TurnStream, *, ttl_hours: int) -> None:
        self._backend = backend
        self.memory: RedisMemory | None = None
        self._stream = stream
        self._ttl = ttl_hours * times.HOUR
        self._asked: set[Chore] = set()

    def request(self, chore: Chore) -> None:
        """Remember a chore; asking twice is asking once."""
        self._asked.add(chore)

    @property
    def waiting(self) -> bool:
        """Whether there is anything to do."""
        return bool(self._asked)

    async def do_one(self, cursor: StreamCursor) -> None:
        """Do one bounded piece of what was asked; a chore that is not finished stays."""
        if not self._asked:
            return
        chore = min(self._asked)
        self._asked.discard(chore)
        if chore is Chore.TRIM:
            await self.trim(cursor)
        elif chore is Chore.TIDY:
            if await self._backend.tidy():
                self._asked.add(chore)
        elif await self._retain():
            self._asked.add(chore)

    async def trim(self, cursor: StreamCursor) -> None:
        """Drop entries that are applied and older than the slack.

        A Redis that takes no writes now is asked again later: what came can be applied meanwhile.
        """
        memory = await self._look_at_memory()
        oldest = _behind(cursor) if _under_pressure(memory) else await self._slack(cursor, memory)
        try:
            dropped = await self._stream.trim(oldest, applied=cursor.applied)
        except Retryable as error:
            log.debug("the stream is not trimmed: %s", error)
            return
        if dropped:
            log.info("trimmed %d applied entries from the stream", dropped)

    async def relieve(self, cursor: StreamCursor) -> None:
        """Trim at once where Redis is nearly full."""
        if _under_pressure(await self._look_at_memory()):
            await self.trim(cursor)

    async def _look_at_memory(self) -> RedisMemory:
        self.memory = await self._stream.memory()
        return self.memory

    async def _slack(self, cursor: StreamCursor, memory: RedisMemory) -> StreamId:
        by_age = StreamId((times.now() - SLACK_HOURS * times.HOUR) // 1000, 0)
        surplus = memory.stream - SLACK_BYTES
        by_size = await self._stream.surplus(cursor.applied, surplus) if surplus > 0 else by_age
        return min(max(by_age, by_size), _behind(cursor))

    async def _retain(self) -> bool:
        """Delete what is too old, forget ids whose time is up; True if more waits."""
        now = times.now()
        expired = 0
        if self._ttl:
            expired = await self._backend.expire_sessions(
                older_than=now - self._ttl, limit=_EXPIRE_STEP
            )
        if expired:
            log.info("deleted %d sessions that were idle for too long", expired)
            self._asked.add(Chore.TIDY)
        forgotten = await self._backend.forget_ids(before=now, limit=_FORGET_STEP)
        return expired == _EXPIRE_STEP or forgotten == _FORGET_STEP


def _under_pressure(memory: RedisMemory) -> bool:
    """Whether Redis is so full that applied entries must go at once."""
    return memory.limit > 0 and memory.used > PRESSURE * memory.limit


def _behind(cursor: StreamCursor) -> StreamId:
    """The first id that is not applied: trimming to it keeps everything that is not."""
    return StreamId(cursor.applied.ms, cursor.applied.seq + 1)
