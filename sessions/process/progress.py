"""Signs of life, from a service to the supervisor that started it.

A service writes the line `ready` once and the line `beat` whenever it got something done (an idle
round counts, a timer of its own does not). The supervisor kills a ready service that shows neither
for 10 s, so a beat must come from the loop that does the work.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Final, Self

from sessions.process.lifeline import inherited_pipe

PROGRESS_VARIABLE: Final = "TURNSTREAM_PROGRESS_FD"

# Seconds between two beats: ten of them fit into the time after which silence is fatal.
BEAT_INTERVAL: Final = 1.0


class ProgressReporter:
    """The writing end of the progress pipe; does nothing where no supervisor listens.

    No call blocks or raises: a supervisor that does not read, or is gone, is no reason to stop
    working, and who wants to end with it watches the lifeline. For one event loop or thread.
    """

    def __init__(self, fd: int | None, *, interval: float = BEAT_INTERVAL) -> None:
        self._fd = fd
        self._interval = interval
        self._next = 0.0
        self._last = time.monotonic()
        self._ready = False
        if fd is not None:
            os.set_blocking(fd, False)

    @classmethod
    def inherited(cls, environ: Mapping[str, str]) -> Self:
        """The reporter for the pipe that the environment names, or a mute one."""
        return cls(inherited_pipe(environ, PROGRESS_VARIABLE))

    def ready(self) -> None:
        """Say that the service does its work from now on; only the first call says it."""
        if not self._ready:
            self._ready = True
            self._write(b"ready\n")

    @property
    def silence(self) -> float:
        """Seconds since something got done, counted from the beginning before the first time."""
        return time.monotonic() - self._last

    def beat(self) -> None:
        """Say that something got done; at most one line an interval goes out, so call it freely."""
        now = self._last = time.monotonic()
        if now >= self._next:
            self._next = now + self._interval
            self._write(b"beat\n")

    def _write(self, line: bytes) -> None:
        if self._fd is None:
            return
        try:
            os.write(self._fd, line)
        except BlockingIOError:
            pass  # the supervisor is behind by a full pipe: it has signs of life enough
        except BrokenPipeError:
            self._fd = None
