"""The `sqlite` backend: everything in `{workspace}/sessions/turnstream.db`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

from sessions import times, wire
from sessions.models import LetterBounds
from sessions.store.engine.rows import MessageRow, SessionRow
from sessions.store.sqlite.store import Store

FILE: Final = "turnstream.db"


class SqliteBackend(Store):
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
    ) -> None:
        path = workspace / "sessions" / FILE
        super().__init__(
            path,
            lambda _: TextsInRows(),
            mode=mode,
            max_content=max_content,
            bounds=bounds,
            clock=clock,
        )


class TextsInRows:
    """Texts that stay where they are: in the messages' rows."""

    kind = "rows"

    async def store(
        self, messages: Sequence[MessageRow], keys: Mapping[int, str]
    ) -> Sequence[MessageRow]:
        """Leave the content in its row."""
        return messages

    async def load(self, messages: Sequence[MessageRow]) -> list[str]:
        """The contents, from the rows."""
        return [row.content or "" for row in messages]

    async def remove(self, session: SessionRow, messages: Sequence[MessageRow]) -> None:
        """Nothing beside the rows."""

    async def end(self, session: SessionRow, *, deleted: bool) -> None:
        """Nothing beside the rows."""

    async def describe(self, sessions: Sequence[SessionRow]) -> None:
        """Nothing beside the rows."""

    async def committed(self) -> None:
        """Nothing beside the rows."""

    async def undo(self) -> None:
        """SQLite's rollback does it."""

    def forget(self) -> None:
        """Nothing to forget."""

    async def settle(self) -> None:
        """Nothing was left to do."""

    async def recover(self) -> None:
        """SQLite has recovered when it opened the file."""

    def close(self) -> None:
        """Nothing was opened."""
