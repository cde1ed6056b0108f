"""What a worker shows of itself in Redis: for `status`, and for the metrics of an api."""

from __future__ import annotations

import asyncio
import logging

from sessions.errors import Retryable
from sessions.stream.turns import TurnStream
from worker.leadership import ANSWERS_WITHIN

log = logging.getLogger(__name__)


class WorkerStatus:
    """Shows facts. What cannot be shown now stops nothing: the log has it."""

    def __init__(self, stream: TurnStream, *, holder: str) -> None:
        self._stream = stream
        self._holder = holder

    async def announce(self, **facts: str | int) -> None:
        """Show facts about the leader under these names; a later one replaces its former one."""
        try:
            await self._stream.announce(**facts)
        except Retryable as error:
            log.debug("cannot show %s: %s", facts, error)

    async def show_standby(self) -> None:
        """Show that this worker stands by now."""
        try:
            async with asyncio.timeout(ANSWERS_WITHIN):
                await self._stream.note_standby(self._holder)
        except (Retryable, TimeoutError) as error:
            log.debug("cannot show that this worker stands by: %s", error)
