"""The schema: its versions, and how a store is brought to ours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Final

from sessions.errors import StoreTooNew
from sessions.store.sqlite.library import sqlite3
from sessions.store.sqlite.marks import MOVED, moved_from

# Each file brings a store from the version before to its own. Never change one that was released.
MIGRATIONS: Final = ("schema.sql", "schema_2.sql", "schema_3.sql", "schema_4.sql")
VERSION: Final = len(MIGRATIONS)


def understood(user_version: Sequence[Sequence[int]], path: Path) -> int:
    """The schema version that a store has; 0 before it is made.

    Raises StoreTooNew, and StoreMoved for one that is in another backend now.
    """
    version = user_version[0][0]
    if version == MOVED:
        raise moved_from(path)
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
