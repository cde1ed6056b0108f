"""The mark of a store that was moved: it says where the store is now, and nobody leads it again.

It is set twice. The last transaction of the old database sets it, under the fence: a worker that
would lead that file later finds it. Then a tombstone takes the file's name, a database with the
mark and nothing else: readers that have the old file open notice that another one is in its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from sessions.errors import StoreMoved
from sessions.store.capabilities import Mark
from sessions.store.sqlite.library import address, sqlite3
from sessions.store.sqlite.statements import Query

# The schema version of a moved store. It is above all others, so that an older Turnstream, which
# knows no marks, refuses to open it.
MOVED: Final = 2**31 - 1
# Behind the name of a store that is not whole yet.
INCOMING: Final = ".incoming"
_TABLE: Final = (
    "CREATE TABLE moved (backend TEXT NOT NULL, at INTEGER NOT NULL, place TEXT NOT NULL) STRICT"
)
_SET: Final = "INSERT INTO moved (backend, at, place) VALUES (?, ?, ?)"
_READ: Final = "SELECT backend, at, place FROM moved"
# Seconds to wait for somebody's lock.
_PATIENCE: Final = 5.0


def incoming_path(path: Path) -> Path:
    """Where the store is made that will be at `path`."""
    return path.with_name(f"{path.name}{INCOMING}")


def marking(mark: Mark) -> Sequence[Query]:
    """What marks a database, inside a transaction."""
    return [Query(_TABLE), Query(_SET, mark), Query(f"PRAGMA user_version = {MOVED}")]


def mark_of(path: Path) -> Mark | None:
    """The mark of a database that is there; None if it has none. Raises sqlite3.Error."""
    with closing(sqlite3.connect(address(path), uri=True, timeout=_PATIENCE)) as connection:
        [(version,)] = connection.execute("PRAGMA user_version")
        return Mark(*connection.execute(_READ).fetchone()) if version == MOVED else None


def write_tombstone(path: Path, mark: Mark) -> None:
    """Make a database with nothing but the mark.

    It has no log, and is never written to: files beside it would be taken for those of the store
    that has its name later.
    """
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("BEGIN")
        for statement in marking(mark):
            statement.run(connection)
        connection.execute("COMMIT")


def is_tombstone(path: Path) -> bool:
    """Whether a marked database holds nothing but its mark. Raises sqlite3.Error."""
    with closing(sqlite3.connect(address(path), uri=True, timeout=_PATIENCE)) as connection:
        return not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'store'").fetchall()


def moved_from(path: Path) -> StoreMoved:
    """The error for a marked store, which says where its sessions are."""
    mark = mark_of(path)
    backend = mark.backend if mark is not None else "another"
    if any(path.parent.glob(f"*{INCOMING}")):
        advice = f"the move has not ended: run `turnstream move --to {backend}` again"
    else:
        advice = f'set [channels].session_backend = "{backend}" and start again'
    return StoreMoved(f"{path} was moved to the {backend} backend; {advice}", backend=backend)
