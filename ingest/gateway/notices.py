"""Brings what is added to a session from outside to the pages that are open on it here."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import asynccontextmanager
from typing import Final

from ingest.gateway.chat import Chat
from ingest.tasks import end_all
from sessions.errors import RedisRefused, SessionError
from sessions.stream.notices import Notices

log = logging.getLogger(__name__)

# Seconds before Redis is asked again after it was away.
_PAUSE: Final = 1.0


@asynccontextmanager
async def showing(
    notices: Notices, clients: Collection[Chat], *, refuse: Callable[[RedisRefused], None]
) -> AsyncGenerator[None]:
    """Show every notice to the clients that it is for, while the context is open.

    `refuse` is told where Redis does not permit to hear them.
    """
    task = asyncio.create_task(_show(notices, clients, refuse), name="notices")
    try:
        yield
    finally:
        await end_all([task])


async def _show(
    notices: Notices, clients: Collection[Chat], refuse: Callable[[RedisRefused], None]
) -> None:
    while True:
        try:
            async for notice in notices.hear():
                for client in clients:
                    client.show(notice)
        except RedisRefused as error:
            refuse(error)
        except SessionError as error:
            log.debug("notices are not heard: %s", error)
        await asyncio.sleep(_PAUSE)
