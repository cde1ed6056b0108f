"""The lead for a tool: it writes to a store as the one writer, and fences off who led before."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from sessions.errors import Fenced, StoreUnavailable
from sessions.store.backend import SessionWriter
from sessions.store.capabilities import LeaderLock

log = logging.getLogger(__name__)


@asynccontextmanager
async def taken_lead(
    backend: SessionWriter, lock: LeaderLock | None, *, what: str
) -> AsyncGenerator[None]:
    """Lead inside the block, and let the lead go behind it.

    A worker that led before is fenced off: it stands by, and leads again afterwards. `what` names
    the tool to people. Each write raises Fenced if another one takes the lead meanwhile.
    """
    await backend.acquire(f"{what}:{socket.gethostname()}:{os.getpid()}", seen=None)
    try:
        # With the lock, a standby knows at once when this process dies.
        if lock is not None:
            lock.try_acquire()
        yield
    finally:
        with contextlib.suppress(Fenced, StoreUnavailable):  # a lease that is left lapses
            await backend.release()
        if lock is not None:
            lock.close()
