"""A store in SQLite as a whole: its adapter under the engine, and its readers."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from sessions import times
from sessions.errors import ConfigError
from sessions.process.private import make_private_directory
from sessions.store.engine.writer import Writer
from sessions.store.sqlite.adapter import SqliteAdapter
from sessions.store.sqlite.reader import ReadingStore
from sessions.store.sqlite.readers import Readers
from sessions.wire import DEFAULT_MAX_CONTENT


class SqliteStore(ReadingStore, Writer):
    """One store, opened with `async with`; see `SessionBackend` for what it promises."""

    def __init__(
        self,
        adapter: SqliteAdapter,
        *,
        mode: Literal["read", "write"],
        max_content: int = DEFAULT_MAX_CONTENT,
        clock: Callable[[], int] = times.now,
    ) -> None:
        super().__init__(adapter, max_content=max_content, clock=clock)
        self._sqlite = adapter
        self._mode = mode
        self._readers = Readers(adapter.path, adapter.connect)

    async def __aenter__(self) -> Self:
        if self._mode == "write":
            make_private(self._sqlite.path)
            await self._sqlite.open()
        self._readers.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop_leading()
        await self._readers.close()
        await self._sqlite.close()


def make_private(path: Path) -> None:
    """Make the file and its directory, for this user only. Raises ConfigError if it cannot."""
    try:
        make_private_directory(path.parent)
        _make_file(path)
    except OSError as error:
        raise ConfigError(
            f"the workspace cannot be used: {path}: {error.strerror}; "
            "choose another with --workspace, or correct its permissions"
        ) from error


def _make_file(path: Path) -> None:
    """Make the file if there is none. Raises OSError if this user cannot write to it.

    One that is there is not opened: to close it would end all locks that this process has on it.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        if not path.is_file() or not os.access(path, os.R_OK | os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES)) from None
