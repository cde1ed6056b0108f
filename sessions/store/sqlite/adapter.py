"""SQLite under the engine: one connection that writes, in a thread of its own."""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar, Final, Literal

from sessions import times
from sessions.errors import ConfigError, Fenced
from sessions.models import Lease, LetterBounds
from sessions.store.engine.adapter import LeaseGrant
from sessions.store.engine.changes import Changes, FoundRows, Needs
from sessions.store.engine.rows import MessageRow
from sessions.store.sqlite import search
from sessions.store.sqlite.connection import WritingConnection
from sessions.store.sqlite.drafting import Draft, drafted, messages_written
from sessions.store.sqlite.library import Connect, sqlite3
from sessions.store.sqlite.marks import incoming_path
from sessions.store.sqlite.questions import found_in, queries_of
from sessions.store.sqlite.rows import TextRow
from sessions.store.sqlite.schema import MIGRATIONS, VERSION, statements, understood
from sessions.store.sqlite.statements import Query, Rows
from sessions.store.sqlite.transaction import SqliteTransaction

log = logging.getLogger(__name__)

_LEASE: Final = "SELECT epoch, holder, beat FROM lease"
_TAKE: Final = "UPDATE lease SET epoch = ?, holder = ?, beat = ?, proof = ?"
_RENEW: Final = "UPDATE lease SET beat = beat + 1 WHERE epoch = ? RETURNING epoch"
_PUBLISHERS: Final = "SELECT DISTINCT by FROM messages WHERE by IS NOT NULL"
_FOUND_STORE: Final = (
    "INSERT INTO store (one, store_id, texts, created_at, merges) VALUES (1, ?, ?, ?, 0)"
)
_FOUND_LEASE: Final = "INSERT INTO lease (one, epoch, holder, beat) VALUES (1, 0, NULL, 0)"
_FOUND_STREAM: Final = "INSERT INTO stream VALUES (1, 0, 0, 0, 0, 0, 0)"


class SqliteAdapter:
    """The writing side of a store in one SQLite file; see `StoreAdapter`."""

    texts: ClassVar[Literal["rows", "files"]] = "rows"

    def __init__(
        self,
        path: Path,
        *,
        bounds: LetterBounds | None = None,
        clock: Callable[[], int] = times.now,
        connect: Connect = sqlite3.connect,
    ) -> None:
        self.path = path
        self.connect = connect
        self.connection = WritingConnection(path, connect)
        self._bounds = bounds or LetterBounds()
        self._clock = clock
        # Whether words that were erased are still in the search index or the log, and whether
        # they are being merged away.
        self._untidy = False
        self._merging = False

    async def open(self) -> None:
        """Connect, and make the store if there is none."""
        await self.connection.open()
        try:
            await self._make()
        except BaseException:
            # Being cancelled too: the connection's thread would keep the process from ending.
            await self.close()
            raise

    async def close(self) -> None:
        """Disconnect; does nothing if it is not open."""
        await self.connection.close()

    @property
    def steps(self) -> int:
        """Statements run so far."""
        return self.connection.steps

    async def _make(self) -> None:
        """Make the store if there is none; two workers that start at once do it one by one.

        One that was made before stays as it is: only a worker that leads may change it.
        """
        if await self._version() > 0:
            return
        async with self.connection.transaction():
            await self._migrate()

    async def _version(self) -> int:
        return understood(await self.connection.run("PRAGMA user_version"), self.path)

    async def _migrate(self) -> None:
        """Bring the store to this version, inside a transaction; a current one is left alone."""
        version = await self._version()
        if version == VERSION:
            return
        for number in range(version, VERSION):
            for statement in statements(MIGRATIONS[number]):
                await self.connection.run(statement)
        if version == 0:
            await self._found()
        else:
            log.info("upgraded %s from schema version %d to %d", self.path, version, VERSION)
        await self.connection.run(f"PRAGMA user_version = {VERSION}")

    async def _found(self) -> None:
        """Fill the one-row tables of a new store; raises ConfigError if one is moved here."""
        if incoming_path(self.path).exists():
            raise ConfigError(
                f"a move to {self.path} has not ended: go on with `turnstream move`, or drop the "
                "copy with its option --abandon"
            )
        await self.connection.run(_FOUND_STORE, (uuid.uuid4().hex, self.texts, self._clock()))
        await self.connection.run(_FOUND_LEASE)
        await self.connection.run(_FOUND_STREAM)

    # -- the lease ---------------------------------------------------------------------------

    async def take_lead(self, holder: str, seen: Lease | None) -> LeaseGrant | None:
        """Take the lease unless it has moved, and upgrade the store in the same transaction."""
        async with self.connection.transaction():
            return await self._take(holder, seen)

    async def _take(self, holder: str, seen: Lease | None) -> LeaseGrant | None:
        current = await self._lease()
        if seen is not None and current != seen:
            return None
        await self._migrate()
        lease = Lease(current.epoch + 1, holder, current.beat + 1)
        await self.connection.run(_TAKE, (lease.epoch, holder, lease.beat, lease.epoch))
        [(untidy,)] = await self.connection.run("SELECT untidy FROM store")
        publishers = await self.connection.run(_PUBLISHERS)
        # What the leader before left to be done.
        self._untidy, self._merging = bool(untidy), False
        return LeaseGrant(lease, [by for (by,) in publishers])

    async def check_lead(self, epoch: int) -> None:
        """Raise Fenced unless the lease has this epoch."""
        if (await self._lease()).epoch != epoch:
            raise Fenced("another worker leads")

    async def _lease(self) -> Lease:
        [row] = await self.connection.run(_LEASE)
        return Lease(*row)

    # -- transactions ------------------------------------------------------------------------

    @asynccontextmanager
    async def transaction(
        self, epoch: int, needs: Needs | None = None
    ) -> AsyncGenerator[SqliteTransaction]:
        """BEGIN IMMEDIATE, the fence, and everything that is needed, in one hand-over."""
        renewal = Query(_RENEW, (epoch,))
        async with self.connection.transaction(renewal, *queries_of(needs)) as [renewed, *answers]:
            self._check_fence(renewed, epoch)
            yield SqliteTransaction(self, found_in(answers))

    def _check_fence(self, renewed: Rows, epoch: int) -> None:
        if not renewed:
            raise Fenced(f"another worker leads; epoch {epoch} has ended")

    def draft(self, changes: Changes) -> Draft:
        """The statements that write the changes."""
        draft = drafted(changes, self._bounds)
        draft.statements.extend(messages_written(changes.messages))
        return draft

    async def foresee(self, needs: Needs) -> FoundRows:
        """What is needed, read behind what was handed over so far."""
        return found_in(await self.connection.script(queries_of(needs)))

    async def with_texts(self, rows: Sequence[TextRow]) -> list[MessageRow]:
        """The messages of these rows."""
        return [row.with_text(row.content or "") for row in rows]

    # -- housekeeping ------------------------------------------------------------------------

    def note_erasure(self) -> None:
        """Have `tidy` rewrite the search index from its beginning, and empty the log."""
        self._untidy, self._merging = True, False

    async def tidy(self, epoch: int) -> bool:
        """Copy the log back; after an erasure merge the search index too, then empty the log."""
        if not self._untidy:
            await self.connection.run("PRAGMA wal_checkpoint(PASSIVE)")
            return False
        if await self._merge(epoch):
            return True
        [(busy, _, _)] = await self.connection.run("PRAGMA wal_checkpoint(TRUNCATE)")
        if not busy:
            async with self.transaction(epoch):
                await self.connection.run("UPDATE store SET untidy = 0")
            self._untidy = False
        return False

    async def _merge(self, epoch: int) -> bool:
        async with self.transaction(epoch):
            self._merging = await search.merge(
                self.connection, self.with_texts, begun=self._merging
            )
        return self._merging
