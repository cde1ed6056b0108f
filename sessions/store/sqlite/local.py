"""The database file as tools see it: read beside the backend, with plain SQL and no worker."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from sessions.errors import SessionError, StoreUnavailable
from sessions.store.capabilities import Health, Library
from sessions.store.filelock import LOCK, FileLock
from sessions.store.sqlite.backend import FILE
from sessions.store.sqlite.library import ORIGIN, sqlite3
from sessions.store.sqlite.selfcheck import check_database, texts_in_rows

# Seconds to wait for somebody's lock.
_PATIENCE: Final = 5.0
# From here on SQLite has no race between a checkpoint and a commit of another connection, which
# may lose commits. Older ones are safe as long as only one connection writes.
_FIXED: Final = (3, 51, 3)


class LocalSqliteStore:
    """A `LocalStore` that is `Embedded`, `SelfChecking` and `Lockable`."""

    def __init__(self, workspace: Path, file: str = FILE) -> None:
        self.path = workspace / "sessions" / file

    def store_id(self) -> str | None:
        """The store's id; None if there is no store."""
        return self._asked("SELECT store_id FROM store")

    def schema_version(self) -> int | None:
        """The version of its schema; None if there is no store."""
        return self._asked("PRAGMA user_version")

    def check(self) -> Health:
        """Check the rows against each other, against the texts and against the search index."""
        with _opened(self.path) as connection:
            return check_database(connection, self.path, self._texts(connection))

    def leader_lock(self) -> FileLock:
        """The lock that the leader of this store holds."""
        return FileLock(self.path.parent / LOCK)

    def library(self) -> Library:
        """The SQLite of this process, and where it comes from."""
        fixed = ".".join(map(str, _FIXED))
        version = f"{sqlite3.sqlite_version}, {ORIGIN}"
        return Library(version, fixed, sqlite3.sqlite_version_info >= _FIXED)

    def _texts(self, connection: sqlite3.Connection) -> Iterable[tuple[int, str | None]]:
        return texts_in_rows(connection)

    def _asked(self, sql: str) -> Any:
        if not self.path.exists():
            return None
        try:
            with _reading(self.path) as connection:
                [(value,)] = connection.execute(sql)
        except (sqlite3.Error, ValueError) as error:  # ValueError: the row is not there yet
            raise StoreUnavailable(f"{self.path} cannot be read now: {error}") from error
        return value


@contextlib.contextmanager
def _opened(path: Path) -> Generator[sqlite3.Connection]:
    if not path.exists():
        raise SessionError(f"there is no store at {path} yet; the first worker makes it")
    try:
        with _reading(path) as connection:
            yield connection
    except sqlite3.OperationalError as error:
        raise StoreUnavailable(f"{path} cannot be read now: {error}") from error
    except sqlite3.DatabaseError as error:
        raise SessionError(f"{path} is damaged: {error}") from error


def _reading(path: Path) -> contextlib.closing[sqlite3.Connection]:
    uri = f"file:{quote(str(path))}?mode=ro"
    return contextlib.closing(sqlite3.connect(uri, uri=True, timeout=_PATIENCE))
