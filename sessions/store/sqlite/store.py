"""A store in SQLite as a whole: opening, migrations, the connections of its readers."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import uuid
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from importlib import resources
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

import aiosqlite

from sessions import times
from sessions.errors import ConfigError, SearchInterrupted, StoreTooNew, StoreUnavailable
from sessions.models import LetterBounds
from sessions.process.private import make_private_directory
from sessions.store.engine.texts import Run, Texts
from sessions.store.engine.writer import WritingStore
from sessions.store.sqlite.connection import WritingConnection, open_reader, translated
from sessions.store.sqlite.reader import ReadingStore
from sessions.wire import DEFAULT_MAX_CONTENT

log = logging.getLogger(__name__)

# Each file brings a store from the version before to its own. Never change one that was released.
MIGRATIONS: Final = ("schema.sql", "schema_2.sql")
VERSION: Final = len(MIGRATIONS)
# Reading connections of a process. Each has a thread; two cores have no use for more, and one
# slow search leaves the others free.
READERS: Final = 4


class Store(ReadingStore, WritingStore):
    """One store, opened with `async with`; see `SessionBackend` for what it promises."""

    def __init__(
        self,
        path: Path,
        make_texts: Callable[[Run], Texts],
        *,
        mode: Literal["read", "write"],
        max_content: int = DEFAULT_MAX_CONTENT,
        bounds: LetterBounds | None = None,
        clock: Callable[[], int] = times.now,
    ) -> None:
        super().__init__(clock=clock)
        self._bounds = bounds or LetterBounds()
        self._path = path
        self._mode = mode
        self._max_content = max_content
        self._writer = WritingConnection(path)
        # Two views of the texts: the writer's, amid its transaction, and the readers'.
        self._texts = make_texts(self._writer.run)
        self._shown = make_texts(self._read)
        # Idle readers, and the file that they have open.
        self._idle: list[aiosqlite.Connection] = []
        self._file: tuple[int, int] | None = None
        self._readers = asyncio.Semaphore(READERS)
        self._open = False

    async def __aenter__(self) -> Self:
        if self._mode == "write":
            _make_private(self._path)
            await self._writer.open()
            try:
                await self._make()
            except BaseException:
                # Its thread would keep the process from ending.
                await self._writer.close()
                raise
        self._open = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open = False
        self._drop_undone()
        await self._close_idle()
        await self._writer.close()
        self._texts.close()
        self._shown.close()
        self._epoch = None

    @property
    def _connection(self) -> WritingConnection:
        return self._writer

    async def _make(self) -> None:
        """Make the store if there is none; two workers that start at once do it one by one.

        One that was made before stays as it is: only a worker that leads may change it.
        """
        if _understood(await self._writer.run("PRAGMA user_version"), self._path) > 0:
            return
        async with self._writer.transaction():
            await self._migrate(self._writer)

    async def _migrate(self, connection: WritingConnection) -> None:
        """Bring the store to this version, inside a transaction; a current one is left alone."""
        version = _understood(await connection.run("PRAGMA user_version"), self._path)
        if version == VERSION:
            return
        for number in range(version, VERSION):
            for statement in statements(MIGRATIONS[number]):
                await connection.run(statement)
        if version == 0:
            await self._found(connection)
        else:
            log.info("upgraded %s from schema version %d to %d", self._path, version, VERSION)
        await connection.run(f"PRAGMA user_version = {VERSION}")

    async def _found(self, connection: WritingConnection) -> None:
        await connection.run(
            "INSERT INTO store (one, store_id, texts, created_at) VALUES (1, ?, ?, ?)",
            (uuid.uuid4().hex, self._texts.kind, self._clock()),
        )
        await connection.run("INSERT INTO lease (one, epoch, holder, beat) VALUES (1, 0, NULL, 0)")
        await connection.run("INSERT INTO stream VALUES (1, 0, 0, 0, 0, 0, 0)")

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

    async def _current_file(self) -> tuple[int, int] | None:
        """The file that is there now; readers of one whose place it took are let go.

        An index that is made anew takes the old one's place, and only its worker has to stop for
        that. Where nothing is in the place, the old file is all that there is.
        """
        try:
            found = self._path.stat()
        except OSError:
            return self._file
        file = (found.st_dev, found.st_ino)
        if file != self._file:
            self._file = file
            await self._close_idle()
        return file

    async def _close_idle(self) -> None:
        while self._idle:
            await self._idle.pop().close()

    async def _new_reader(self) -> tuple[aiosqlite.Connection | None, int]:
        """A new connection and the store's version; None and 0 while there is no store."""
        if not self._path.exists():
            return None, 0
        with translated(self._path):
            connection = await open_reader(self._path)
            try:
                rows = await connection.execute_fetchall("PRAGMA user_version")
                version = _understood([*rows], self._path)
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


def _understood(user_version: Sequence[Sequence[int]], path: Path) -> int:
    """The schema version that a store has; 0 before it is made."""
    version = user_version[0][0]
    if version > VERSION:
        raise StoreTooNew(
            f"{path} has schema version {version}, this Turnstream knows {VERSION}; "
            "run the newer Turnstream that made it"
        )
    return version


def statements(name: str) -> Iterator[str]:
    """The statements of a migration file, one by one, so that they stay in one transaction."""
    text = resources.files("sessions.store.sqlite").joinpath(name).read_text(encoding="utf-8")
    pending = ""
    for line in text.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""


def _make_private(path: Path) -> None:
    """Make the file and its directory, for this user only."""
    try:
        make_private_directory(path.parent)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise ConfigError(
            f"the workspace cannot be used: {path}: {error.strerror}; "
            "choose another with --workspace, or mend its permissions"
        ) from error
