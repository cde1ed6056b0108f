"""SQLite's adapter, with the text of messages in files beside the index."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar, Final, Literal

from sessions import times
from sessions.errors import ConfigError
from sessions.models import Lease, LetterBounds, StreamCursor
from sessions.store.engine.adapter import LeaseGrant
from sessions.store.engine.changes import Changes, FoundRows, Needs, OwnerTransfer
from sessions.store.engine.rows import MessageRow, SessionRow, columns
from sessions.store.jsonl.files import SessionFiles
from sessions.store.jsonl.metas import MetaFiles
from sessions.store.jsonl.texts import WritingTexts
from sessions.store.jsonl.threads import FileThreads
from sessions.store.sqlite.adapter import SqliteAdapter
from sessions.store.sqlite.drafting import Draft, drafted
from sessions.store.sqlite.rows import TextRow
from sessions.store.sqlite.statements import insertion
from sessions.store.sqlite.transaction import SqliteTransaction

_INSERT_MESSAGES: Final = insertion("messages", columns(TextRow))
_PLACES: Final = "SELECT place, size FROM messages WHERE id IN (SELECT value FROM json_each(?))"
_OWNED: Final = f"SELECT {columns(SessionRow)} FROM sessions WHERE agent = ?"


class JsonlAdapter(SqliteAdapter):
    """The writing side of the `jsonl` backend: files change inside the index's transactions."""

    texts: ClassVar[Literal["rows", "files"]] = "files"

    def __init__(
        self,
        path: Path,
        threads: FileThreads,
        *,
        bounds: LetterBounds | None = None,
        clock: Callable[[], int] = times.now,
    ) -> None:
        super().__init__(path, bounds=bounds, clock=clock)
        self._files = WritingTexts(path.parent, threads, self.connection.run)
        # Held while texts go to files, before the index is told.
        self._placing = asyncio.Lock()

    async def _found(self) -> None:
        """Begin an index, but never beside files that another index knows.

        Files that another program wrote are no reason: they stay as they are.
        """
        texts = {path.stem for path in SessionFiles(self.path.parent).strays(set())}
        # A session without messages has its meta file alone.
        orphans = texts | {*MetaFiles(self.path.parent).names()}
        await super()._found()
        if orphans:
            raise ConfigError(
                f"{self.path.parent} holds {len(orphans)} session files and no index of them; "
                "rebuild it with `turnstream verify --rebuild-index`, or move the files away"
            )

    async def _take(self, holder: str, seen: Lease | None) -> LeaseGrant | None:
        taken = await super()._take(holder, seen)
        if taken is not None:
            await self._files.recover()
        return taken

    @asynccontextmanager
    async def transaction(
        self, epoch: int, needs: Needs | None = None
    ) -> AsyncGenerator[SqliteTransaction]:
        """A transaction of the index; the files go with it."""
        try:
            async with super().transaction(epoch, needs) as transaction:
                try:
                    yield JsonlTransaction(self, transaction.found, self._files, self._placing)
                except BaseException:
                    # Whatever it is, cancelled or failed, and still under SQLite's lock: later on
                    # the files may be another leader's.
                    await self._files.undo()
                    raise
            await self._files.committed()
        finally:
            self._files.forget()

    def draft(self, changes: Changes) -> Draft:
        """The statements but for the messages: where their lines lie is known when written."""
        return drafted(changes, self._bounds)

    async def foresee(self, needs: Needs) -> FoundRows:
        """What is needed, read behind what is on its way to the index."""
        async with self._placing:
            pass
        return await super().foresee(needs)

    async def with_texts(self, rows: Sequence[TextRow]) -> list[MessageRow]:
        """The messages of these rows, with their text from the files."""
        contents = await self._files.load(rows)
        return [row.with_text(content) for row, content in zip(rows, contents, strict=True)]

    async def finish_erasures(self, epoch: int) -> None:
        """Let files follow what was erased, in a transaction of its own."""
        async with self.transaction(epoch):
            await self._files.finish_replacements()


class JsonlTransaction(SqliteTransaction):
    """A transaction whose changes reach the files before the index."""

    def __init__(
        self, store: JsonlAdapter, found: FoundRows, files: WritingTexts, placing: asyncio.Lock
    ) -> None:
        super().__init__(store, found)
        self._files = files
        self._placing = placing

    async def write(self, drafts: Sequence[Draft], cursor: StreamCursor | None = None) -> None:
        """Write drafts to the files, then files, drafts and cursor to the index."""
        async with self._placing:
            placed = [await self._placed(draft) for draft in drafts]
        await super().write(placed, cursor)

    async def _placed(self, draft: Draft) -> Draft:
        """The draft with rows for its messages, which are in their files by now."""
        changes = draft.changes
        await self._let_go(changes)
        told: dict[int, SessionRow] = {}
        for handover in changes.handovers:
            told |= {row.id: row for row in await self._handed_over(handover)}
        told |= {row.id: row for row in changes.opened} | changes.changed
        if told:
            await self._files.describe([*told.values()])
        if not changes.messages:
            return draft
        rows = await self._files.store(changes.messages, changes.keys)
        return Draft(changes, [*draft.statements, *_INSERT_MESSAGES.of(rows)])

    async def _let_go(self, changes: Changes) -> None:
        for gone in changes.gone:
            if not gone.ends:
                ids = json.dumps([message.id for message in gone.messages])
                places = await self._run(_PLACES, (ids,))
                await self._files.remove(gone.session, [(row[0], row[1]) for row in places])
        for ended in changes.ended:
            await self._files.end(ended.session, deleted=ended.deleted)

    async def _handed_over(self, handover: OwnerTransfer) -> list[SessionRow]:
        """The sessions as they will be."""
        rows = [SessionRow(*row) for row in await self._run(_OWNED, (handover.before,))]
        for row in rows:
            row.agent = handover.after
        return rows
