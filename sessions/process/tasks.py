"""Background tasks: each has a name, an owner that ends it, and somebody who is told if it fails.

with ProcessEnd() as end:                           # what fails in here ends the process
    async with TaskWatcher(end.fail) as tasks:
        tasks.start(keep_something_up(), "upkeep of something")
        await serve()
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import math
import signal
from collections.abc import Callable, Coroutine, Iterable
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from sessions.errors import RedisRefused

log = logging.getLogger(__name__)
R = TypeVar("R")

# Seconds between two requests to end.
_ASK_AGAIN: Final = 0.05

# Called with the name of the task that failed, and its error.
OnFailure = Callable[[str, BaseException], None]


class TaskWatcher:
    """The background tasks of one owner, which `async with` ends. For one event loop.

    `on_failure` is called at once for each task that fails, so that none dies unseen.
    """

    def __init__(self, on_failure: OnFailure) -> None:
        self._on_failure = on_failure
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, R], name: str) -> asyncio.Task[R]:
        """Run the work under that name until it is done, or its owner ends."""
        # A context of its own: what it logs is not about the turn that happened to start it.
        task = asyncio.create_task(work, name=name, context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    async def end(self) -> None:
        """Cancel what still runs; returns when all of it has ended."""
        await end_all(self._tasks)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_failure(task.get_name(), error)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.end()


def log_failure(name: str, error: BaseException) -> None:
    """Say that a task failed which nothing else depends on."""
    log.error("%s failed", name, exc_info=error)


class ProcessEnd:
    """Ends the process because of the first task that fails in it and must not be missing.

    It asks for an orderly end by SIGTERM, once: a second request would cut off what goes on. `with`
    raises the error as it ends, unless another one is on its way, so that the process ends with the
    exit code for it.
    """

    def __init__(self) -> None:
        self._error: BaseException | None = None

    def fail(self, name: str, error: BaseException) -> None:
        """End the process because of this error; a later one is only logged."""
        if isinstance(error, RedisRefused):
            log.critical("the %s cannot go on: %s", name, error)
        else:
            log.critical("the %s failed", name, exc_info=error)
        if self._error is None:
            self._error = error
            _ask_to_end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None and self._error is not None:
            raise self._error


def _ask_to_end() -> None:
    """SIGTERM, as soon as somebody heeds it: before, it would end the process without a word."""
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        asyncio.get_running_loop().call_later(_ASK_AGAIN, _ask_to_end)
    else:
        signal.raise_signal(signal.SIGTERM)


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
