"""The one writer of a store: lease, fence, batches, erasure, housekeeping, over any adapter.

Everything happens in transactions of the adapter, each of which begins with the fence: the lease
must still have our epoch. What the entries of a batch do is decided in `decider`.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from sessions import times
from sessions.errors import Fenced, Retryable, StoreDamaged
from sessions.models import STREAM_START, Entry, Lease, Poison, Reason, StreamCursor
from sessions.store.backend import Following
from sessions.store.engine.adapter import FinishesErasures, StoreAdapter, Tidying, Transaction
from sessions.store.engine.asking import Deciding
from sessions.store.engine.changes import Needs
from sessions.store.engine.pending import PendingDecisions, drafts_of
from sessions.store.engine.removal import Remover
from sessions.store.engine.tally import OutcomeTally
from sessions.store.engine.workset import ID_RETENTION, Workset
from sessions.wire import DEFAULT_MAX_CONTENT

log = logging.getLogger(__name__)


class Writer:
    """The writes of a store. Not for concurrent use: one worker task calls them in turn."""

    def __init__(
        self,
        adapter: StoreAdapter,
        *,
        max_content: int = DEFAULT_MAX_CONTENT,
        clock: Callable[[], int] = times.now,
    ) -> None:
        self._adapter = adapter
        self._clock = clock
        self._epoch: int | None = None
        self._outcomes = OutcomeTally()
        self._decisions = PendingDecisions(adapter, max_content=max_content, clock=clock)
        # Whether a transaction left an erasure that has to be settled before the next one.
        self._unsettled = False

    @property
    def steps(self) -> int:
        """Grows while the store does anything."""
        return self._adapter.steps

    @property
    def outcomes(self) -> OutcomeTally:
        """What became of the events that this writer has committed."""
        return self._outcomes

    # -- the lease ---------------------------------------------------------------------------

    async def acquire(self, holder: str, *, seen: Lease | None) -> Lease | None:
        """Take the lead unless the lease has moved since it was `seen`."""
        taken = await self._adapter.take_lead(holder, seen)
        if taken is None:
            return None
        self._decisions.begin_term(taken.publishers)
        self._epoch = taken.lease.epoch
        # What the leader before left to be done.
        self._unsettled = True
        return taken.lease

    async def renew(self, *, added: int | None = None) -> None:
        """Raise the beat, and note Redis' count of entries where it is given."""
        async with self.leading(decisions_stand=True) as transaction:
            if added is not None:
                cursor = replace(transaction.found.cursor, added=added)
                await transaction.write((), cursor)

    async def release(self) -> None:
        """Leave the lease without a holder."""
        async with self.leading() as transaction:
            await transaction.release_lease()
        self._epoch = None

    def stop_leading(self) -> None:
        """Lead no more, at a close; the lease stays as it is. Again is no harm."""
        self._decisions.forget()
        self._epoch = None

    # -- the stream --------------------------------------------------------------------------

    async def begin_epoch(self, *, skipped: int, above: int = 0) -> StreamCursor:
        """Start over at the stream's beginning under the next epoch."""
        async with self.leading() as transaction:
            epoch = max(transaction.found.cursor.epoch, above) + 1
            cursor = StreamCursor(epoch, STREAM_START, 0, skipped, 0)
            await transaction.write((), cursor)
        return cursor

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
            kind = type(error).__name__
            log.warning("a batch of %d failed (%s); applying it singly", len(entries), kind)
        for entry in entries:
            await self.apply([entry])
        return await self._commit([])

    async def _commit(
        self, entries: Sequence[Entry], following: Following | None = None
    ) -> StreamCursor:
        """Put the entries into the store and move the cursor behind them."""
        await self._settle()
        (batch, drafts), ahead = await self._decisions.begin(entries)
        needs = None if ahead else batch.needs()
        async with self.leading(needs) as transaction:
            after = _behind(transaction.found.cursor, entries)
            if not ahead:
                batch.work.add_found(transaction.found)
            await self._drive(batch.finish(), transaction, batch.work, drafts)
            drafts += self._drafted(batch.work)
            if following is not None:
                # It runs once the rows of this batch are on their way, and queues up behind them.
                self._decisions.look_ahead(following)
            await transaction.write(drafts, after)
        self._outcomes.add(batch.work.tally)
        await self._settle_if_it_can()
        return after

    async def _drive(
        self,
        decision: Deciding[None],
        transaction: Transaction,
        work: Workset,
        drafts: list[Any],
    ) -> None:
        """Bring a decision to its end, answering what it asks upon everything decided before.

        What is decided then is left to the caller, with the drafts if nothing was asked.
        """
        answer: Any = None
        while True:
            try:
                question = decision.send(answer)
            except StopIteration:
                return
            drafts += self._drafted(work)
            if drafts:
                await transaction.write(drafts)
                drafts.clear()
            answer = await question(transaction)

    def _drafted(self, work: Workset) -> list[Any]:
        """The draft of what was decided since the last time; none if that changes nothing."""
        changes = work.taken_changes()
        # Noted before COMMIT, because what is cancelled there is done all the same.
        self._unsettled = self._unsettled or changes.erases
        return drafts_of(changes, self._adapter)

    # -- retention ---------------------------------------------------------------------------

    async def expire_sessions(self, *, older_than: int, limit: int) -> int:
        """Delete idle sessions that were last active before `older_than`."""
        await self._settle()
        async with self.leading() as transaction:
            work = self._decisions.work()
            rows = await transaction.idle_sessions(older_than, limit)
            for row in rows:
                session = work.sessions.setdefault(row.key, row)
                decision = Remover(work).end_generation(session, deleted=True)
                await self._drive(decision, transaction, work, [])
            await transaction.write(self._drafted(work))
        await self._settle_if_it_can()
        return len(rows)

    async def forget_ids(self, *, before: int, limit: int) -> int:
        """Drop ids, and then tombstones, whose time is up."""
        async with self.leading() as transaction:
            ids = await transaction.forget_ids(before, limit)
            # A tombstone outlives the ids that point to it: none go before all of those went.
            graves = await transaction.forget_tombstones(before - ID_RETENTION, limit - ids)
        self._decisions.forget()
        return ids + graves

    # -- housekeeping ------------------------------------------------------------------------

    async def tidy(self) -> bool:
        """Do one piece of housekeeping, if the store needs any."""
        await self._adapter.check_lead(self._led())
        await self._settle()
        if not isinstance(self._adapter, Tidying):
            return False
        return await self._adapter.tidy(self._led())

    async def _settle(self) -> None:
        """Finish what the transactions before left to do outside of them."""
        if self._unsettled and isinstance(self._adapter, FinishesErasures):
            await self._adapter.finish_erasures(self._led())
        self._unsettled = False

    async def _settle_if_it_can(self) -> None:
        """The same once an erasure is committed: the next transaction waits until it is done."""
        try:
            await self._settle()
        except Retryable as error:
            log.warning("erased text leaves its files later: %s", error)

    # -- the fence ---------------------------------------------------------------------------

    def _led(self) -> int:
        if self._epoch is None:
            raise Fenced("this worker does not lead; acquire the lease first")
        return self._epoch

    @asynccontextmanager
    async def leading(
        self, needs: Needs | None = None, *, decisions_stand: bool = False
    ) -> AsyncGenerator[Transaction]:
        """A transaction of the leader: it renews the lease, or fails if that is another's.

        What was decided ahead is dropped, unless this changes nothing that it stands on.
        """
        epoch = self._led()
        if not decisions_stand:
            self._decisions.drop_ahead()
        try:
            async with self._adapter.transaction(epoch, needs) as transaction:
                yield transaction
        except BaseException:
            # Whatever it is, being cancelled too: memory must not go beyond what is committed.
            self._decisions.forget()
            raise


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
    log.error(
        "an event cannot be applied and becomes a dead letter",
        exc_info=error,
        extra={"event_id": event_id, "session": body.session or None},
    )
    poison = Poison(Reason.APPLY_FAILED, detail, event_id, body.session or None, body.by)
    return Entry(entry.raw, poison, entry.digest)
