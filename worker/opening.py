"""Opening the store at the start of a worker: one that cannot be opened now is waited for."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Final

from sessions.errors import StoreUnavailable
from sessions.store.backend import SessionBackend

log = logging.getLogger(__name__)

# Seconds between two tries. Another worker makes a new store within a few of them.
_PAUSE: Final = 0.25
# Seconds between two lines about the same trouble.
_REPEAT: Final = 10.0


async def entered(
    backend: SessionBackend, stack: contextlib.AsyncExitStack, stopping: asyncio.Event
) -> bool:
    """Open the backend as soon as it can be, for as long as `stack` is open.

    Another worker may be making the store at this moment, and its disk may be full. False where a
    stop was asked for first.
    """
    loop = asyncio.get_running_loop()
    told = float("-inf")
    while not stopping.is_set():
        try:
            await stack.enter_async_context(backend)
        except StoreUnavailable as error:
            if loop.time() - told >= _REPEAT:
                log.warning("waiting: %s", error)
                told = loop.time()
        else:
            return True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), _PAUSE)
    return False
