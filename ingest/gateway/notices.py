"""Brings what is added to a session from outside to the pages that are open on it here."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager
from typing import Final

from ingest.gateway.chat import Chat
from sessions.errors import SessionError
from sessions.process.retry import Pauses, retry, unless_refused
from sessions.process.tasks import ProcessEnd, TaskWatcher
from sessions.stream.notices import Notices

log = logging.getLogger(__name__)

# Seconds before Redis is asked again after it was away.
_PAUSE: Final = 1.0


@asynccontextmanager
async def showing(
    notices: Notices, clients: Collection[Chat], *, end: ProcessEnd
) -> AsyncGenerator[None]:
    """Show every notice to the clients that it is for, while the context is open.

    `end` is told of a defect, and if Redis does not permit to hear them.
    """
    async with TaskWatcher(end.fail) as tasks:
        tasks.start(_show(notices, clients), "notices")
        yield


async def _show(notices: Notices, clients: Collection[Chat]) -> None:
    async def hear() -> None:
        async for notice in notices.subscribe():
            for client in clients:
                client.show(notice)

    await retry(
        hear,
        on=SessionError,
        pauses=Pauses(_PAUSE),
        # No limit: pages stay open while Redis is away.
        patience=None,
        goes_on=unless_refused,
        report=lambda error: log.debug("notices are not heard: %s", error),
    )
