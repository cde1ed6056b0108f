"""The `sqlite` backend: everything in `{workspace}/sessions/turnstream.db`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

from sessions import times, wire
from sessions.models import LetterBounds
from sessions.store.sqlite.adapter import SqliteAdapter
from sessions.store.sqlite.library import Connect, sqlite3
from sessions.store.sqlite.marks import INCOMING
from sessions.store.sqlite.store import SqliteStore

FILE: Final = "turnstream.db"
INCOMING_FILE: Final = f"{FILE}{INCOMING}"


class SqliteBackend(SqliteStore):
    """Sessions, ids, cursor and text in one SQLite file."""

    name = "sqlite"

    def __init__(
        self,
        workspace: Path,
        *,
        mode: Literal["read", "write"],
        max_content: int = wire.DEFAULT_MAX_CONTENT,
        bounds: LetterBounds | None = None,
        clock: Callable[[], int] = times.now,
        connect: Connect = sqlite3.connect,
        file: str = FILE,
    ) -> None:
        path = workspace / "sessions" / file
        adapter = SqliteAdapter(path, bounds=bounds, clock=clock, connect=connect)
        super().__init__(adapter, mode=mode, max_content=max_content, clock=clock)
