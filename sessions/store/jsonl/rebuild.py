"""Rebuilding the index of the `jsonl` backend from its files, after it was lost or damaged.

What only an index knows (outcomes, dead letters, the place in the stream) is taken from the old one
if that can be read. If not, it is lost. Names, owners and routing come from the meta files then,
and the stream is read again from its beginning: messages in the files are known by their ids.

The new index is made under another name and takes the old one's place when it is whole. Session
files are only read. So a process that is killed here leaves a store with its old index or the
new one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sessions import times
from sessions.errors import ConfigError
from sessions.store.capabilities import Rebuilt
from sessions.store.jsonl.backend import INDEX
from sessions.store.jsonl.refill import IndexFiller, names_in
from sessions.store.jsonl.salvage import SalvagedIndex, remember
from sessions.store.sqlite.adapter import SqliteAdapter
from sessions.store.sqlite.library import sqlite3
from sessions.store.sqlite.places import put_aside, remove_database, take_place
from sessions.store.sqlite.store import make_private

_NEW: Final = f"{INDEX}.new"


async def rebuild_index(workspace: Path) -> Rebuilt:
    """Make a new index and keep the old one beside it; the caller made sure that nobody leads.

    Raises ConfigError if there is nothing of which an index could be made.
    """
    directory = workspace / "sessions"
    memory = remember(directory / INDEX)
    if not names_in(directory):
        raise ConfigError(f"{directory} holds no session files to rebuild an index from")
    try:
        result = await _build(directory, memory)
    except sqlite3.DatabaseError:
        # The old index was not as good as it looked.
        result = await _build(directory, SalvagedIndex())
    _take_place(directory)
    return result


async def _build(directory: Path, memory: SalvagedIndex) -> Rebuilt:
    """Make the new index beside the old one."""
    # A rebuild that failed or was killed left it.
    remove_database(directory / _NEW)
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
    """Let the new index take the old one's place, and keep the old one under another name."""
    index = directory / INDEX
    if index.exists():
        put_aside(index, directory / f"{INDEX}.old-{times.stamp(times.now())}")
    take_place(directory / _NEW, index)


__all__ = ["rebuild_index"]
