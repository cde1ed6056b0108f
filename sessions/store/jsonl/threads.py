"""Threads for the blocking work on session files."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final

from sessions.store.jsonl.files import unavailable

# Files synced at the same time: the disk joins neighbouring syncs, and more threads only wait.
_THREADS: Final = 8


class FileThreads:
    """A few threads; an OSError in one of them becomes StoreUnavailable."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="session-files")

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()

    async def call(self, work: Callable[[], Any]) -> None:
        """Do one piece of blocking work."""
        await self.each(lambda _: work(), [None])

    async def each(self, work: Callable[[Any], None], items: Iterable[Any]) -> None:
        """Do blocking work on each item; raise the first error when all is done."""
        loop = asyncio.get_running_loop()
        every = [*items]
        shares = [every[start::_THREADS] for start in range(min(_THREADS, len(every)))]
        done = await asyncio.gather(
            *(loop.run_in_executor(self._pool, _all, work, share) for share in shares),
            return_exceptions=True,
        )
        for error in done:
            if error is not None:
                with explained():
                    raise error


@contextmanager
def explained() -> Generator[None]:
    """Say of an error of the file system what it means for the store."""
    try:
        yield
    except OSError as error:
        raise unavailable(error) from error


def _all(work: Callable[[Any], None], items: Sequence[Any]) -> None:
    for item in items:
        work(item)
