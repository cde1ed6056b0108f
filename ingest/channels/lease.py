"""Who of several replicas does what only one may do."""

from __future__ import annotations

import contextlib
import time
import uuid
from typing import Final

from sessions.errors import Retryable
from sessions.stream.redis import RedisClient, patiently
from sessions.stream.scripts import script_text

# Seconds after which a lease that is not renewed is anybody's.
LEASE: Final = 20.0


class ChannelLease:
    """A lease in Redis. It fences nothing: who acts on it looks first how long it is his."""

    def __init__(self, redis: RedisClient, *, url: str, key: str, seconds: float = LEASE) -> None:
        self.seconds = seconds
        self._redis = redis
        self._url = url
        self._key = key
        self._holder = uuid.uuid4().hex
        self._until = 0.0
        self._script = redis.register_script(script_text("lease"))

    @property
    def left(self) -> float:
        """Seconds for which it is still ours, by a clock that goes on while we stand still."""
        return self._until - time.monotonic()

    async def acquire(self) -> bool:
        """Take or renew it; False where another one has it. Raises Retryable."""
        began = time.monotonic()
        is_ours = bool(await self._run(int(self.seconds * 1000)))
        self._until = began + self.seconds if is_ours else 0.0
        return is_ours

    async def release(self) -> None:
        """Let the next one have it at once; where that fails it waits for the lease to end."""
        with contextlib.suppress(Retryable):
            await self._run(0)

    async def _run(self, milliseconds: int) -> int:
        return await patiently(
            lambda: self._script(keys=[self._key], args=[self._holder, milliseconds]),
            self._url,
            0.0,
        )
