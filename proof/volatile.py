"""A disk that forgets: what a power cut does to session files, and SIGKILL does not.

The worker's own writes, truncations and syncs of session files are noted in a journal, by inode:
the first byte that may not be on the disk yet. After a power cut (both workers are killed, and a
mark is left) the next worker to start first cuts each file there, and then begins as usual.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from sessions.store.jsonl.files import SUFFIX

_MARK: Final = "power-cut"
JOURNAL: Final = "unsynced.journal"


def order_power_cut(folder: Path) -> None:
    """Let the next worker find the disk as a power cut would leave it."""
    (folder / _MARK).touch()


def power_on(folder: Path, sessions: Path) -> None:
    """Drop what was not synced, where the power was cut."""
    with (folder / JOURNAL).open("a") as journal:
        # Two workers start at the same time.
        fcntl.flock(journal, fcntl.LOCK_EX)
        if (folder / _MARK).exists():
            _drop_unsynced(folder / JOURNAL, sessions)
            (folder / _MARK).unlink()


def watch(folder: Path) -> None:
    """Note in the journal, from now on, what this process does to session files."""
    _Watch(os.open(folder / JOURNAL, os.O_WRONLY | os.O_APPEND)).begin()


def _drop_unsynced(journal: Path, sessions: Path) -> None:
    durable = _durable_sizes(journal)
    for path in sessions.glob(f"*{SUFFIX}*"):
        found = path.stat()
        kept = durable.get(found.st_ino)
        if kept is not None and kept < found.st_size:
            os.truncate(path, kept)
    os.truncate(journal, 0)


def _durable_sizes(journal: Path) -> dict[int, int]:
    """By inode, how many bytes are certainly on the disk, where that is not all of them."""
    sizes: dict[int, int] = {}
    for line in journal.read_text().splitlines():
        what, inode, offset = line.split()
        if what == "synced":
            sizes.pop(int(inode), None)
        else:
            sizes[int(inode)] = min(sizes.get(int(inode), int(offset)), int(offset))
    return sizes


class _Watch:
    """Takes the place of the calls of `os` through which session files are changed."""

    def __init__(self, journal: int) -> None:
        self._journal = journal
        self._files: dict[int, int] = {}
        self._real: dict[str, Callable[..., Any]] = {}

    def begin(self) -> None:
        """Watch from now on."""
        for name in ("open", "close", "pwrite", "write", "ftruncate", "fdatasync", "fsync"):
            self._real[name] = getattr(os, name)
            setattr(os, name, getattr(self, f"_{name}"))

    def _open(self, path: Any, *arguments: Any, **named: Any) -> int:
        fd = self._real["open"](path, *arguments, **named)
        if SUFFIX in os.fsdecode(path):
            self._files[fd] = os.fstat(fd).st_ino
        return fd

    def _close(self, fd: int) -> None:
        self._files.pop(fd, None)
        self._real["close"](fd)

    def _pwrite(self, fd: int, data: Any, offset: int) -> int:
        self._note("dirty", fd, offset)
        return self._real["pwrite"](fd, data, offset)

    def _write(self, fd: int, data: Any) -> int:
        if fd in self._files:
            self._note("dirty", fd, os.fstat(fd).st_size)
        return self._real["write"](fd, data)

    def _ftruncate(self, fd: int, size: int) -> None:
        self._note("dirty", fd, size)
        self._real["ftruncate"](fd, size)

    def _fdatasync(self, fd: int) -> None:
        self._real["fdatasync"](fd)
        self._note("synced", fd, 0)

    def _fsync(self, fd: int) -> None:
        self._real["fsync"](fd)
        self._note("synced", fd, 0)

    def _note(self, what: str, fd: int, offset: int) -> None:
        inode = self._files.get(fd)
        if inode is not None:
            self._real["write"](self._journal, f"{what} {inode} {offset}\n".encode())
