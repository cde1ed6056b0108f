"""A store in SQLite as a whole: its adapter under the engine, and the connections of readers."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

import aiosqlite

from sessions import times
from sessions.errors import ConfigError, SearchInterrupted, StoreUnavailable
from sessions.process.private import make_private_directory
from sessions.store.engine.writer import Writer
from sessions.store.sqlite.adapter import SqliteAdapter
from sessions.store.sqlite.connection import open_reader, translated
from sessions.store.sqlite.reader import ReadingStore
from sessions.store.sqlite.schema import VERSION, understood
from sessions.wire import DEFAULT_MAX_CONTENT

# Reading connections of a process. Each has a thread; two cores have no use for more, and one
# slow search leaves the others free.
READERS: Final = 4


class Store(ReadingStore, Writer):
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
        self._path = adapter.path
        self._mode = mode
        self._idle: list[aiosqlite.Connection] = []
        self._readers = asyncio.Semaphore(READERS)
        self._open = False

    async def __aenter__(self) -> Self:
        if self._mode == "write":
            make_private(self._path)
            await self._sqlite.open()
        self._open = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open = False
        self.forget_decisions()
        while self._idle:
            await self._idle.pop().close()
        await self._sqlite.close()

    async def _read(
        self,
        sql: str,
        parameters: Sequence[object] = (),
        *,
        any_version: bool = False,
        seconds: float | None = None,
    ) -> list[tuple[Any, ...]]:
        async with self._readers, self._reader(any_version=any_version) as connection:
            if connection is None:
                return []
            with translated(self._path):
                rows = await _within(seconds, connection, sql, parameters)
            return [*map(tuple, rows)]

    @asynccontextmanager
    async def _reader(self, *, any_version: bool) -> AsyncGenerator[aiosqlite.Connection | None]:
        """A reading connection that nobody else uses; None while the store is not made yet.

        Raises StoreUnavailable for a store of an older version, unless `any_version` will do.
        """
        if not self._open:
            raise RuntimeError("this backend is not open; use `async with`")
        version = VERSION
        connection = self._idle.pop() if self._idle else None
        if connection is None:
            connection, version = await self._new_reader()
        try:
            if 0 < version < VERSION and not any_version:
                raise StoreUnavailable(
                    f"{self._path} is of an older Turnstream; it is upgraded as soon as a worker "
                    "of this version leads"
                )
            yield connection
        finally:
            if connection is not None:
                # One that knows an older version is asked for its version again.
                if self._open and version == VERSION:
                    self._idle.append(connection)
                else:
                    await connection.close()

    async def _new_reader(self) -> tuple[aiosqlite.Connection | None, int]:
        """A new connection and the store's version; None and 0 while there is no store."""
        if not self._path.exists():
            return None, 0
        with translated(self._path):
            connection = await open_reader(self._path)
            try:
                rows = await connection.execute_fetchall("PRAGMA user_version")
                version = understood([*rows], self._path)
            except BaseException:
                # Being cancelled too: nobody else would end its thread.
                await connection.close()
                raise
        if version == 0:
            await connection.close()
            return None, 0
        return connection, version


async def _within(
    seconds: float | None, connection: aiosqlite.Connection, sql: str, parameters: Sequence[object]
) -> Iterable[Any]:
    """The rows of one statement; raises SearchInterrupted if it takes longer than `seconds`."""
    if seconds is None:
        return await connection.execute_fetchall(sql, parameters)
    asking = asyncio.ensure_future(connection.execute_fetchall(sql, parameters))
    try:
        await asyncio.wait([asking], timeout=seconds)
    finally:
        if not asking.done():
            # Cancelling would leave the statement running in its thread.
            await connection.interrupt()
            await asyncio.wait([asking])
    if isinstance(asking.exception(), sqlite3.OperationalError) and _interrupted(asking):
        raise SearchInterrupted(f"the search took longer than {seconds:g} s and was ended")
    return asking.result()


def _interrupted(asking: asyncio.Future[Any]) -> bool:
    return getattr(asking.exception(), "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT


def make_private(path: Path) -> None:
    """Make the file and its directory, for this user only."""
    try:
        make_private_directory(path.parent)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise ConfigError(
            f"the workspace cannot be used: {path}: {error.strerror}; "
            "choose another with --workspace, or mend its permissions"
        ) from error
