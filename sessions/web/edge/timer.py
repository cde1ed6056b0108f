"""A timer that is started and stopped again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Timer:
    """Calls once the time is over, unless it was stopped before. It keeps nothing alive after."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._loop = loop
        self._seconds = seconds
        self._handle: asyncio.TimerHandle | None = None

    def start(self, call: Callable[[], None]) -> None:
        """Begin; one that runs goes on as it is."""
        if self._handle is None:
            self._handle = self._loop.call_later(self._seconds, self._over, call)

    def stop(self) -> None:
        """Do not call; nothing happens if it does not run."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _over(self, call: Callable[[], None]) -> None:
        self._handle = None
        call()
