"""Shows on a platform that an answer is being worked on, if it has a sign for that."""

from __future__ import annotations

import asyncio
from typing import Final

from ingest.channels.base import Channel, ChannelMessage, name_of
from ingest.turns.live import LiveTurn
from sessions.process.tasks import TaskWatcher

# Seconds after which the sign is shown again: Telegram's goes out after five.
_AGAIN: Final = 4.0


class Presence:
    """The signs of one replica, shown by tasks of its own. Nothing depends on a sign."""

    def __init__(self, tasks: TaskWatcher) -> None:
        self._tasks = tasks

    def follow(self, channel: Channel, incoming: ChannelMessage, turn: LiveTurn) -> None:
        """Show that the message is being answered, from the beginning of its turn to its end."""
        work = _show(channel, incoming.address, turn)
        self._tasks.start(work, f"sign of work on {name_of(channel)}")


async def _show(channel: Channel, address: str, turn: LiveTurn) -> None:
    await turn.begun.wait()
    while not turn.end.done():
        await channel.show_work(address)
        await asyncio.wait([turn.end], timeout=_AGAIN)
