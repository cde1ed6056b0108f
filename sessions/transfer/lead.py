"""The lead for a tool: it writes to a store as the one writer, and fences off who led before."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from sessions.errors import Fenced, StoreUnavailable
from sessions.process.retry import Pauses, retry
from sessions.store.backend import SessionWriter
from sessions.store.capabilities import LeaderLock

# Seconds for which a store that is busy is tried: a worker's largest batch is written by then.
PATIENCE: Final = 30.0


def tool_name(what: str) -> str:
    """The name of this process as a holder of a lease; `what` names the tool to people."""
    return f"{socket.gethostname()}:{os.getpid()} ({what})"


async def acquire(backend: SessionWriter, what: str) -> None:
    """Take the lead from any holder; StoreUnavailable if the store stays busy."""
    await retry(
        lambda: backend.acquire(tool_name(what), seen=None),
        on=StoreUnavailable,
        pauses=Pauses(0.05, 0.5),
        patience=PATIENCE,
    )


@asynccontextmanager
async def taken_lead(
    backend: SessionWriter, lock: LeaderLock | None, *, what: str
) -> AsyncGenerator[None]:
    """Lead inside the block, and let the lead go behind it.

    A worker that led before is fenced off: it stands by, and leads again afterwards. Raises
    StoreUnavailable if another one takes the lead meanwhile.
    """
    await acquire(backend, what)
    try:
        # With the lock, a standby knows at once when this process dies.
        if lock is not None:
            lock.try_acquire()
        yield
    except Fenced as error:
        raise StoreUnavailable(
            f"another process took the lead of the store; start the {what} again, it goes on"
        ) from error
    finally:
        with contextlib.suppress(Fenced, StoreUnavailable):  # a lease that is left lapses
            await backend.release()
        if lock is not None:
            lock.close()
