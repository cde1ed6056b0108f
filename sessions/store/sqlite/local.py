"""The database file as tools see it: read beside the backend, with plain SQL and no worker."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Any, Final, TypeVar

from sessions.errors import SessionError, StoreUnavailable
from sessions.process.private import make_private_directory
from sessions.store.capabilities import Health, Library, LocalStore, Mark
from sessions.store.filelock import LOCK, FileLock
from sessions.store.sqlite.backend import FILE
from sessions.store.sqlite.library import ORIGIN, address, sqlite3
from sessions.store.sqlite.marks import (
    MOVED,
    incoming_path,
    is_tombstone,
    mark_of,
    moved_from,
    write_tombstone,
)
from sessions.store.sqlite.places import copied_log, put_aside, remove_database, take_place
from sessions.store.sqlite.selfcheck import check_database, texts_in_rows

R = TypeVar("R")

# Seconds to wait for somebody's lock.
_PATIENCE: Final = 5.0
# From here on SQLite has no race between a checkpoint and a commit of another connection, which
# may lose commits. Older ones are safe as long as only one connection writes.
_FIXED: Final = (3, 51, 3)


# What a copy of a session shares with it. Times are those of the worker that applied an event.
_COMPARED: Final = (
    "id, key, generation, live, name, agent, channel, room, sender, state, turn, "
    "message_count, next_seq, owned_from"
)
_DIFFERING: Final = (
    f"SELECT count(*) FROM (SELECT {_COMPARED} FROM main.sessions "
    f"EXCEPT SELECT {_COMPARED} FROM other.sessions)"
)
_MISSING: Final = (
    "SELECT count(*) FROM main.sessions AS one WHERE live AND NOT EXISTS "
    "(SELECT 1 FROM other.sessions AS same WHERE same.key = one.key)"
)
_STORE_ID: Final = "SELECT store_id FROM store"
_LIVE: Final = "SELECT count(*) FROM sessions WHERE live"
_EMPTY: Final = (
    "SELECT NOT EXISTS (SELECT 1 FROM sessions UNION ALL SELECT 1 FROM events "
    "UNION ALL SELECT 1 FROM dead_letters)"
)


class LocalSqliteStore:
    """A `LocalStore` that is `Embedded`, `SelfChecking`, `Lockable` and `Movable`."""

    name = "sqlite"

    def __init__(self, workspace: Path, file: str = FILE) -> None:
        self.path = workspace / "sessions" / file

    def store_id(self) -> str | None:
        """The store's id; None if there is no store."""
        return _asked(self.path, _STORE_ID)

    def schema_version(self) -> int | None:
        """The version of its schema; None if there is no store."""
        return _asked(self.path, "PRAGMA user_version")

    # -- moving ------------------------------------------------------------------------------

    def mark(self) -> Mark | None:
        """Where the store was moved."""
        return _read(self.path, mark_of) if self.path.exists() else None

    def incoming(self) -> LocalSqliteStore:
        """The store that is made to take this one's place."""
        return LocalSqliteStore(self.path.parents[1], incoming_path(self.path).name)

    def remove_incoming(self) -> None:
        """Remove that store."""
        remove_database(incoming_path(self.path))

    def install(self) -> None:
        """Let that store take this one's place."""
        incoming = incoming_path(self.path)
        if not incoming.exists():
            return
        if not copied_log(incoming):
            raise StoreUnavailable(f"{incoming} is in use; try again")
        take_place(incoming, self.path)
        remove_database(incoming)

    def retire(self) -> None:
        """Put the marked store aside, and leave a tombstone with its name."""
        mark = self.mark()
        if mark is None or _read(self.path, is_tombstone):
            return
        if not copied_log(self.path):
            raise StoreUnavailable(f"{self.path} is still being read; try again")
        place = self.path.parent / mark.place
        make_private_directory(place)
        tombstone = self.path.with_name(f"{self.path.name}.moved")
        remove_database(tombstone)
        write_tombstone(tombstone, mark)
        tombstone.chmod(0o600)
        put_aside(self.path, place / self.path.name)
        take_place(tombstone, self.path)

    # -- comparing ---------------------------------------------------------------------------

    def is_empty(self) -> bool:
        """Whether it holds nothing; True also if there is no store."""
        return bool(_asked(self.path, _EMPTY, absent=True))

    def missing_in(self, other: LocalStore) -> int:
        """How many of its live sessions the other store does not know."""
        if self.schema_version() is None:
            return 0
        if other.schema_version() is None:
            return _asked(self.path, _LIVE)
        return _compared(_MISSING, self.path, other.path)

    def differing_from(self, other: LocalStore) -> int:
        """How many of its sessions are not the same in the other store."""
        return _compared(_DIFFERING, self.path, other.path)

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


def _asked(path: Path, sql: str, *, absent: Any = None) -> Any:
    """One value of a store; `absent` if there is none, or it was moved."""

    def read(path: Path) -> Any:
        with _reading(path) as connection:
            [(version,)] = connection.execute("PRAGMA user_version")
            if version in (0, MOVED):
                return absent
            [(value,)] = connection.execute(sql)
            return value

    return _read(path, read) if path.exists() else absent


def _compared(sql: str, path: Path, other: Path) -> int:
    """A number about two stores that are there."""

    def read(path: Path) -> int:
        with _reading(path) as connection:
            connection.execute("ATTACH ? AS other", (address(other),))
            [(number,)] = connection.execute(sql)
            return number

    return _read(path, read)


def _read(path: Path, read: Callable[[Path], R]) -> R:
    """What is read of a database. Raises StoreUnavailable."""
    try:
        return read(path)
    except (sqlite3.Error, ValueError) as error:  # ValueError: a row is not there yet
        raise StoreUnavailable(f"{path} cannot be read now: {error}") from error


@contextlib.contextmanager
def _opened(path: Path) -> Generator[sqlite3.Connection]:
    if not path.exists():
        raise SessionError(f"there is no store at {path} yet; the first worker makes it")
    try:
        if mark_of(path) is not None:
            raise moved_from(path)
        with _reading(path) as connection:
            yield connection
    except sqlite3.OperationalError as error:
        raise StoreUnavailable(f"{path} cannot be read now: {error}") from error
    except sqlite3.DatabaseError as error:
        raise SessionError(f"{path} is damaged: {error}") from error


def _reading(path: Path) -> contextlib.closing[sqlite3.Connection]:
    return contextlib.closing(sqlite3.connect(address(path), uri=True, timeout=_PATIENCE))
