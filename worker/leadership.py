"""Who leads: one worker at a time.

The lease row in the store decides, and its epoch is checked inside every transaction, so nothing
here has to be right for the data to be right: this only finds out quickly.
"""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path
from typing import Final

# Seconds between two renewals of an idle leader.
RENEWAL: Final = 2.0
# Seconds without an answer of Redis after which a leader gives the lead up: with the time that a
# command may take to fail, a standby that Redis answers leads within 10 s.
DEAF_AFTER: Final = 4.0
# Seconds in which Redis must answer who would lead.
ANSWERS_WITHIN: Final = 1.0


def lock_path(workspace: Path) -> Path:
    """Where the workers of a workspace lock."""
    return workspace / "sessions" / "leader.lock"


class DeathLock:
    """A file lock that its holder keeps for life; who gets it knows that the holder died."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def take(self) -> bool:
        """Try to get the lock, without waiting; True also where it is ours already."""
        if self._fd is not None:
            return True
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            return False
        self._fd = fd
        return True

    def close(self) -> None:
        """Let it go; does nothing where it is not ours."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def holder_name() -> str:
    """A name for this process that tells a person where to look."""
    return f"{socket.gethostname()}:{os.getpid()}"
