"""Rebuilding the index of the `jsonl` backend from its files, after it was lost or damaged.

What only an index knows (outcomes, dead letters, the place in the stream) is taken from the old one
if that can be read. If not, it is lost. Names, owners and routing come from the meta files then,
and the stream is read again from its beginning: messages in the files are known by their ids.

The new index is made under another name and takes the old one's place when it is whole. Session
files are only read. So a process that is killed here leaves a store with its old index or the
new one.
"""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import Final

from sessions import times
from sessions.errors import ConfigError
from sessions.process.durable import sync
from sessions.store.capabilities import Rebuilt
from sessions.store.jsonl.backend import INDEX
from sessions.store.jsonl.refill import IndexFiller, names_in
from sessions.store.jsonl.salvage import SalvagedIndex, remember
from sessions.store.sqlite.adapter import SqliteAdapter
from sessions.store.sqlite.library import sqlite3
from sessions.store.sqlite.store import make_private

_NEW: Final = f"{INDEX}.new"
# What belongs to a database file.
_PARTS: Final = ("", "-wal", "-shm", "-journal")


async def rebuild_index(workspace: Path) -> Rebuilt:
    """Make a new index and keep the old one beside it; the caller made sure that nobody leads.

    Raises ConfigError if there is nothing of which an index could be made.
    """
    directory = workspace / "sessions"
    if not names_in(directory):
        raise ConfigError(f"{directory} holds no session files to rebuild an index from")
    memory = remember(directory / INDEX)
    try:
        result = await _build(directory, memory)
    except sqlite3.DatabaseError:
        # The old index was not as good as it looked.
        result = await _build(directory, SalvagedIndex())
    _take_place(directory)
    return result


async def _build(directory: Path, memory: SalvagedIndex) -> Rebuilt:
    """Make the new index beside the old one."""
    for suffix in _PARTS:
        # A rebuild that failed or was killed left them.
        (directory / f"{_NEW}{suffix}").unlink(missing_ok=True)
    result = Rebuilt(remembered=memory.store_id is not None)
    index = _NewIndex(directory / _NEW)
    make_private(index.path)
    await index.open()
    try:
        await index.fill(memory, result)
    finally:
        await index.close()
    return result


class _NewIndex(SqliteAdapter):
    """An index that is being made; it does not mind the files."""

    texts = "files"

    async def fill(self, memory: SalvagedIndex, result: Rebuilt) -> None:
        """Take everything in, in one transaction."""
        filler = IndexFiller(self.path.parent, memory, result)
        async with self.connection.transaction():
            if memory.store_id is not None:
                await self.connection.run("UPDATE store SET store_id = ?", (memory.store_id,))
            # How old it is tells since when missing numbers are explained; 0 is "nobody knows".
            await self.connection.run("UPDATE store SET created_at = ?", (memory.created_at,))
            await filler.fill(self.connection)


def _take_place(directory: Path) -> None:
    """Let the new index take the old one's place, and keep the old one under another name.

    What is left of the old one's log must not be taken for the new one's. If the log can be copied
    into the old index, that is whole without it at every moment. If not, the old index is no good,
    and it is better that there is none for a moment: then nothing starts.
    """
    sync(directory / _NEW)
    index = directory / INDEX
    stamp = times.render(times.now()).replace(":", "").replace("+0000", "Z")
    aside = f"{INDEX}.old-{stamp}"
    if index.exists():
        if _closes_log(index):
            os.link(index, directory / aside)
        else:
            index.rename(directory / aside)
    for suffix in _PARTS[1:]:
        part = directory / f"{INDEX}{suffix}"
        if part.exists():
            part.rename(directory / f"{aside}{suffix}")
    os.replace(directory / _NEW, index)
    sync(directory)


def _closes_log(index: Path) -> bool:
    """Copy the log of an index into it; False where that cannot be done."""
    try:
        with closing(sqlite3.connect(index, timeout=1)) as old:
            [(_, log, copied)] = old.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return bool(log == copied)
    except (sqlite3.Error, ValueError):
        return False


__all__ = ["rebuild_index"]
