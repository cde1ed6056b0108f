"""Channels that fetch their messages, for as long as this process lives."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

from ingest.channels.base import Arrival, Channel
from ingest.channels.reception import Reception
from ingest.tasks import end_all

log = logging.getLogger(__name__)


@asynccontextmanager
async def listening(channels: Mapping[str, Channel], reception: Reception) -> AsyncGenerator[None]:
    """Let every channel fetch what there is to fetch while the context is open.

    A defect in one of them ends the process by SIGTERM, as a bot that is silent for ever helps
    nobody.
    """
    tasks = [
        asyncio.create_task(_listen(channel, reception), name=f"channel {name}")
        for name, channel in channels.items()
    ]
    for task in tasks:
        task.add_done_callback(_end_process_if_failed)
    try:
        yield
    finally:
        await end_all(tasks)


async def _listen(channel: Channel, reception: Reception) -> None:
    async def take(arrival: Arrival) -> None:
        await reception.take(channel, arrival)

    await channel.listen(take)


def _end_process_if_failed(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.critical("the %s failed", task.get_name(), exc_info=task.exception())
        signal.raise_signal(signal.SIGTERM)
