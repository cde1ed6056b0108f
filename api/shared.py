"""One call for all who want its result at about the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

T = TypeVar("T")

# Seconds that the next call waits for the one at work. Meanwhile more callers gather for it; one
# that hangs holds nobody up for longer.
_HOLD: Final = 0.05


class SharedQuery(Generic[T]):
    """A question whose answer serves everybody who asked before it was put.

    So each caller gets an answer that is not older than its call. An error is everybody's as well.
    """

    def __init__(self, ask: Callable[[], Awaitable[T]]) -> None:
        self._ask = ask
        self._next: asyncio.Task[T] | None = None
        self._at_work: asyncio.Task[T] | None = None

    async def result(self) -> T:
        """The answer to a question that is put after this call; it goes on if we are cancelled."""
        if self._next is None:
            self._next = asyncio.create_task(self._put(self._at_work), name="shared question")
        return await asyncio.shield(self._next)

    async def _put(self, before: asyncio.Task[T] | None) -> T:
        if before is not None and not before.done():
            await asyncio.wait([before], timeout=_HOLD)
        self._at_work, self._next = self._next, None
        return await self._ask()
