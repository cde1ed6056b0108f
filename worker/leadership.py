"""Who leads: one worker at a time, and how a standby learns that it is its turn.

The lease row in the store decides, and its epoch is checked inside every transaction, so nothing
here has to be right for the data to be right: this only finds out quickly. Two signs count. A
lock on a file, which the kernel lets go when a process dies, is the quick one, on one machine. A
lease whose beat stands still is the other; it also shows a leader that lives and hangs.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from sessions.errors import StoreUnavailable
from sessions.models import Lease
from sessions.process.progress import ProgressReporter
from sessions.store.backend import SessionBackend

log = logging.getLogger(__name__)

# Seconds between two renewals of an idle leader.
RENEWAL: Final = 2.0
# Seconds of a still beat after which a leader counts as gone: three renewals, and early enough
# that a standby leads within 10 s.
SILENCE: Final = 6.0
# Seconds without an answer of Redis after which a leader gives the lead up: with the time that a
# command may take to fail, a standby that Redis answers leads within 10 s.
DEAF_AFTER: Final = 4.0
# Seconds in which Redis must answer who would lead.
ANSWERS_WITHIN: Final = 1.0
# Seconds between two looks of a standby.
_LOOK: Final = 0.25


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


async def stand_by(
    backend: SessionBackend,
    lock: DeathLock,
    *,
    holder: str,
    fenced: bool,
    stopping: asyncio.Event,
    progress: ProgressReporter,
    show: Callable[[], Awaitable[None]],
    hears: Callable[[], Awaitable[bool]],
) -> Lease | None:
    """Watch the lease until it is ours; None where `stopping` was set first.

    `show` is called every RENEWAL seconds, to tell others that somebody stands by. The lease is
    taken only where `hears` says that Redis answers: who cannot read the stream must not lead.
    A worker that was just `fenced` off does not trust the lock until the lease has been still
    for a while: it was itself the one that held it.
    """
    loop = asyncio.get_running_loop()
    seen, since = await _seen(backend, is_told=False), loop.time()
    trusting_after = since + (1.5 * RENEWAL if fenced else 0.0)
    shown, blind = float("-inf"), seen is None
    while not stopping.is_set():
        lease = await _seen(backend, is_told=blind)
        blind = lease is None
        if lease is None:
            progress.beat()
            await _pause(stopping, _LOOK)
            continue
        if lease != seen:
            seen, since = lease, loop.time()
            trusting_after = max(trusting_after, since + 1.5 * RENEWAL) if fenced else since
        free = lease.holder is None or loop.time() - since > SILENCE
        if free or (loop.time() >= trusting_after and lock.take()):
            taken = await _acquire(backend, holder, lease) if await hears() else None
            if taken is not None:
                lock.take()
                return taken
            # Kept, it would tell us that whoever leads next has died.
            lock.close()
        if shown < 0:
            log.info("standing by; %s leads under epoch %d", lease.holder, lease.epoch)
        if loop.time() - shown > RENEWAL:
            shown = loop.time()
            await show()
        progress.beat()
        progress.ready()
        await _pause(stopping, _LOOK)
    return None


async def _seen(backend: SessionBackend, *, is_told: bool) -> Lease | None:
    """The lease as it is now; None where the store cannot be read, which is told once."""
    try:
        return await backend.lease()
    except StoreUnavailable as error:
        level = logging.DEBUG if is_told else logging.WARNING
        log.log(level, "cannot see who leads: %s", error)
        return None


async def _acquire(backend: SessionBackend, holder: str, seen: Lease) -> Lease | None:
    try:
        return await backend.acquire(holder, seen=seen)
    except StoreUnavailable as error:
        # A leader that was stopped inside a transaction holds SQLite's own lock. Its supervisor
        # ends it; until then nobody can write.
        log.warning("cannot take the lead yet: %s", error)
        return None


async def _pause(stopping: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stopping.wait(), seconds)
    except TimeoutError:
        return
