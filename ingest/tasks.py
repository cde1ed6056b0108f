"""Tasks that live as long as the process, and ending tasks for sure."""

from __future__ import annotations

import asyncio
import logging
import math
import signal
from collections.abc import AsyncGenerator, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from sessions.errors import RedisRefused

log = logging.getLogger(__name__)

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


@asynccontextmanager
async def beside(work: Mapping[str, Coroutine[Any, Any, None]]) -> AsyncGenerator[None]:
    """Run each work under its name for as long as the context is open.

    One that fails ends the process by SIGTERM: it would be missing for ever. Where Redis refused
    it, that error is raised as the context ends, so that the process ends with its exit code.
    """
    tasks = [asyncio.create_task(one, name=name) for name, one in work.items()]
    for task in tasks:
        task.add_done_callback(_end_process_if_failed)
    try:
        yield
    finally:
        await end_all(tasks)
    for task in tasks:
        if not task.cancelled() and isinstance(error := task.exception(), RedisRefused):
            raise error


def _end_process_if_failed(task: asyncio.Task[None]) -> None:
    if task.cancelled() or (error := task.exception()) is None:
        return
    if isinstance(error, RedisRefused):
        log.critical("the %s cannot go on: %s", task.get_name(), error)
    else:
        log.critical("the %s failed", task.get_name(), exc_info=error)
    _ask_to_end()


def _ask_to_end() -> None:
    """SIGTERM, as soon as somebody heeds it: before, it would end the process without a word."""
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        asyncio.get_running_loop().call_later(_ASK_AGAIN, _ask_to_end)
    else:
        signal.raise_signal(signal.SIGTERM)
