"""Short reads in the thread that asks, the event loop's.

A hand-over to another thread costs more than such a read, and while the event loop is busy that
thread must win the interpreter's lock back from it for every row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from sessions.store.sqlite.connection import READER_PRAGMAS
from sessions.store.sqlite.library import ERRORS, Connect, address, sqlite3
from sessions.store.sqlite.schema import VERSION
from sessions.store.sqlite.statements import Rows

# What one read may take: rows, characters or bytes of text, and steps of SQLite's machine, at which
# it is looked once or twice. Together that is 1 ms or so; 50 sessions take 1,500 steps.
MOST_ROWS: Final = 100
_MOST_TEXT: Final = 256 * 1024
_STEPS: Final = 20_000

# How much text a row has.
Size = Callable[[tuple[Any, ...]], int]


class InlineReader:
    """One connection without patience: it waits for no lock and gives up what gets long."""

    def __init__(self, path: Path, connect: Connect = sqlite3.connect) -> None:
        self._path = path
        self._library = connect
        self._connection: sqlite3.Connection | None = None
        self._looks = 0

    def read(
        self,
        sql: str,
        parameters: Sequence[object],
        size: Size | None = None,
    ) -> Rows | None:
        """All rows of the statement, or None if that cannot be had at once, for whatever reason.

        Then a reader that may wait has to find out. `size` is how much text a row has.
        """
        try:
            connection = self._connection or self._connect()
            if connection is None:
                return None
            self._looks = 0
            cursor = connection.execute(sql, parameters)
            return cursor.fetchall() if size is None else _small(cursor, size)
        except (*ERRORS, MemoryError):
            return None

    def close(self) -> None:
        """Disconnect; does nothing where it was not connected."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self) -> sqlite3.Connection | None:
        """Connect, unless there is no store, or one of another version."""
        if not self._path.exists():
            return None
        connection = self._library(address(self._path), uri=True, isolation_level=None, timeout=0)
        try:
            for pragma in READER_PRAGMAS:
                connection.execute(f"PRAGMA {pragma}")
            [(version,)] = connection.execute("PRAGMA user_version")
            connection.set_progress_handler(self._look, _STEPS)
            if version == VERSION:
                self._connection = connection
        finally:
            if self._connection is None:
                connection.close()
        return self._connection

    def _look(self) -> bool:
        """Whether to end the statement. SQLite counts on from the statement's run before."""
        self._looks += 1
        return self._looks > 1


def _small(cursor: sqlite3.Cursor, size: Size) -> Rows | None:
    """The rows, or None as soon as they have too much text."""
    found: Rows = []
    room = _MOST_TEXT
    for row in cursor:
        found.append(row)
        room -= size(row)
        if room < 0:
            cursor.close()
            return None
    return found
