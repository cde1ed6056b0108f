"""The lock on a file by which a worker on the same machine learns that the leader died."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Final

LOCK: Final = "leader.lock"


class FileLock:
    """A `LeaderLock` on a file of the workspace, which is made where it is missing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def try_acquire(self) -> bool:
        """Try to get the lock, without waiting; True also if it is ours already."""
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
        """Let it go; does nothing if it is not ours."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
