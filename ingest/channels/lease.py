"""Who of several replicas does what only one may do."""

from __future__ import annotations

import contextlib
import uuid
from typing import Final

from sessions.errors import Retryable
from sessions.stream.redis import RedisClient, patiently
from sessions.stream.scripts import script_text

# Seconds after which a lease that is not renewed is anybody's.
LEASE: Final = 20.0


class PollingLease:
    """A lease in Redis. It fences nothing: two holders at once must do no harm."""

    def __init__(self, redis: RedisClient, *, url: str, key: str) -> None:
        self._redis = redis
        self._url = url
        self._key = key
        self._holder = uuid.uuid4().hex
        self._script = redis.register_script(script_text("lease"))

    async def acquire(self) -> bool:
        """Take or renew it; False where another one has it. Raises Retryable."""
        return bool(await self._run(int(LEASE * 1000)))

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
