"""How one database takes another one's place, while some may have that open.

Files beside a database belong to it by their names. So they go first: what is left of an old log
must not be taken for that of the database that comes.
"""

from __future__ import annotations

import os
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from sessions.process.durable import sync
from sessions.store.sqlite.library import sqlite3

# What belongs to a database file.
PARTS: Final = ("", "-wal", "-shm", "-journal")


def part(path: Path, suffix: str) -> Path:
    """A file that belongs to the database."""
    return path.with_name(f"{path.name}{suffix}")


def remove_database(path: Path) -> None:
    """Remove the database with all that belongs to it."""
    for suffix in PARTS:
        part(path, suffix).unlink(missing_ok=True)


def put_aside(path: Path, aside: Path) -> None:
    """Keep a database at `aside` too, and move what belongs to it there; `path` can be replaced.

    If its log can be copied into it, it is whole without that at every moment. If not, it is no
    good, and it is better that there is none for a moment: then nothing starts.
    """
    if copied_log(path):
        with suppress(FileExistsError):
            os.link(path, aside)
    else:
        path.rename(aside)
    for suffix in PARTS[1:]:
        with suppress(FileNotFoundError):
            part(path, suffix).rename(part(aside, suffix))
    sync(aside.parent)


def take_place(new: Path, path: Path) -> None:
    """Give the name to the new database; what was put aside before is not lost."""
    sync(new)
    for suffix in PARTS[1:]:
        part(path, suffix).unlink(missing_ok=True)
    os.replace(new, path)
    sync(path.parent)


def copied_log(path: Path) -> bool:
    """Copy the log of a database into it; False if that cannot be done."""
    try:
        with closing(sqlite3.connect(path, timeout=1)) as old:
            [(_, log, copied)] = old.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return bool(log == copied)
    except (sqlite3.Error, ValueError):
        return False
