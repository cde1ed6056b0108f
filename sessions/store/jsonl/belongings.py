"""What belongs to an index: its session files with all that lies beside them, as a whole.

Files of other programs, and those of another index, stay where they are.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path

from sessions.process.durable import sync
from sessions.store.jsonl.files import FileRow, FileState, SessionFiles
from sessions.store.jsonl.metas import MetaFiles
from sessions.store.sqlite.library import sqlite3


def names_in(index: Path) -> list[str]:
    """The names of the session files, without suffix, that an index knows; none if it is broken.

    The log of a process that was killed is taken into account.
    """
    try:
        with closing(sqlite3.connect(index)) as connection:
            return [name for (name,) in connection.execute("SELECT name FROM files")]
    except sqlite3.Error:
        return []


def remove(directory: Path, names: Iterable[str]) -> None:
    """Remove the files of these names. What no index knows gets names that end with `.torn`."""
    for path in _files(directory, names):
        path.unlink(missing_ok=True)
    files = SessionFiles(directory)
    files.remove_drafts(set())
    MetaFiles(directory).drop_drafts()
    files.set_strays_aside(set())
    sync(directory)


def move(directory: Path, place: Path, names: Iterable[str]) -> None:
    """Move the files of these names to another directory of the same file system."""
    for path in _files(directory, names):
        with suppress(FileNotFoundError):
            os.replace(path, place / path.name)
    for changed in (place, directory):
        sync(changed)


def _files(directory: Path, names: Iterable[str]) -> Iterator[Path]:
    files, metas = SessionFiles(directory), MetaFiles(directory)
    for name in names:
        row = FileRow(0, name, 0, FileState.DONE)
        yield from (files.main(row), files.replacement(row), files.torn(row))
        yield from (metas.main(name), metas.draft(name))
