"""Ending tasks for sure."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final

# Seconds between two requests to end.
_ASK_AGAIN: Final = 0.05


async def end_all(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel the tasks and return when they have ended; what they raise is not looked at.

    One cancellation is not enough: `asyncio.wait_for` of Python 3.11, which redis-py uses for
    every command, loses one that comes together with the result.
    """
    pending = {*tasks}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_ASK_AGAIN)
