"""The writing half of a store in SQLite: lease, batches, housekeeping.

Each public method is one transaction that begins with BEGIN IMMEDIATE and the fence: the lease
row must still have our epoch. What the entries of a batch do is in `applier`.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final

from sessions import times
from sessions.errors import Fenced, Retryable, StoreDamaged
from sessions.ids import space_of
from sessions.models import (
    STREAM_START,
    Entry,
    Lease,
    LetterBounds,
    Poison,
    Reason,
    StreamCursor,
    StreamId,
)
from sessions.store.backend import Following
from sessions.store.engine import recall
from sessions.store.engine.applier import Applier
from sessions.store.engine.ledger import ID_AFTERLIFE, Ledger
from sessions.store.engine.rows import SessionRow, packed, unpacked
from sessions.store.engine.takeback import TakeBack
from sessions.store.engine.texts import Texts
from sessions.store.sqlite import search
from sessions.store.sqlite.connection import WritingConnection
from sessions.store.sqlite.statements import Query, Rows, Statement

log = logging.getLogger(__name__)

# Session rows kept between batches, about 5 MB.
_KNOWN_SESSIONS: Final = 10_000

_STREAM: Final = Query("SELECT epoch, ms, n, resolved, skipped, added FROM stream")
_PUBLISHERS: Final = "SELECT DISTINCT by FROM messages WHERE by IS NOT NULL"
_RENEW: Final = "UPDATE lease SET beat = beat + 1 WHERE epoch = ? RETURNING epoch"


class WritingStore(ABC):
    """The writes of a store. Not for concurrent use: one worker task calls them in turn."""

    _texts: Texts
    _max_content: int
    _bounds: LetterBounds

    def __init__(self, *, clock: Callable[[], int] = times.now) -> None:
        self._clock = clock
        self._epoch: int | None = None
        # Session rows as they were last committed: while this worker leads nobody else changes
        # them, and a session that is busy is asked for again and again.
        self._known: dict[str, SessionRow] = {}
        # The publishers that have a message here, or had one since this worker leads.
        self._spaces: set[str] = set()
        # The batch behind the last one, decided upon what that one left behind.
        self._ahead: asyncio.Task[Applier | None] | None = None
        self._erased = False
        self._merging = False
        self._unsettled = False

    @property
    @abstractmethod
    def _connection(self) -> WritingConnection:
        """The one connection that writes."""

    @abstractmethod
    async def _migrate(self, connection: WritingConnection) -> None:
        """Bring the store to this version, in the transaction that takes the lead."""

    @property
    def steps(self) -> int:
        """Statements run so far."""
        return self._connection.steps

    # -- the lease ---------------------------------------------------------------------------

    async def acquire(self, holder: str, *, seen: Lease | None) -> Lease | None:
        """Take the lead unless the lease has moved since it was `seen`."""
        async with self._connection.transaction():
            current = await self._lease()
            if seen is not None and current != seen:
                return None
            await self._migrate(self._connection)
            taken = Lease(current.epoch + 1, holder, current.beat + 1)
            await self._connection.run(
                "UPDATE lease SET epoch = ?, holder = ?, beat = ?, proof = ?",
                (taken.epoch, taken.holder, taken.beat, taken.epoch),
            )
            [(untidy,)] = await self._connection.run("SELECT untidy FROM store")
            publishers = await self._connection.run(_PUBLISHERS)
            await self._texts.recover()
        self._spaces = {space_of(by) for (by,) in publishers}
        self._epoch = taken.epoch
        self._drop_undone()
        # What the leader before left to be done.
        self._erased, self._merging, self._unsettled = bool(untidy), False, True
        return taken

    async def renew(self, *, added: int | None = None) -> None:
        """Raise the beat, and note Redis' count of entries where it is given."""
        async with self._fenced(decisions_stand=True):
            if added is not None:
                await self._connection.run("UPDATE stream SET added = ?", (added,))

    async def release(self) -> None:
        """Leave the lease without a holder."""
        async with self._fenced():
            await self._connection.run("UPDATE lease SET holder = NULL")
        self._epoch = None

    async def _lease(self) -> Lease:
        [row] = await self._connection.run("SELECT epoch, holder, beat FROM lease")
        return Lease(*row)

    # -- the stream --------------------------------------------------------------------------

    async def begin_epoch(self, *, skipped: int, above: int = 0) -> StreamCursor:
        """Start over at the stream's beginning under the next epoch."""
        async with self._fenced(_STREAM) as [[before]]:
            before = _cursor(before)
            epoch = max(before.epoch, above) + 1
            cursor = StreamCursor(epoch, STREAM_START, 0, skipped, 0)
            await self._connection.script([_moved(cursor)])
        return cursor

    async def shown(self, entries: Sequence[Entry]) -> dict[str, str]:
        """Which of these entries made a message that is there, and in which session."""
        async with self._fenced(decisions_stand=True):
            return await recall.shown(self._connection, entries)

    async def recall(self, entries: Sequence[Entry], *, ended: Mapping[str, StreamId]) -> None:
        """Give entries an outcome that were applied before the index was lost."""
        async with self._fenced():
            await recall.recall(self._connection, entries, ended, now=self._clock())

    async def apply(
        self, entries: Sequence[Entry], *, following: Following | None = None
    ) -> StreamCursor:
        """Apply a batch; one by one where an event of it fails, so that only that one dies."""
        try:
            return await self._commit(entries, following)
        except (Retryable, Fenced, StoreDamaged):
            raise
        except Exception as error:  # noqa: BLE001 - rule 6: whatever else goes wrong is the event's
            if len(entries) == 1:
                return await self._commit([_failed(entries[0], error)])
            log.warning("a batch of %d failed (%s); applying it singly", len(entries), error)
        for entry in entries:
            await self.apply([entry])
        return await self._commit([])

    async def _commit(
        self, entries: Sequence[Entry], following: Following | None = None
    ) -> StreamCursor:
        """Put the entries into the store and move the cursor behind them."""
        await self._settle_texts()
        ahead = await self._take_ahead(entries)
        batch = ahead or self._batch(entries)
        asking = batch.asking() if ahead is None else ()
        async with self._fenced(_STREAM, *asking) as [[before], *found]:
            after = _behind(_cursor(before), entries)
            if ahead is None:
                batch.ledger.begin(after.epoch, found)
            await batch.finish()
            writing = await batch.ledger.writing()
            if following is not None:
                # It runs once the rows of this batch are on their way, and queues up behind them.
                self._ahead = asyncio.create_task(self._look_ahead(following, after.epoch))
            await self._connection.script([*writing, _moved(after)])
            await self._note_erasure(batch.ledger)
        await self._after_erasure(batch.ledger)
        return after

    async def _look_ahead(self, following: Following, epoch: int) -> Applier | None:
        """Decide the batch behind this one, as far as that goes without a transaction.

        It sees what this one wrote, committed or not: nobody else writes. If this one fails, or
        something else is written before it is that batch's turn, what was decided is dropped.
        """
        try:
            entries = await following()
            if not entries:
                return None
            batch = self._batch(entries)
            batch.ledger.begin(epoch, await self._connection.script(batch.asking()))
            batch.decide()
            batch.ledger.draft()
        except Retryable:
            # In its turn it is tried again.
            return None
        except Exception as error:  # noqa: BLE001 - in its turn it fails again, and is dealt with
            log.warning("cannot look ahead: %r", error)
            return None
        return batch

    async def _take_ahead(self, entries: Sequence[Entry]) -> Applier | None:
        """The batch of these entries, if it is the one that was decided ahead."""
        if self._ahead is None:
            return None
        # Waiting for it must neither cancel it nor be cancelled by it.
        await asyncio.wait([self._ahead])
        batch = None if self._ahead.cancelled() else self._ahead.result()
        if batch is None or batch.entries is not entries:
            self._drop_undone()
            return None
        self._ahead = None
        return batch

    def _drop_undone(self) -> None:
        """Drop what was decided in memory and is not committed, sessions and all."""
        # A new dictionary, which nothing that is still at work can change.
        self._known = {}
        if self._ahead is not None:
            self._ahead.cancel()
            self._ahead = None

    def _batch(self, entries: Sequence[Entry]) -> Applier:
        return Applier(
            entries, self._connection, self._texts, self._ledger(), max_content=self._max_content
        )

    def _ledger(self) -> Ledger:
        if len(self._known) > _KNOWN_SESSIONS:
            self._known = {}
        return Ledger(
            self._connection,
            self._texts,
            now=self._clock(),
            sessions=self._known,
            spaces=self._spaces,
            bounds=self._bounds,
        )

    # -- retention ---------------------------------------------------------------------------

    async def expire_sessions(self, *, older_than: int, limit: int) -> int:
        """Delete idle sessions that were last active before `older_than`."""
        await self._settle_texts()
        idle = Query(
            "SELECT key FROM sessions WHERE live AND last_activity < ? "
            "AND state <> 'running' ORDER BY last_activity LIMIT ?",
            (older_than, limit),
        )
        async with self._fenced(_STREAM, idle) as [[before], rows]:
            ledger = self._ledger()
            found = await self._connection.script(ledger.asking(()))
            ledger.begin(_cursor(before).epoch, found)
            await ledger.load_keys([row[0] for row in rows])
            take_back = TakeBack(self._connection, self._texts, ledger)
            for (key,) in rows:
                await take_back.end_generation(ledger.sessions[key], deleted=True)
            await ledger.flush()
            await self._note_erasure(ledger)
        await self._after_erasure(ledger)
        return len(rows)

    async def forget_ids(self, *, before: int, limit: int) -> int:
        """Drop ids, and then tombstones, whose time is up."""
        async with self._fenced():
            ids = await self._connection.run(
                "DELETE FROM events WHERE event_id IN (SELECT event_id FROM events "
                "WHERE expires_at < ? ORDER BY expires_at LIMIT ?) RETURNING 1",
                (before, limit),
            )
            await self._connection.run("DELETE FROM suppressed WHERE expires_at < ?", (before,))
            # A tombstone outlives the ids that point to it: none go before all of those went.
            tombstones = await self._connection.run(
                "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions "
                "WHERE NOT live AND ended_at < ? ORDER BY ended_at LIMIT ?) RETURNING 1",
                (before - ID_AFTERLIFE, limit - len(ids)),
            )
            self._known = {}
        return len(ids) + len(tombstones)

    # -- housekeeping ------------------------------------------------------------------------

    async def tidy(self) -> bool:
        """Copy the log back; after an erasure merge the search index too, then empty the log."""
        await self._check_lead()
        await self._settle_texts()
        if not self._erased:
            await self._connection.run("PRAGMA wal_checkpoint(PASSIVE)")
            return False
        if await self._merge_search():
            return True
        [(busy, _, _)] = await self._connection.run("PRAGMA wal_checkpoint(TRUNCATE)")
        if not busy:
            async with self._fenced(decisions_stand=True):
                await self._connection.run("UPDATE store SET untidy = 0")
            self._erased = False
        return False

    async def _merge_search(self) -> bool:
        async with self._fenced(decisions_stand=True):
            self._merging = await search.merge(self._connection, self._texts, begun=self._merging)
        return self._merging

    async def _note_erasure(self, ledger: Ledger) -> None:
        """Have `tidy`, of this leader or the next, rewrite the search index from its beginning.

        And files follow before anything else is done. All this is noted before COMMIT, because
        what is cancelled there is done all the same.
        """
        if ledger.erased:
            self._erased, self._merging, self._unsettled = True, False, True
            await self._connection.run("UPDATE store SET untidy = 1 WHERE untidy = 0")

    async def _after_erasure(self, ledger: Ledger) -> None:
        """Once it is committed: let files follow, if they can by now."""
        if not ledger.erased:
            return
        try:
            await self._settle_texts()
        except Retryable as error:
            # What was decided is committed; the next transaction waits until this is done.
            log.warning("erased text leaves its files later: %s", error)

    async def _settle_texts(self) -> None:
        """Finish what the transaction before left to be done outside of the index."""
        if self._unsettled:
            async with self._fenced(decisions_stand=True):
                await self._texts.settle()
            self._unsettled = False

    # -- the fence ---------------------------------------------------------------------------

    @asynccontextmanager
    async def _fenced(
        self, *first: Statement, decisions_stand: bool = False
    ) -> AsyncGenerator[list[Rows]]:
        """A transaction of the leader: it renews the lease, or fails if that is another's.

        Gives the rows of what is run `first`, in the hand-over that begins it. What was decided
        ahead is dropped, unless this changes nothing that it stands on.
        """
        if self._epoch is None:
            raise Fenced("this worker does not lead; acquire the lease first")
        if self._ahead is not None and not decisions_stand:
            self._drop_undone()
        renewal = Query(_RENEW, (self._epoch,))
        try:
            async with self._connection.transaction(renewal, *first) as [renewed, *found]:
                self._mind_fence(renewed)
                try:
                    yield found
                except BaseException:
                    # Whatever it is, cancelled or failed, and still under SQLite's lock: later on
                    # the files may be another leader's.
                    await self._texts.undo()
                    raise
            await self._texts.committed()
        except BaseException:
            # Whatever it is, being cancelled too: memory must not go beyond what is committed.
            self._drop_undone()
            raise
        finally:
            self._texts.forget()

    def _mind_fence(self, renewed: Rows) -> None:
        if not renewed:
            raise Fenced(f"another worker leads; epoch {self._epoch} has ended")

    async def _check_lead(self) -> None:
        """The fence alone, where nothing is written that it has to guard."""
        if self._epoch is None or (await self._lease()).epoch != self._epoch:
            raise Fenced("another worker leads")


def _cursor(row: tuple[Any, ...]) -> StreamCursor:
    """The cursor of the row that `_STREAM` gives."""
    return StreamCursor(row[0], unpacked(row[1], row[2]), *row[3:])


def _moved(cursor: StreamCursor) -> Query:
    """What writes the cursor down."""
    place = packed(cursor.applied)
    return Query(
        "UPDATE stream SET epoch = ?, ms = ?, n = ?, resolved = ?, skipped = ?, added = ?",
        (cursor.epoch, *place, cursor.resolved, cursor.skipped, cursor.added),
    )


def _behind(cursor: StreamCursor, entries: Sequence[Entry]) -> StreamCursor:
    """The cursor once these entries are applied too.

    A batch that failed in part comes again: what was resolved then is not counted twice. Whether
    an event takes effect never depends on this, only on its id.
    """
    if not entries:
        return cursor
    fresh = len(entries)
    if entries[0].raw.stream_id <= cursor.applied:
        fresh = sum(entry.raw.stream_id > cursor.applied for entry in entries)
    applied = max(cursor.applied, entries[-1].raw.stream_id)
    return replace(cursor, applied=applied, resolved=cursor.resolved + fresh)


def _failed(entry: Entry, error: Exception) -> Entry:
    """The entry as the dead letter of an error that only it causes."""
    body = entry.body
    event_id = body.event_id if isinstance(body, Poison) else body.id
    detail = f"{type(error).__name__}: {error}"[:200]
    poison = Poison(Reason.APPLY_FAILED, detail, event_id, body.session or None, body.by)
    return Entry(entry.raw, poison, entry.digest)
