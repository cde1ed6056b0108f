"""How far the messages of each Discord channel are taken in, kept in Redis for all replicas."""

from __future__ import annotations

from typing import Any

from ingest.channels.discord.snowflakes import first_at
from sessions import times
from sessions.stream.redis import RedisClient, patiently

# The field that holds where a channel begins that has no mark yet.
_BEGINNING = b"beginning"
_DIRECT = b"direct:"


class Watermarks:
    """Marks of one bot. `load` comes first. The last writer wins; one that is behind does no harm.

    Messages behind a mark are read again after a restart, and are known then by their ids.
    """

    def __init__(self, redis: RedisClient, *, url: str, key: str) -> None:
        self._redis = redis
        self._url = url
        self._key = key
        self._beginning = 0
        self._marks: dict[int, int] = {}
        self._direct: set[int] = set()

    async def load(self) -> None:
        """Read them all. Nothing from before the first load is ever taken in. Raises Retryable."""
        first = first_at(times.now())
        await self._run("HSETNX", self._key, _BEGINNING, first)
        found: dict[bytes, bytes] = await self._run("HGETALL", self._key)
        self._beginning = int(found.pop(_BEGINNING, first))
        self._direct = {_number(name) for name in found if name.startswith(_DIRECT)}
        self._marks = {_number(name): int(mark) for name, mark in found.items()}

    def beginning(self, floor: int = 0) -> int:
        """The id up to which nothing is taken in, in channels that begin with `floor`."""
        return max(self._beginning, floor)

    def of(self, channel: int, *, floor: int = 0) -> int:
        """Up to which id the channel is taken in; that of its beginning if it has no mark."""
        return self._marks.get(channel, self.beginning(floor))

    @property
    def direct(self) -> frozenset[int]:
        """The direct conversations among the channels that have a mark."""
        return frozenset(self._direct)

    async def move(self, channel: int, mark: int, *, is_direct: bool) -> None:
        """Note that all up to that id is taken in. Raises Retryable."""
        if self._marks.get(channel) == mark:
            return
        name = b"%s%d" % (_DIRECT if is_direct else b"", channel)
        # The beginning is written again each time, so that an emptied Redis has it again.
        await self._run("HSET", self._key, _BEGINNING, self._beginning, name, mark)
        self._marks[channel] = mark
        if is_direct:
            self._direct.add(channel)

    async def _run(self, *command: object) -> Any:
        return await patiently(lambda: self._redis.execute_command(*command), self._url, 0.0)


def _number(name: bytes) -> int:
    return int(name.removeprefix(_DIRECT))
