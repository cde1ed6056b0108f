"""The `jsonl` backend: text in a file for each session, the rest in `index.db` beside them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, TypeVar

from sessions import times, wire
from sessions.errors import StoreUnavailable
from sessions.models import Entry, LetterBounds, Message, SearchHit, StreamId
from sessions.reading import Page, Scope
from sessions.store.image import Snapshot
from sessions.store.jsonl import recall
from sessions.store.jsonl.adapter import JsonlAdapter
from sessions.store.jsonl.files import SessionFiles, TextMoved
from sessions.store.jsonl.frozen import FrozenTexts, frozen_directory
from sessions.store.jsonl.texts import TextsInFiles
from sessions.store.jsonl.threads import FileThreads, explained
from sessions.store.sqlite.marks import INCOMING
from sessions.store.sqlite.readers import ReadConnection
from sessions.store.sqlite.rows import TextRow
from sessions.store.sqlite.snapshot import EmptySnapshot, SqliteSnapshot, head_of
from sessions.store.sqlite.store import SqliteStore

R = TypeVar("R")

INDEX: Final = "index.db"
INCOMING_INDEX: Final = f"{INDEX}{INCOMING}"
# Times that a read is repeated because a file changed under it. Each change is a whole
# transaction, so that a second collision is rare already.
_READ_TRIES: Final = 10


class JsonlBackend(SqliteStore):
    """Sessions as files that people, `jq` and ZeroClaw read."""

    name = "jsonl"

    def __init__(
        self,
        workspace: Path,
        *,
        mode: Literal["read", "write"],
        max_content: int = wire.DEFAULT_MAX_CONTENT,
        bounds: LetterBounds | None = None,
        clock: Callable[[], int] = times.now,
        index: str = INDEX,
    ) -> None:
        directory = workspace / "sessions"
        self._index = directory / index
        self._threads = FileThreads()
        adapter = JsonlAdapter(self._index, self._threads, bounds=bounds, clock=clock)
        super().__init__(adapter, mode=mode, max_content=max_content, clock=clock)
        self._shown = TextsInFiles(SessionFiles(directory), self._threads, self._readers.short)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await super().__aexit__(kind, error, trace)
        self._threads.close()

    async def shown(self, entries: Sequence[Entry]) -> dict[str, str]:
        """Which of these entries made a message that is there, and in which session."""
        async with self.leading():
            return await recall.shown(self._sqlite.connection, entries)

    async def recall(self, entries: Sequence[Entry], *, ended: Mapping[str, StreamId]) -> None:
        """Give entries an outcome that were applied before the index was lost."""
        async with self.leading():
            await recall.recall(self._sqlite.connection, entries, ended, now=self._clock())

    @asynccontextmanager
    async def snapshot(self) -> AsyncGenerator[Snapshot]:
        """All rows as of one moment, with the texts that the files had then."""
        if not self._index.exists():
            yield EmptySnapshot()
            return
        directory = self._index.parent
        with explained(), frozen_directory(directory) as place:
            frozen = FrozenTexts(SessionFiles(directory), place, self._threads)
            for _ in range(_READ_TRIES):
                await frozen.look(self._readers.long)
                async with self._readers.transaction() as connection:
                    snapshot = await _frozen(connection, frozen)
                    if snapshot is not None:
                        yield snapshot
                        return
        raise StoreUnavailable("the session files change faster than they can be read; try again")

    async def _texts(self, rows: Sequence[TextRow]) -> list[str]:
        return await self._shown.load(rows)

    async def history(
        self,
        key: str,
        *,
        generation: int | None = None,
        limit: int = 20,
        cursor: str | None = None,
    ) -> Page[Message]:
        """As the contract says; again where the file changed between index and text."""
        history = super().history
        return await _steadily(
            lambda: history(key, generation=generation, limit=limit, cursor=cursor)
        )

    async def message(self, event_id: str) -> SearchHit | None:
        """As the contract says; again where the file changed between index and text."""
        message = super().message
        return await _steadily(lambda: message(event_id))

    async def search(
        self,
        query: str,
        *,
        scope: Scope | None = None,
        key: str | None = None,
        limit: int = 20,
        cursor: str | None = None,
        seconds: float | None = None,
    ) -> Page[SearchHit]:
        """As the contract says; again where a file changed between index and text."""
        search = super().search
        return await _steadily(
            lambda: search(query, scope=scope, key=key, limit=limit, cursor=cursor, seconds=seconds)
        )


async def _frozen(connection: ReadConnection | None, frozen: FrozenTexts) -> Snapshot | None:
    """The snapshot that begins in this transaction; None if a file changed as it began."""
    if connection is None:
        return EmptySnapshot()

    async def run(sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        return [*map(tuple, await connection.execute_fetchall(sql, parameters))]

    head = await head_of(connection)
    if not await frozen.freeze(run):
        return None
    return SqliteSnapshot(connection, head, lambda rows: frozen.load(run, rows))


async def _steadily(read: Callable[[], Awaitable[R]]) -> R:
    for _ in range(_READ_TRIES):
        try:
            return await read()
        except TextMoved:
            await asyncio.sleep(0)
    raise StoreUnavailable("the session changes faster than it can be read; try again")
