"""The connections on which a store is read: one for what is short, some with a thread each."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiosqlite

from sessions.errors import SearchInterrupted, StoreUnavailable
from sessions.store.sqlite.connection import open_reader, translated
from sessions.store.sqlite.inline import MOST_ROWS, InlineReader, Size
from sessions.store.sqlite.library import Connect, sqlite3
from sessions.store.sqlite.schema import VERSION, understood
from sessions.store.sqlite.statements import Rows

# A connection as others may name it: this is the only reader that knows what it is.
ReadConnection = aiosqlite.Connection
# Connections with a thread. Two cores have no use for more, and one slow search leaves the others
# free.
_MOST: Final = 4


class Readers:
    """The reading connections of one store. One that was not made yet answers with no rows."""

    def __init__(self, path: Path, connect: Connect = sqlite3.connect) -> None:
        self._path = path
        self._connect = connect
        # As a text: it is looked at before every read.
        self._name = str(path)
        self._inline = InlineReader(path, connect)
        self._idle: list[aiosqlite.Connection] = []
        # The file that the connections have open, by device and inode.
        self._file: tuple[int, int] | None = None
        self._places = asyncio.Semaphore(_MOST)
        self._open = False

    def open(self) -> None:
        """Allow reading; it connects when something is read."""
        self._open = True

    async def close(self) -> None:
        """Disconnect. What is still being read closes its own connection."""
        self._open = False
        await self._disconnect()

    async def _disconnect(self) -> None:
        self._inline.close()
        while self._idle:
            await self._idle.pop().close()

    async def _current_file(self) -> tuple[int, int] | None:
        """The file that is there now; connections to one whose place it took are closed.

        An index that was rebuilt takes the old one's place, and only its worker has to stop for
        that. If nothing is in the place, the old file is all that there is.
        """
        try:
            found = os.stat(self._name)
        except OSError:
            return self._file
        file = (found.st_dev, found.st_ino)
        if file != self._file:
            # In this order: a reader that comes meanwhile must not take one of them for a new one.
            await self._disconnect()
            self._file = file
        return file

    async def short(
        self,
        sql: str,
        parameters: Sequence[object] = (),
        *,
        any_version: bool = False,
        most: int = 1,
        size: Size | None = None,
    ) -> Rows:
        """The rows of one statement that finds them by an index, `most` at most.

        `size` tells how much text a row has, where that may be much. What has to wait, or is long
        after all, is begun again in a thread, and raises what `long` raises.
        """
        if self._open and most <= MOST_ROWS:
            await self._current_file()
            rows = self._inline.read(sql, parameters, size)
            if rows is not None:
                return rows
        return await self.long(sql, parameters, any_version=any_version)

    async def long(
        self,
        sql: str,
        parameters: Sequence[object] = (),
        *,
        any_version: bool = False,
        seconds: float | None = None,
    ) -> Rows:
        """The rows of one statement that may take its time, read in a thread.

        Raises StoreUnavailable for a store of an older version, unless `any_version` will do, and
        SearchInterrupted if it takes longer than `seconds`.
        """
        async with self._places, self._reader(any_version=any_version) as connection:
            if connection is None:
                return []
            with translated(self._path):
                rows = await _within(seconds, connection, sql, parameters)
            return [*map(tuple, rows)]

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[ReadConnection | None]:
        """A connection inside a transaction of its own; None while the store is not made yet.

        It sees one state however long it reads. It has a thread beside those of `long`, since it
        may take minutes. Raises StoreUnavailable for a store of an older version.
        """
        async with self._reader(any_version=False) as connection:
            if connection is None:
                yield None
                return
            with translated(self._path):
                await connection.execute("BEGIN")
                try:
                    yield connection
                finally:
                    await connection.rollback()

    @asynccontextmanager
    async def _reader(self, *, any_version: bool) -> AsyncGenerator[aiosqlite.Connection | None]:
        """A reading connection that nobody else uses; None while the store is not made yet.

        Raises StoreUnavailable for a store of an older version, unless `any_version` will do.
        """
        if not self._open:
            raise RuntimeError("this backend is not open; use `async with`")
        file = await self._current_file()
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
                if self._open and version == VERSION and file == self._file:
                    self._idle.append(connection)
                else:
                    await connection.close()

    async def _new_reader(self) -> tuple[aiosqlite.Connection | None, int]:
        """A new connection and the store's version; None and 0 while there is no store."""
        if not self._path.exists():
            return None, 0
        with translated(self._path):
            connection = await open_reader(self._path, self._connect)
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
    if _interrupted(asking):
        raise SearchInterrupted(f"the search took longer than {seconds:g} s and was ended")
    return asking.result()


def _interrupted(asking: asyncio.Future[Any]) -> bool:
    return getattr(asking.exception(), "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT
