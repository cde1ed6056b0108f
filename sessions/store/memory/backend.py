"""The in-memory backend, which ships for tests of programs that use Turnstream."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Literal, Self

from sessions import times, wire
from sessions.models import LetterBounds
from sessions.store.engine.receipts import Receipt
from sessions.store.engine.receiving import ReceivingWriter
from sessions.store.image import Snapshot
from sessions.store.memory.adapter import MemoryAdapter
from sessions.store.memory.reader import MemoryReader
from sessions.store.memory.snapshot import MemorySnapshot
from sessions.store.memory.store import MemoryStore


class MemoryBackend(MemoryReader, ReceivingWriter):
    """A whole backend on a MemoryStore; see `SessionBackend` for what it promises.

    Nothing of it is on disk. Without `store` it has one of its own; backends that are given the
    same one see the same sessions, as processes on one file do. `clock` tells microseconds.
    """

    name = "memory"

    def __init__(
        self,
        store: MemoryStore | None = None,
        *,
        mode: Literal["read", "write"] = "write",
        max_content: int = wire.DEFAULT_MAX_CONTENT,
        bounds: LetterBounds | None = None,
        clock: Callable[[], int] = times.now,
    ) -> None:
        store = store or MemoryStore()
        adapter = MemoryAdapter(store, bounds=bounds or LetterBounds(), writes=mode == "write")
        MemoryReader.__init__(self, store)
        ReceivingWriter.__init__(self, adapter, max_content=max_content, clock=clock)
        self._writes = mode == "write"

    async def __aenter__(self) -> Self:
        if self._writes and self._store.store_id is None:
            self._store.store_id = uuid.uuid4().hex
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop_leading()

    @asynccontextmanager
    async def snapshot(self) -> AsyncGenerator[Snapshot]:
        """All rows as of one moment."""
        yield MemorySnapshot(self._store.copy())

    async def receipts(self, source: str) -> list[Receipt]:
        """The receipts of one source."""
        return sorted(one for one in self._store.receipts.values() if one.source == source)

    async def receipts_of(self, key: str) -> list[Receipt]:
        """The receipts of one session."""
        return sorted(one for one in self._store.receipts.values() if one.session == key)
