"""A store that holds a file of turns, to plant faults in."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path

from cli.stores.turnfile import Turn, TurnFile
from sessions import make_session_backend, wire
from sessions.store.sqlite.library import sqlite3
from tests.events import Fields
from tests.stores import Clock, lead


async def store_file(path: Path, workspace: Path, backend: str) -> None:
    """Apply the turns of the file to a new store, as the worker does."""
    async with make_session_backend(workspace, backend, mode="write") as writer:
        leader = await lead(writer, Clock())
        with TurnFile.opened(path) as file:
            for session in file.sessions:
                await leader.apply(*map(_fields, file.of(session)))
        await writer.release()


def _fields(turn: Turn) -> Fields:
    return {**wire.encode(turn.event())}


@contextmanager
def changing(workspace: Path, database: str = "turnstream.db") -> Generator[sqlite3.Connection]:
    """A connection by which a test does what no worker ever does."""
    with closing(sqlite3.connect(workspace / "sessions" / database)) as connection, connection:
        yield connection
