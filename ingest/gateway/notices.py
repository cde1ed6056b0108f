"""Brings what is added to a session from outside to the pages that are open on it here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager, suppress
from typing import Final

from ingest.gateway.chat import Chat
from ingest.tasks import end_all
from sessions.errors import SessionError
from sessions.notices import Notices

# Seconds before Redis is asked again after it was away.
_PAUSE: Final = 1.0


@asynccontextmanager
async def showing(notices: Notices, clients: Collection[Chat]) -> AsyncGenerator[None]:
    """Show every notice to the clients that it is for, while the context is open."""
    task = asyncio.create_task(_show(notices, clients), name="notices")
    try:
        yield
    finally:
        await end_all([task])


async def _show(notices: Notices, clients: Collection[Chat]) -> None:
    while True:
        with suppress(SessionError):
            async for notice in notices.hear():
                for client in clients:
                    client.show(notice)
        await asyncio.sleep(_PAUSE)
