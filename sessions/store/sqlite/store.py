"""A store in SQLite as a whole: its adapter under the engine, and its readers."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self

from sessions import times
from sessions.errors import ConfigError
from sessions.process.private import make_private_directory
from sessions.store.capabilities import Mark
from sessions.store.engine.receipts import Receipt
from sessions.store.engine.receiving import ReceivingWriter
from sessions.store.engine.rows import columns
from sessions.store.image import Snapshot
from sessions.store.sqlite.adapter import SqliteAdapter
from sessions.store.sqlite.marks import marking
from sessions.store.sqlite.reader import ReadingStore
from sessions.store.sqlite.readers import Readers
from sessions.store.sqlite.snapshot import EmptySnapshot, SqliteSnapshot, head_of
from sessions.wire import DEFAULT_MAX_CONTENT

_RECEIPTS: Final = f"SELECT {columns(Receipt)} FROM receipts WHERE source = ? ORDER BY session"
_RECEIPTS_OF: Final = f"SELECT {columns(Receipt)} FROM receipts WHERE session = ? ORDER BY source"


class SqliteStore(ReadingStore, ReceivingWriter):
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

    @asynccontextmanager
    async def snapshot(self) -> AsyncGenerator[Snapshot]:
        """All rows as of one moment."""
        async with self._readers.transaction() as connection:
            if connection is None:
                yield EmptySnapshot()
                return
            yield SqliteSnapshot(connection, await head_of(connection), self._texts)

    async def leave(self, mark: Mark) -> None:
        """Mark the store as moved."""
        async with self.leading():
            await self._sqlite.connection.script(marking(mark))

    async def receipts(self, source: str) -> list[Receipt]:
        """The receipts of one source."""
        return [Receipt(*row) for row in await self._readers.long(_RECEIPTS, (source,))]

    async def receipts_of(self, key: str) -> list[Receipt]:
        """The receipts of one session."""
        return [Receipt(*row) for row in await self._readers.long(_RECEIPTS_OF, (key,))]


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
