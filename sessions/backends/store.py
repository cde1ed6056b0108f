"""A store in SQLite as a whole: opening, migrations, the connections of its readers."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import uuid
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from importlib import resources
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

import aiosqlite

from sessions import times
from sessions.backends.connection import WritingConnection, open_reader, translated
from sessions.backends.reader import ReadingStore
from sessions.backends.texts import Run, Texts
from sessions.backends.writer import WritingStore
from sessions.errors import ConfigError, StoreTooNew
from sessions.wire import DEFAULT_MAX_CONTENT

# Each file brings a store from the version before to its own. Never change one that was released.
MIGRATIONS: Final = ("schema.sql",)
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
        clock: Callable[[], int] = times.now,
    ) -> None:
        super().__init__(clock=clock)
        self._path = path
        self._mode = mode
        self._max_content = max_content
        self._writer = WritingConnection(path)
        # Two views of the texts: the writer's, amid its transaction, and the readers'.
        self._texts = make_texts(self._writer.run)
        self._shown = make_texts(self._read)
        self._idle: list[aiosqlite.Connection] = []
        self._readers = asyncio.Semaphore(READERS)
        self._open = False

    async def __aenter__(self) -> Self:
        if self._mode == "write":
            _make_private(self._path)
            await self._writer.open()
            try:
                await self._migrate(self._writer)
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
        while self._idle:
            await self._idle.pop().close()
        await self._writer.close()
        self._texts.close()
        self._shown.close()
        self._epoch = None

    @property
    def _connection(self) -> WritingConnection:
        return self._writer

    async def _migrate(self, connection: WritingConnection) -> None:
        """Bring the store to this version; two workers that start at once do it one by one."""
        # A standby that joins must not write beside the leader.
        if _understood(await connection.run("PRAGMA user_version"), self._path) == VERSION:
            return
        async with connection.transaction():
            version = _understood(await connection.run("PRAGMA user_version"), self._path)
            for number in range(version, VERSION):
                for statement in statements(MIGRATIONS[number]):
                    await connection.run(statement)
            if version == 0:
                await self._found(connection)
            await connection.run(f"PRAGMA user_version = {VERSION}")

    async def _found(self, connection: WritingConnection) -> None:
        await connection.run(
            "INSERT INTO store (one, store_id, texts, created_at) VALUES (1, ?, ?, ?)",
            (uuid.uuid4().hex, self._texts.kind, self._clock()),
        )
        await connection.run("INSERT INTO lease VALUES (1, 0, NULL, 0)")
        await connection.run("INSERT INTO stream VALUES (1, 0, 0, 0, 0, 0, 0)")

    async def _read(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        async with self._readers, self._reader() as connection:
            if connection is None:
                return []
            with translated(self._path):
                return [*map(tuple, await connection.execute_fetchall(sql, parameters))]

    @asynccontextmanager
    async def _reader(self) -> AsyncGenerator[aiosqlite.Connection | None]:
        """A reading connection that nobody else uses; None while the store is not made yet."""
        if not self._open:
            raise RuntimeError("this backend is not open; use `async with`")
        connection = self._idle.pop() if self._idle else await self._new_reader()
        try:
            yield connection
        finally:
            if connection is not None:
                if self._open:
                    self._idle.append(connection)
                else:
                    await connection.close()

    async def _new_reader(self) -> aiosqlite.Connection | None:
        if not self._path.exists():
            return None
        with translated(self._path):
            connection = await open_reader(self._path)
            try:
                version = await connection.execute_fetchall("PRAGMA user_version")
                made = _understood([*version], self._path) > 0
            except BaseException:
                # Being cancelled too: nobody else would end its thread.
                await connection.close()
                raise
        if not made:
            await connection.close()
            return None
        return connection


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
    text = resources.files("sessions.backends").joinpath(name).read_text(encoding="utf-8")
    pending = ""
    for line in text.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""


def _make_private(path: Path) -> None:
    """Make the file and its directory, for this user only."""
    try:
        for directory in (path.parent.parent, path.parent):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise ConfigError(
            f"the workspace cannot be used: {path}: {error.strerror}; "
            "choose another with --workspace, or mend its permissions"
        ) from error
