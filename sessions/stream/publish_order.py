"""In which order the publishers of one process may send."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager


class PublishOrder:
    """One publisher at a time for each session of this process, in order of arrival."""

    def __init__(self) -> None:
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def hold(self, keys: set[str]) -> AsyncGenerator[None]:
        """Wait until nobody else publishes for one of these sessions; others wait until the end."""
        # In one order for all, so that two publishers of the same sessions cannot wait for
        # each other.
        async with AsyncExitStack() as stack:
            for key in sorted(keys):
                await stack.enter_async_context(self._one(key))
            yield

    @asynccontextmanager
    async def _one(self, key: str) -> AsyncGenerator[None]:
        lock, users = self._locks.get(key, (asyncio.Lock(), 0))
        self._locks[key] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks[key]
            if users == 1:
                del self._locks[key]
            else:
                self._locks[key] = (lock, users - 1)
