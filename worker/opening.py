"""Opening the store at the start of a worker: one that cannot be opened now is waited for."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Final

from sessions.errors import StoreUnavailable
from sessions.process.retry import OutageLog, Pauses, cut_short_by, retry
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
    outage = OutageLog(log, "waiting: %s", again=_REPEAT)
    with contextlib.suppress(StoreUnavailable):  # it comes out of there where a stop is asked for
        await retry(
            lambda: stack.enter_async_context(backend),
            on=StoreUnavailable,
            pauses=Pauses(_PAUSE),
            # No limit: without its store a worker has nothing to do, and full disks take time.
            patience=None,
            goes_on=lambda _: not stopping.is_set(),
            report=outage.failed,
            sleep=cut_short_by(stopping),
        )
        return not stopping.is_set()
    return False
