"""Reading the next batch while the one before it is written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from sessions.models import Entry, StreamId


class ReadAhead:
    """The batch behind one that is being applied."""

    def __init__(
        self, read: Callable[[StreamId], Coroutine[Any, Any, list[Entry]]], place: StreamId
    ) -> None:
        self._read = read
        self._place = place
        self._reading: asyncio.Task[list[Entry]] | None = None

    async def entries(self) -> list[Entry]:
        """What lies behind the place, read once, when it is first asked for; raises likewise."""
        if self._reading is None:
            self._reading = asyncio.create_task(self._read(self._place))
        # Of two who wait for it one may be cancelled.
        return await asyncio.shield(self._reading)

    async def aclose(self) -> None:
        """End the reading, where it still goes on for a batch that did not happen."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
