"""Ending tasks for sure."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable
from typing import Any, Final

# Seconds between two requests to end.
_ASK_AGAIN: Final = 0.05


async def end_all(tasks: Iterable[asyncio.Task[Any]], *, within: float = math.inf) -> None:
    """Cancel the tasks and return when they have ended; what they raise is not looked at.

    One cancellation is not enough: `asyncio.wait_for` of Python 3.11, which redis-py uses for
    every command, loses one that comes together with the result. Being cancelled itself takes
    effect when the tasks have ended. What has not ended `within` so many seconds is left.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within
    pending, cancelled = {*tasks}, None
    while pending and loop.time() < deadline:
        for task in pending:
            task.cancel()
        try:
            _, pending = await asyncio.wait(pending, timeout=_ASK_AGAIN)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
