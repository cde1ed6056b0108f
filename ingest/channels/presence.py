"""Shows on a platform that an answer is being worked on, where it has a sign for that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from ingest.channels.base import Arrival, Channel
from ingest.live import LiveTurn
from ingest.tasks import end_all

# Seconds after which the sign is shown again: Telegram's goes out after five.
_AGAIN: Final = 4.0


class Presence:
    """The signs of one replica. What fails is left out: nothing depends on a sign."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    @asynccontextmanager
    async def opened(cls) -> AsyncGenerator[Presence]:
        """One that ends with the context."""
        presence = cls()
        try:
            yield presence
        finally:
            await end_all(presence._tasks)

    def follow(self, channel: Channel, arrival: Arrival, turn: LiveTurn) -> None:
        """Show that the message is being answered, from the beginning of its turn to its end."""
        task = asyncio.create_task(_show(channel, arrival.address, turn))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _show(channel: Channel, address: str, turn: LiveTurn) -> None:
    await turn.begun.wait()
    while not turn.end.done():
        await channel.show_work(address)
        await asyncio.wait([turn.end], timeout=_AGAIN)
