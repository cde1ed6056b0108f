"""The writing half of a store in SQLite: lease, batches, housekeeping.

Each public method is one transaction that begins with BEGIN IMMEDIATE and the fence: the lease
row must still have our epoch. Events that only add (append, rename, state, context) are decided
in memory for the whole batch; the rare others (rollback, reset, delete, dead) flush what came
before them and then ask the store.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiosqlite

from sessions import times, wire
from sessions.backends import rules
from sessions.backends.connection import StoreDamaged, translated
from sessions.backends.ledger import ID_AFTERLIFE, Ledger, Texts
from sessions.backends.rows import (
    AWAITED,
    OUTCOME_CODES,
    EventRow,
    MessageRow,
    SessionRow,
    columns,
)
from sessions.errors import Fenced, Retryable
from sessions.models import (
    STREAM_START,
    Entry,
    Event,
    EventType,
    Lease,
    OutcomeKind,
    Poison,
    RawEntry,
    Reason,
    StreamCursor,
    StreamId,
)

log = logging.getLogger(__name__)

# Messages taken out of a session in one step: enough to be quick, few enough that the supervisor
# sees steps while a session of a million messages goes.
_REMOVAL_STEP: Final = 500
# Pages of the search index merged in one step of housekeeping, about 10 ms.
_MERGE_STEP: Final = 128
_MESSAGE_COLUMNS: Final = columns(MessageRow)
_ADDING: Final = frozenset({EventType.APPEND, EventType.RENAME, EventType.STATE, EventType.CONTEXT})


class WritingStore(ABC):
    """The writes of a store. Not for concurrent use: one worker task calls them in turn."""

    _path: Path
    _texts: Texts
    _max_content: int

    def __init__(self, *, clock: Callable[[], int] = times.now) -> None:
        self._clock = clock
        self._epoch: int | None = None
        self._stream: StreamCursor | None = None
        self._erased = False
        self._merging = False
        self._steps = 0

    @property
    @abstractmethod
    def _connection(self) -> aiosqlite.Connection:
        """The one connection that writes."""

    @property
    def steps(self) -> int:
        """Statements run so far."""
        return self._steps

    # -- the lease ---------------------------------------------------------------------------

    async def acquire(self, holder: str, *, seen: Lease | None) -> Lease | None:
        """Take the lead unless the lease has moved since it was `seen`."""
        async with self._transaction():
            current = await self._lease()
            if seen is not None and current != seen:
                return None
            taken = Lease(current.epoch + 1, holder, current.beat + 1)
            await self._run(
                "UPDATE lease SET epoch = ?, holder = ?, beat = ?",
                (taken.epoch, taken.holder, taken.beat),
            )
        self._epoch = taken.epoch
        self._stream = await self._read_stream()
        return taken

    async def renew(self, *, added: int | None = None) -> None:
        """Raise the beat, and note Redis' count of entries where it is given."""
        async with self._fenced():
            if added is not None:
                await self._run("UPDATE stream SET added = ?", (added,))

    async def release(self) -> None:
        """Leave the lease without a holder."""
        async with self._fenced():
            await self._run("UPDATE lease SET holder = NULL")
        self._epoch = None

    async def _lease(self) -> Lease:
        [row] = await self._run("SELECT epoch, holder, beat FROM lease")
        return Lease(*row)

    # -- the stream --------------------------------------------------------------------------

    async def begin_epoch(self, *, skipped: int, above: int = 0) -> StreamCursor:
        """Start over at the stream's beginning under the next epoch."""
        async with self._fenced():
            before = await self._read_stream()
            epoch = max(before.epoch, above) + 1
            cursor = StreamCursor(epoch, STREAM_START, 0, skipped, 0)
            await self._write_stream(cursor)
        self._stream = cursor
        return cursor

    async def _read_stream(self) -> StreamCursor:
        [row] = await self._run("SELECT epoch, ms, n, resolved, skipped, added FROM stream")
        return StreamCursor(row[0], StreamId(row[1], row[2]), *row[3:])

    async def _write_stream(self, cursor: StreamCursor) -> None:
        await self._run(
            "UPDATE stream SET epoch = ?, ms = ?, n = ?, resolved = ?, skipped = ?, added = ?",
            (cursor.epoch, *cursor.applied, cursor.resolved, cursor.skipped, cursor.added),
        )

    async def apply(self, entries: Sequence[Entry]) -> StreamCursor:
        """Apply a batch; one by one where an event of it fails, so that only that one dies."""
        try:
            return await self._apply_batch(entries)
        except (Retryable, Fenced, StoreDamaged):
            raise
        except Exception as error:  # noqa: BLE001 - rule 6: whatever else goes wrong is the event's
            if len(entries) == 1:
                return await self._apply_batch([_failed(entries[0], error)])
            log.warning("a batch of %d failed (%s); applying it singly", len(entries), error)
        cursor = self._require_stream()
        for entry in entries:
            cursor = await self.apply([entry])
        return cursor

    async def _apply_batch(self, entries: Sequence[Entry]) -> StreamCursor:
        before = self._require_stream()
        after = StreamCursor(
            before.epoch,
            entries[-1].raw.stream_id,
            before.resolved + len(entries),
            before.skipped,
            before.added,
        )
        async with self._fenced():
            ledger = Ledger(self._connection, self._texts, epoch=before.epoch, now=self._clock())
            await ledger.prepare()
            await ledger.load(entry.body for entry in entries)
            for entry in entries:
                await self._take(entry, ledger)
            await ledger.flush()
            await self._write_stream(after)
        self._stream = after
        return after

    def _require_stream(self) -> StreamCursor:
        if self._stream is None:
            raise Fenced("this worker does not lead; acquire the lease first")
        return self._stream

    # -- one entry ---------------------------------------------------------------------------

    async def _take(self, entry: Entry, ledger: Ledger) -> None:
        """Give one entry its place: a duplicate, a dead letter, or an event that is decided."""
        body = entry.body
        event_id = body.event_id if isinstance(body, Poison) else body.id
        known = ledger.events.get(event_id) if event_id is not None else None
        if known is not None and known.outcome != AWAITED:
            self._repeat(entry, known, ledger)
        elif isinstance(body, Poison):
            ledger.bury_entry(entry, body)
        else:
            await self._decide(entry, body, ledger)

    def _repeat(self, entry: Entry, known: EventRow, ledger: Ledger) -> None:
        """An id that has its outcome [1, 7]: count it, and keep what contradicts it."""
        if known.stands_at(entry.raw.stream_id):
            return
        known.duplicates += 1
        ledger.change_event(known)
        if known.digest != entry.digest:
            session = entry.body.session
            detail = f"id {known.event_id} was used before with another payload"
            ledger.bury_entry(entry, Poison(Reason.ID_CONFLICT, detail, known.event_id, session))

    async def _decide(self, entry: Entry, event: Event, ledger: Ledger) -> None:
        """Settle an event that has no outcome yet."""
        if event.type is EventType.DEAD:
            await self._dead(entry, event, ledger)
            return
        session = ledger.sessions.get(event.session)
        awaited = ledger.events.get(event.id)
        opener = ledger.events.get(event.turn) if event.turn not in (None, event.id) else None
        reason = rules.refusal(event, session, opener)
        if awaited is not None and awaited.outcome == AWAITED and awaited.session == event.session:
            reason = Reason.ALREADY_ROLLED_BACK
        if reason is not None:
            ledger.settle(entry, event, OutcomeKind.NOOP, reason=reason)
        elif event.type in _ADDING:
            self._add(entry, event, session, ledger)
        else:
            await self._take_back(entry, event, session, ledger)

    def _add(self, entry: Entry, event: Event, session: SessionRow | None, ledger: Ledger) -> None:
        """An append, rename, state or context: what needs no look into the store."""
        session = self._open_session(event, session, ledger)
        seq = None
        if event.type is EventType.APPEND:
            assert event.role is not None
            assert event.content is not None
            seq = ledger.add_message(
                session, event, role=event.role, content=event.content, turn=event.turn
            ).seq
        if event.type is EventType.RENAME:
            session.name = event.name or None
        rules.take_state(session, event, ledger.now)
        ledger.touch(
            session,
            changed=rules.take_routing(session, event) or event.type is not EventType.APPEND,
        )
        ledger.settle(entry, event, OutcomeKind.APPLIED, session=session, seq=seq)

    def _open_session(self, event: Event, session: SessionRow | None, ledger: Ledger) -> SessionRow:
        if session is not None and session.live:
            return session
        moment = min(event.at if event.at is not None else ledger.now, ledger.now)
        if session is None:
            return ledger.new_session(rules.opened(event.session, 0, 1, moment))
        rules.reopen(session, moment)
        ledger.touch(session, changed=True)
        return session

    async def _take_back(
        self, entry: Entry, event: Event, session: SessionRow | None, ledger: Ledger
    ) -> None:
        """A rollback, reset or delete: it works on what the store holds by now."""
        await ledger.flush()
        if event.type is EventType.ROLLBACK:
            await self._rollback(entry, event, session, ledger)
            return
        assert session is not None
        await self._end_generation(session, ledger, deleted=event.type is EventType.DELETE)
        if event.type is EventType.RESET:
            rules.take_routing(session, event)
        ledger.settle(entry, event, OutcomeKind.APPLIED, session=session)

    # -- rollback ----------------------------------------------------------------------------

    async def _rollback(
        self, entry: Entry, event: Event, session: SessionRow | None, ledger: Ledger
    ) -> None:
        if event.target is not None:
            reason = await self._rollback_target(entry, event, event.target, session, ledger)
        else:
            assert session is not None
            reason = await self._rollback_last(event, session, ledger)
        seq = None
        if session is not None and await self._must_close(event, session, reason):
            assert event.close_with is not None
            turn = event.target or event.turn
            seq = ledger.add_message(
                session, event, role="assistant", content=event.close_with, turn=turn
            ).seq
        applied = reason in (None, Reason.TARGET_NOT_SEEN)
        if session is not None and applied and rules.take_routing(session, event):
            ledger.touch(session, changed=True)
        ledger.settle(
            entry,
            event,
            OutcomeKind.APPLIED if applied else OutcomeKind.NOOP,
            reason=reason,
            session=session if applied else None,
            seq=seq,
        )

    async def _must_close(self, event: Event, session: SessionRow, reason: Reason | None) -> bool:
        """Whether `close_with` is to be appended: once for a target, however often taken back."""
        if event.close_with is None or reason not in (Reason.ANSWERED, Reason.NOT_LAST):
            return False
        # The only messages that a no-op made are such closings.
        return event.target is None or not await self._run(
            "SELECT 1 FROM messages m JOIN events e ON e.event_id = m.event_id "
            "WHERE m.session_id = ? AND m.turn = ? AND e.outcome = ? LIMIT 1",
            (session.id, event.target, OUTCOME_CODES[OutcomeKind.NOOP]),
        )

    async def _rollback_target(
        self,
        entry: Entry,
        event: Event,
        target_id: str,
        session: SessionRow | None,
        ledger: Ledger,
    ) -> Reason | None:
        """Remove exactly the target; None where that was done."""
        target = ledger.events.get(target_id)
        if target is None or (target.outcome == AWAITED and target.session != event.session):
            ledger.suppress(target_id, event.session, entry.raw.stream_id)
            return Reason.TARGET_NOT_SEEN
        if target.outcome == AWAITED:
            return Reason.ALREADY_ROLLED_BACK
        reason = rules.rollback_refusal(target, session, event.session)
        if reason is not None or session is None:
            return reason
        message = await self._message(session, "AND seq = ?", target.seq)
        if message is None or message.role != "user" or message.event_id != target_id:
            return Reason.NOT_USER_APPEND
        if await self._is_answered(session, message):
            return Reason.ANSWERED
        await self._remove(session, message, ledger)
        return None

    async def _rollback_last(
        self, event: Event, session: SessionRow, ledger: Ledger
    ) -> Reason | None:
        """Remove the last message if it is the user append that is expected."""
        message = await self._message(session, "ORDER BY seq DESC LIMIT 1")
        if message is None or message.role != "user":
            return Reason.NOT_LAST
        [content] = await self._texts.load([message])
        if content != event.expect:
            return Reason.NOT_LAST
        await self._remove(session, message, ledger)
        return None

    async def _message(
        self, session: SessionRow, which: str, *parameters: int | None
    ) -> MessageRow | None:
        rows = await self._run(
            f"SELECT {_MESSAGE_COLUMNS} FROM messages WHERE session_id = ? {which}",
            (session.id, *parameters),
        )
        return MessageRow(*rows[0]) if rows else None

    async def _is_answered(self, session: SessionRow, message: MessageRow) -> bool:
        """Whether a later assistant append answers this user append [3]."""
        after = "FROM messages WHERE session_id = ? AND seq > ?"
        place = (session.id, message.seq)
        if await self._run(
            f"SELECT 1 {after} AND role = 'assistant' AND turn IN (?, ?) LIMIT 1",
            (*place, message.event_id, message.turn),
        ):
            return True
        if message.turn is not None:
            return False
        following = await self._run(
            f"SELECT role {after} AND (role = 'user' OR role = 'assistant' AND turn IS NULL) "
            "ORDER BY seq LIMIT 1",
            place,
        )
        return bool(following) and following[0][0] == "assistant"

    async def _remove(self, session: SessionRow, message: MessageRow, ledger: Ledger) -> None:
        """Take one user append out of its session."""
        await ledger.load_ids([message.event_id])
        await ledger.drop_words([message])
        await self._texts.remove(session, [message])
        await self._run("DELETE FROM messages WHERE id = ?", (message.id,))
        session.message_count -= 1
        ledger.touch(session)
        ledger.mark_gone(message.event_id, Reason.ALREADY_ROLLED_BACK)
        self._erased = True

    # -- reset, delete, retention ------------------------------------------------------------

    async def _end_generation(self, session: SessionRow, ledger: Ledger, *, deleted: bool) -> None:
        """Forget the text of a session; what remains keeps late events out [4, 9]."""
        gone = Reason.DELETED if deleted else Reason.RESET
        while rows := await self._run(
            f"SELECT {_MESSAGE_COLUMNS} FROM messages WHERE session_id = ? ORDER BY seq LIMIT ?",
            (session.id, _REMOVAL_STEP),
        ):
            messages = [MessageRow(*row) for row in rows]
            await ledger.drop_words(messages)
            await self._run(
                "DELETE FROM messages WHERE session_id = ? AND seq <= ?",
                (session.id, messages[-1].seq),
            )
            await ledger.forget_messages([row.event_id for row in messages], gone)
        await self._texts.end(session, deleted=deleted)
        await self._run("DELETE FROM dead_letters WHERE session = ?", (session.key,))
        if deleted:
            rules.bury(session, ledger.now)
        else:
            rules.clear(session)
        ledger.touch(session, changed=True)
        self._erased = True

    async def expire_sessions(self, *, older_than: int, limit: int) -> int:
        """Delete idle sessions that were last active before `older_than`."""
        async with self._fenced():
            ledger = Ledger(
                self._connection,
                self._texts,
                epoch=self._require_stream().epoch,
                now=self._clock(),
            )
            rows = await self._run(
                "SELECT key FROM sessions WHERE live AND last_activity < ? "
                "AND state <> 'running' ORDER BY last_activity LIMIT ?",
                (older_than, limit),
            )
            await ledger.load_keys([row[0] for row in rows])
            for session in list(ledger.sessions.values()):
                await self._end_generation(session, ledger, deleted=True)
            await ledger.flush()
        return len(rows)

    async def forget_ids(self, *, before: int, limit: int) -> int:
        """Drop ids, and then tombstones, whose time is up."""
        async with self._fenced():
            rows = await self._run(
                "DELETE FROM events WHERE event_id IN (SELECT event_id FROM events "
                "WHERE expires_at < ? ORDER BY expires_at LIMIT ?) RETURNING 1",
                (before, limit),
            )
            # A tombstone outlives the ids that point to it.
            if not rows:
                rows = await self._run(
                    "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions "
                    "WHERE NOT live AND ended_at < ? LIMIT ?) RETURNING 1",
                    (before - ID_AFTERLIFE, limit),
                )
        return len(rows)

    # -- dead letters ------------------------------------------------------------------------

    async def _dead(self, entry: Entry, event: Event, ledger: Ledger) -> None:
        """Replay or purge a dead letter."""
        await ledger.flush()
        rows = await self._run(
            "SELECT reason, payload FROM dead_letters WHERE id = ?", (event.target,)
        )
        reason: Reason | None = None
        if not rows:
            reason = Reason.NO_DEAD_LETTER
        elif event.action == "replay":
            reason = await self._replay(entry, rows[0][0], rows[0][1], ledger)
        if reason is None:
            await self._run("DELETE FROM dead_letters WHERE id = ?", (event.target,))
            self._erased = True
        kind = OutcomeKind.APPLIED if reason is None else OutcomeKind.NOOP
        ledger.settle(entry, event, kind, reason=reason)

    async def _replay(
        self, entry: Entry, died_of: str, payload: bytes, ledger: Ledger
    ) -> Reason | None:
        """Decide the letter's event as if it stood here; why not, where it cannot be."""
        try:
            fields = wire.unframe(payload)
        except ValueError:
            return Reason.NOT_REPLAYABLE
        if died_of == Reason.UNDECODABLE:
            return Reason.NOT_REPLAYABLE
        again = wire.decode(RawEntry(entry.raw.stream_id, fields), max_content=self._max_content)
        body = again.body
        if isinstance(body, Poison) or body.type is EventType.DEAD:
            return Reason.STILL_DEAD
        await ledger.load([body])
        known = ledger.events.get(body.id)
        if known is not None and known.outcome not in (AWAITED, rules.DEAD):
            return Reason.STILL_DEAD
        await self._decide(again, body, ledger)
        await ledger.flush()
        return None

    # -- housekeeping ------------------------------------------------------------------------

    async def tidy(self) -> bool:
        """Copy the log back; after an erasure merge the search index too, then empty the log."""
        if not self._erased:
            await self._run("PRAGMA wal_checkpoint(PASSIVE)")
            return False
        if await self._merge_search():
            return True
        [(busy, _, _)] = await self._run("PRAGMA wal_checkpoint(TRUNCATE)")
        self._erased = bool(busy)
        return False

    async def _merge_search(self) -> bool:
        """One step of rewriting the search index without its deleted words; True if more waits."""
        async with self._fenced():
            before = self._connection.total_changes
            await self._run(
                "INSERT INTO search (search, rank) VALUES ('merge', ?)",
                (_MERGE_STEP if self._merging else -_MERGE_STEP,),
            )
            # FTS5 documents fewer than two changes as "nothing was left to merge".
            self._merging = self._connection.total_changes - before >= 2
        return self._merging

    # -- transactions ------------------------------------------------------------------------

    @asynccontextmanager
    async def _fenced(self) -> AsyncGenerator[None]:
        """A transaction of the leader: it renews the lease, or fails if that is another's."""
        if self._epoch is None:
            raise Fenced("this worker does not lead; acquire the lease first")
        async with self._transaction():
            renewed = await self._run(
                "UPDATE lease SET beat = beat + 1 WHERE epoch = ? RETURNING epoch", (self._epoch,)
            )
            if not renewed:
                raise Fenced(f"another worker leads; epoch {self._epoch} has ended")
            yield

    @asynccontextmanager
    async def _transaction(self) -> AsyncGenerator[None]:
        with translated(self._path):
            await self._run("BEGIN IMMEDIATE")
            try:
                yield
                await self._run("COMMIT")
            except BaseException:
                # SQLite ends a transaction by itself on a full disk.
                if self._connection.in_transaction:
                    await self._run("ROLLBACK")
                raise

    async def _run(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        self._steps += 1
        return [*map(tuple, await self._connection.execute_fetchall(sql, parameters))]


def _failed(entry: Entry, error: Exception) -> Entry:
    """The entry as the dead letter of an error that only it causes."""
    body = entry.body
    event_id = body.event_id if isinstance(body, Poison) else body.id
    detail = f"{type(error).__name__}: {error}"[:200]
    poison = Poison(Reason.APPLY_FAILED, detail, event_id, body.session or None)
    return Entry(entry.raw, poison, entry.digest)
