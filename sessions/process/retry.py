"""One way to try again, for every loop that waits until something passes.

A caller says which errors pass by themselves (`on`), how long to wait between two tries (`Pauses`),
and when to give up (`patience`, `goes_on`). A caller without a limit says why beside its call.
Every other error, and cancellation, ends the loop at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

from sessions.errors import RedisRefused, Retryable

R = TypeVar("R")
E = TypeVar("E", bound=Exception)

# Doublings after which a pause has long been the longest one; more would overflow.
_MOST_DOUBLINGS: Final = 16


class Pauses:
    """Seconds to wait before each next try: `first`, then twice as long each time, to `longest`.

    Without `longest` all are alike. With `heeded` a pause is at least as long as the error asks for
    (`Retryable.retry_after`). A try that went well for `settled` seconds before it failed begins a
    new outage. One object counts the failures of one caller.
    """

    def __init__(
        self,
        first: float,
        longest: float | None = None,
        *,
        settled: float = math.inf,
        heeded: bool = False,
    ) -> None:
        self.failures = 0
        self._first = first
        self._longest = first if longest is None else longest
        self._settled = settled
        self._heeded = heeded

    def after(self, error: Exception | None = None, *, lived: float = 0.0) -> float:
        """Count a failure of a try that lived that many seconds; the pause that follows it."""
        if lived > self._settled:
            self.reset()
        pause = min(self._first * 2 ** min(self.failures, _MOST_DOUBLINGS), self._longest)
        self.failures += 1
        if self._heeded and isinstance(error, Retryable):
            return max(pause, error.retry_after)
        return pause

    def reset(self) -> None:
        """The outage is over: the next failure is the first of another one."""
        self.failures = 0


def _always(_error: Exception) -> bool:
    return True


def _unheard(_error: Exception) -> None:
    return None


async def retry(
    call: Callable[[], Awaitable[R]],
    *,
    on: type[E] | tuple[type[E], ...],
    pauses: Pauses,
    patience: float | None,
    goes_on: Callable[[E], bool] = _always,
    report: Callable[[E], object] = _unheard,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> R:
    """Call until it raises none of the errors `on`; gives what it returned then.

    The last error is raised where the next try would begin later than `patience` seconds from now
    (None: there is no limit), or where `goes_on` says False of it. `report` hears of every error
    that another try follows. The call may take effect more than once, so it must be one that can
    be repeated. Callers at the same time know nothing of each other.
    """
    tries = _Tries(pauses, patience, goes_on, report)
    while True:
        tries.begin()
        try:
            return await call()
        except on as error:
            pause = tries.pause_after(error)
        await sleep(pause)


def retry_blocking(
    call: Callable[[], R],
    *,
    on: type[E] | tuple[type[E], ...],
    pauses: Pauses,
    patience: float | None,
    report: Callable[[E], object] = _unheard,
) -> R:
    """What `retry` does, for commands, which have a thread of their own to wait in."""
    tries = _Tries(pauses, patience, _always, report)
    while True:
        tries.begin()
        try:
            return call()
        except on as error:
            pause = tries.pause_after(error)
        time.sleep(pause)


def unless_refused(error: Exception) -> bool:
    """For `goes_on`: whether a new try may help, since no person has to permit something first."""
    return not isinstance(error, RedisRefused)


def cut_short_by(event: asyncio.Event) -> Callable[[float], Awaitable[None]]:
    """A sleep that ends early when the event is set, and is none where it is set already."""

    async def sleep(seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(event.wait(), seconds)

    return sleep


class _Tries(Generic[E]):
    """The tries of one call, and when they end."""

    def __init__(
        self,
        pauses: Pauses,
        patience: float | None,
        goes_on: Callable[[E], bool],
        report: Callable[[E], object],
    ) -> None:
        self._pauses = pauses
        self._deadline = math.inf if patience is None else time.monotonic() + patience
        self._goes_on = goes_on
        self._report = report
        self._began = 0.0

    def begin(self) -> None:
        self._began = time.monotonic()

    def pause_after(self, error: E) -> float:
        """Seconds until the next try; raises the error where there is none."""
        now = time.monotonic()
        pause = self._pauses.after(error, lived=now - self._began)
        if now + pause > self._deadline or not self._goes_on(error):
            raise error
        self._report(error)
        return pause


class Reminder:
    """Due at once, and then once in so many seconds, however often it is asked."""

    def __init__(self, every: float) -> None:
        self._every = every
        self._next = -math.inf

    def due(self) -> bool:
        """Whether it is time again; asking uses it up."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + self._every
        return True

    def reset(self) -> None:
        """Due at once again."""
        self._next = -math.inf


class OutageLog:
    """Says what is wrong once for each outage, or once in `again` seconds, not with every try.

    The lines between are for the debug level. `message` ends with a place for the error.
    """

    def __init__(
        self, logger: logging.Logger, message: str, *arguments: object, again: float = math.inf
    ) -> None:
        self._logger = logger
        self._message = message
        self._arguments = arguments
        self._reminder = Reminder(again)

    def failed(self, error: Exception) -> bool:
        """Note a failure; True where it was said aloud."""
        aloud = self._reminder.due()
        level = logging.WARNING if aloud else logging.DEBUG
        self._logger.log(level, self._message, *self._arguments, error)
        return aloud

    def over(self) -> None:
        """The next failure begins another outage."""
        self._reminder.reset()


__all__ = [
    "OutageLog",
    "Pauses",
    "Reminder",
    "cut_short_by",
    "retry",
    "retry_blocking",
    "unless_refused",
]
