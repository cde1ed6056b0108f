"""SQLite connections: how they are opened, and what their errors mean."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import aiosqlite

from sessions.errors import ConfigError, StoreDamaged, StoreUnavailable
from sessions.store.sqlite.library import ERRORS, Connect, address, sqlite3
from sessions.store.sqlite.schema import understood
from sessions.store.sqlite.statements import Query, Rows, Statement

T = TypeVar("T")

# What the schema and the statements need: STRICT tables. Debian 12, Ubuntu 22.04 and every
# CPython from python.org have it.
OLDEST_SQLITE: Final = (3, 37, 0)
# Milliseconds to wait for a lock. Only a checkpoint or somebody's sqlite3 shell ever holds one
# against us; longer than this and the caller had better be told.
BUSY_TIMEOUT: Final = 1000
# KiB of pages that a connection keeps. The worker's bound of 150 MB leaves room for four times
# this; more gained nothing measurable on a store of 100,000 messages.
WRITER_CACHE: Final = 24_000
READER_CACHE: Final = 4_000
# Pages of 4 KiB in the write-ahead log before a commit copies them back: 16 MiB. A commit that
# copies 1,000 pages instead costs a third of the throughput.
CHECKPOINT_PAGES: Final = 4096
# Prepared statements that the writer keeps: every form in its nine sizes, and the single ones.
_PLANS: Final = 256

WRITER_PRAGMAS: Final = (
    f"busy_timeout = {BUSY_TIMEOUT}",
    "journal_mode = WAL",
    "synchronous = FULL",
    "secure_delete = ON",
    f"cache_size = -{WRITER_CACHE}",
    "temp_store = MEMORY",
    "mmap_size = 0",
    "trusted_schema = OFF",
    f"wal_autocheckpoint = {CHECKPOINT_PAGES}",
)
READER_PRAGMAS: Final = (
    "query_only = ON",
    f"cache_size = -{READER_CACHE}",
    "mmap_size = 0",
    "trusted_schema = OFF",
)

# By SQLite's primary codes. What passes by itself, or when somebody frees space or unlocks.
_PASSING: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_READONLY,
    }
)
# After a failed sync the kernel may have dropped the pages; trying again would report success
# over lost data. The process must end and start again from what the disk holds.
_FATAL: Final = frozenset({"SQLITE_IOERR_FSYNC", "SQLITE_IOERR_DIR_FSYNC"})


class WritingConnection:
    """The one connection that writes and checkpoints. `steps` counts what it was asked to do.

    It is used in a thread of its own, which does one thing after the other. What a caller waits for
    is done also if that caller is cancelled.
    """

    def __init__(self, path: Path, connect: Connect = sqlite3.connect) -> None:
        self._path = path
        self._library = connect
        self._thread: ThreadPoolExecutor | None = None
        self._opened: sqlite3.Connection | None = None
        self.steps = 0

    async def open(self) -> None:
        """Connect; makes the file if there is none."""
        _check_version()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store-writer")
        try:
            self._opened = await self._call(self._connect)
        except BaseException:
            # Being cancelled too: the thread would keep the process from ending.
            await self.close()
            raise

    async def close(self) -> None:
        """Disconnect; does nothing where it was not connected."""
        thread, opened = self._thread, self._opened
        self._thread = self._opened = None
        if thread is not None:
            if opened is not None:
                await asyncio.get_running_loop().run_in_executor(thread, opened.close)
            thread.shutdown(wait=False)

    def _connect(self) -> sqlite3.Connection:
        connection = self._library(
            self._path, isolation_level=None, cached_statements=_PLANS, check_same_thread=False
        )
        try:
            # First of all: one that is not ours to write stays as it is, its journal mode too.
            understood(connection.execute("PRAGMA user_version").fetchall(), self._path)
            for pragma in WRITER_PRAGMAS:
                connection.execute(f"PRAGMA {pragma}").fetchall()
        except BaseException:
            # Nobody else has it yet, so nobody else would close it.
            connection.close()
            raise
        return connection

    @property
    def total_changes(self) -> int:
        """Rows changed since it was opened."""
        return self._connection.total_changes

    async def run(self, sql: str, parameters: Sequence[object] = ()) -> Rows:
        """Run one statement and give its rows."""
        [rows] = await self.script([Query(sql, parameters)])
        return rows

    async def script(self, statements: Sequence[Statement]) -> list[Rows]:
        """Run the statements one after the other, up to the first that fails; the rows of each."""
        if not statements:
            return []
        return await self._call(self._run_all, self._connection, statements)

    def _run_all(
        self, connection: sqlite3.Connection, statements: Sequence[Statement]
    ) -> list[Rows]:
        found: list[Rows] = []
        for statement in statements:
            found.append(statement.run(connection))
            self.steps += 1
        return found

    @asynccontextmanager
    async def transaction(self, *first: Statement) -> AsyncGenerator[list[Rows]]:
        """All of what is run inside, or nothing; gives the rows of what is run `first`."""
        try:
            [_, *found] = await self.script([Query("BEGIN IMMEDIATE"), *first])
            yield found
            await self.run("COMMIT")
        except BaseException:
            # What we were cancelled waiting for was done all the same, BEGIN and COMMIT too. This
            # does nothing where no transaction is open, as after a full disk.
            await self._call(self._connection.rollback)
            raise

    async def _call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run the function in the connection's thread, behind what was handed over before."""
        if self._thread is None:
            raise RuntimeError("this backend was not opened in write mode")
        with translated(self._path):
            running = asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)
            # It is done whether or not its caller still waits: what is half done is not undone.
            return await asyncio.shield(running)

    @property
    def _connection(self) -> sqlite3.Connection:
        if self._opened is None:
            raise RuntimeError("this backend was not opened in write mode")
        return self._opened


def _check_version() -> None:
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        needed = ".".join(map(str, OLDEST_SQLITE))
        raise ConfigError(
            f"this Python has SQLite {sqlite3.sqlite_version}; Turnstream needs {needed} or newer"
        )


async def open_reader(path: Path, connect: Connect) -> aiosqlite.Connection:
    """A connection that can only read."""
    # What aiosqlite.connect makes too, with Python's own library.
    connection = await aiosqlite.Connection(
        lambda: connect(address(path), uri=True, isolation_level=None), iter_chunk_size=64
    )
    await _set_up(connection, f"busy_timeout = {BUSY_TIMEOUT}", *READER_PRAGMAS)
    return connection


async def _set_up(connection: aiosqlite.Connection, *pragmas: str) -> None:
    try:
        for pragma in pragmas:
            await connection.execute_fetchall(f"PRAGMA {pragma}")
    except BaseException:
        # It has a thread, which would keep the process from ending.
        await connection.close()
        raise


@contextmanager
def translated(path: Path) -> Generator[None]:
    """Turn SQLite's passing errors into StoreUnavailable and damage into StoreDamaged."""
    try:
        yield
    except MemoryError as error:
        raise StoreUnavailable(f"{path}: out of memory") from error
    except ERRORS as error:
        name = getattr(error, "sqlite_errorname", None) or ""
        code = getattr(error, "sqlite_errorcode", None)
        primary = code & 0xFF if code is not None else None
        if name in _FATAL or primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise StoreDamaged(
                f"{path}: {error} ({name}); stop everything and restore the workspace from a "
                "backup: the events that are still on the stream are then applied again"
            ) from error
        if primary in _PASSING:
            raise StoreUnavailable(f"{path}: {error} ({name}); {_advice(primary)}") from error
        raise


def _advice(primary: int | None) -> str:
    if primary in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
        return "is the disk full? Nothing is lost; work goes on when there is space"
    if primary in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
        return "check that the directory exists and that this user may use it"
    return "another program holds the store; it is tried again"
