"""How far the store is, told to those who publish: they hold back what is too far ahead of it.

A task of its own beside the consumer, so that no batch waits for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final

from sessions.errors import SessionError
from sessions.models import Position, StreamCursor
from sessions.process.tasks import end_all
from sessions.stream.turns import TurnStream

log = logging.getLogger(__name__)

# Seconds between two looks. A publisher whose share is full tries again after a second.
_PAUSE: Final = 0.25


@asynccontextmanager
async def announcing(
    stream: TurnStream, cursor: Callable[[], StreamCursor | None], *, pause: float = _PAUSE
) -> AsyncGenerator[asyncio.Task[None]]:
    """Announce the cursor inside, whenever it has moved, every `pause` seconds at most.

    Gives the task, which ends by itself only if it fails: who leads has to look at it. Redis being
    away or full is no error here: the next look tries again.
    """
    task = asyncio.create_task(_announce(stream, cursor, pause), name="announcing")
    try:
        yield task
    finally:
        await end_all([task])


async def _announce(
    stream: TurnStream, cursor: Callable[[], StreamCursor | None], pause: float
) -> None:
    shown = None
    while True:
        now = cursor()
        if now is not None:
            place = Position(now.epoch, now.applied)
            if place != shown and await _shown(stream, place):
                shown = place
        await asyncio.sleep(pause)


async def _shown(stream: TurnStream, place: Position) -> bool:
    try:
        await stream.announce(applied=str(place))
    except SessionError as error:
        # What Redis refuses for good ends the consumer, which says so. If this task ended instead,
        # nobody would notice, and agents would be refused for ever once their share is full.
        log.debug("cannot announce how far the store is: %s", error)
        return False
    return True
