"""PostgreSQL under the engine: a batch is one statement that reads and one that writes.

No transaction is open while a batch is decided: the first statement looks at the lease's epoch, and
the second begins with the fence, so it changes nothing if another worker took the lead between
them. A worker that stands still therefore holds no lock. Only what asks between its changes, as
a rollback may, or what removes without a cursor, opens a transaction on the server.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from importlib import resources
from typing import Any, Final

import asyncpg

from drafts.postgres.connection import Row, Server
from sessions.errors import Fenced, StoreTooNew
from sessions.models import Lease, LetterBounds, OutcomeKind, StreamCursor
from sessions.store.engine import rows
from sessions.store.engine.adapter import KeptLetter, LeaseGrant
from sessions.store.engine.changes import Changes, FoundRows, Needs
from sessions.store.engine.rows import MessageRow, SessionRow
from sessions.text import search_words

VERSION: Final = 1
_NOOP: Final = rows.OUTCOME_CODES[OutcomeKind.NOOP]

# The arguments of `write` from `goes` to `new_letters`.
Draft = tuple[Sequence[Any], ...]
_NOTHING: Final[Draft] = ((),) * 9
_WRITE: Final = "SELECT write($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)"
_TAKE: Final = """
    UPDATE lease SET epoch = epoch + 1, holder = $1, beat = beat + 1
    WHERE $2::bigint IS NULL OR epoch = $2 AND beat = $3 AND holder IS NOT DISTINCT FROM $4
    RETURNING epoch, holder, beat,
        ARRAY(SELECT DISTINCT by::varchar FROM messages WHERE by IS NOT NULL)"""
_KNOWN: Final = """
    SELECT l.beat, s.epoch, s.ms, s.n, s.resolved, s.skipped, s.added,
        ARRAY(SELECT e FROM events e WHERE event_id = ANY ($2::varchar[])),
        ARRAY(SELECT e FROM unnest($3::varchar[]) r
              JOIN events e ON event_id > r || '@' AND event_id < r || 'A'),
        ARRAY(SELECT u FROM suppressed u WHERE event_id = ANY ($2)),
        ARRAY(SELECT o FROM sessions o WHERE key = ANY ($4::varchar[])),
        (SELECT coalesce(max(id), 0) + 1 FROM sessions),
        (SELECT coalesce(max(id), 0) + 1 FROM messages)
    FROM lease l, stream s WHERE l.epoch = $1"""
_MESSAGES: Final = f"SELECT {rows.columns(MessageRow)} FROM messages WHERE session_id = $1"
_REPLY: Final = "AND seq > $2 AND role = 'assistant' AND turn = ANY ($3::varchar[]) LIMIT 1"
_SPEAKER: Final = """
    AND seq > $2 AND (role = 'user' OR role = 'assistant' AND turn IS NULL) ORDER BY seq LIMIT 1"""
_CLOSED: Final = """
    SELECT 1 FROM messages m JOIN events e USING (event_id)
    WHERE m.session_id = $1 AND m.turn = $2 AND e.outcome = $3 LIMIT 1"""
_IDLE: Final = f"""
    SELECT {rows.columns(SessionRow)} FROM sessions
    WHERE live = 1 AND last_activity < $1 AND state <> 'running' ORDER BY last_activity LIMIT $2"""
_FORGET_IDS: Final = """
    DELETE FROM events WHERE event_id IN (SELECT event_id FROM events
        WHERE expires_at < $1 ORDER BY expires_at LIMIT $2) RETURNING 1"""
_FORGET_TOMBSTONES: Final = """
    DELETE FROM sessions WHERE id IN (SELECT id FROM sessions
        WHERE live = 0 AND ended_at < $1 ORDER BY ended_at LIMIT $2) RETURNING 1"""


class PostgresAdapter:
    """The writing side of a store in PostgreSQL. `StoreAdapter` says what its methods do."""

    def __init__(self, server: Server, *, bounds: LetterBounds) -> None:
        self.server = server
        self.bounds = bounds
        # Statements begun so far.
        self.steps = 0

    async def make(self) -> None:
        """Make the store if there is none; of two workers that start at once one makes it."""
        folder = resources.files("drafts.postgres")
        sql = "".join(folder.joinpath(f"{one}.sql").read_text() for one in ("schema", "functions"))
        while not (version := await self.server.rows("SELECT version FROM store")):
            with suppress(asyncpg.DuplicateSchemaError, asyncpg.UniqueViolationError):
                async with self.server.connection() as connection:
                    # Many statements without parameters are one transaction.
                    await connection.execute(f'CREATE SCHEMA "{self.server.schema}"; {sql}')
        if version[0][0] > VERSION:
            raise StoreTooNew(f"{self.server.schema} was made by a newer Turnstream; run that one")

    async def take_lead(self, holder: str, seen: Lease | None) -> LeaseGrant | None:
        known = (seen.epoch, seen.beat, seen.holder) if seen is not None else (None,) * 3
        taken = await self.fetch(_TAKE, holder, *known)
        return LeaseGrant(Lease(*taken[0][:3]), taken[0][3]) if taken else None

    async def check_lead(self, epoch: int) -> None:
        if not await self.fetch("SELECT 1 FROM lease WHERE epoch = $1", epoch):
            raise Fenced(f"another worker leads; epoch {epoch} has ended")

    @asynccontextmanager
    async def transaction(
        self, epoch: int, needs: Needs | None = None
    ) -> AsyncGenerator[PostgresTransaction]:
        async with AsyncExitStack() as stack:
            transaction = PostgresTransaction(self, epoch, stack)
            await transaction.begin(needs or Needs())
            yield transaction
            await transaction.end()

    def draft(self, changes: Changes) -> Draft:
        opened = {row.id: row for row in changes.opened}
        return (
            [
                (message.id, message.event_id, gone.how, gone.expires_at)
                for gone in changes.gone
                for message in gone.messages
            ],
            [one.session.key for one in changes.ended],
            changes.purged,
            changes.handovers,
            [*map(rows.session_values, (opened | changes.active | changes.changed).values())],
            [(*row, f" {' '.join(search_words(row.content))} ") for row in changes.messages],
            [*changes.events.values(), *changes.events_again.values()],
            changes.suppressed,
            [(*row, None) for row in changes.letters],
        )

    async def fetch(self, sql: str, *values: object) -> Sequence[Row]:
        """The rows of one statement, which is a transaction by itself."""
        self.steps += 1
        return await self.server.rows(sql, *values)


class PostgresTransaction:
    """See `Transaction`. It gets a connection of its own if something is changed before it ends."""

    found: FoundRows

    def __init__(self, adapter: PostgresAdapter, epoch: int, stack: AsyncExitStack) -> None:
        self._adapter = adapter
        self._epoch = epoch
        self._stack = stack
        self._connection: Any = None
        # The beat when it began; None once this transaction has raised it.
        self._seen: int | None = None

    async def begin(self, needs: Needs) -> None:
        """Look at the fence, and read what is needed."""
        self._seen, self.found = await self._known(needs)

    async def end(self) -> None:
        """Raise the beat, if that was not done by something that was written."""
        if self._seen is not None:
            await self.call(_NOTHING)

    async def write(self, drafts: Sequence[Draft], cursor: StreamCursor | None = None) -> None:
        if cursor is not None:
            place = rows.packed(cursor.applied)
            moved = (cursor.epoch, *place, cursor.resolved, cursor.skipped, cursor.added)
            await self.call(*drafts or [_NOTHING], moved=moved)
        elif drafts:
            await self._stay_open()
            await self.call(*drafts)

    async def call(self, *drafts: Draft, moved: tuple[int, ...] | None = None) -> None:
        """Call `write` for each draft, in one round trip; without a connection it commits too."""
        self._adapter.steps += 1
        bounds = (self._adapter.bounds.count, self._adapter.bounds.size)
        calls: list[tuple[Any, ...]] = []
        for draft in drafts:
            calls.append((self._epoch, self._seen, *draft, *bounds, moved))
            self._seen = None
        if self._connection is not None:
            await self._connection.executemany(_WRITE, calls)
            return
        async with self._adapter.server.connection() as connection:
            await connection.executemany(_WRITE, calls)

    async def _stay_open(self) -> None:
        """Begin, with the fence, a transaction that stays open to the end of the block."""
        if self._connection is None:
            held = self._adapter.server.connection()
            connection = await self._stack.enter_async_context(held)
            await self._stack.enter_async_context(connection.transaction())
            self._connection = connection
            await self.call(_NOTHING)

    async def _fetch(self, sql: str, *values: object) -> Sequence[Row]:
        if self._connection is None:
            return await self._adapter.fetch(sql, *values)
        self._adapter.steps += 1
        return await self._connection.fetch(sql, *values)

    # -- questions ---------------------------------------------------------------------------

    async def find(self, needs: Needs) -> FoundRows:
        return (await self._known(needs))[1]

    async def _known(self, needs: Needs) -> tuple[int, FoundRows]:
        found = await self._fetch(_KNOWN, self._epoch, needs.ids, needs.references, needs.keys)
        if not found:
            raise Fenced(f"another worker leads; epoch {self._epoch} has ended")
        beat, *cursor, events, namesakes, suppressed, sessions, next_session, next_message = found[
            0
        ]
        return beat, FoundRows(
            cursor_of(cursor),
            [rows.EventRow(*row) for row in events],
            [rows.EventRow(*row) for row in namesakes],
            [(row[0], row[1]) for row in suppressed],
            [SessionRow(*row) for row in sessions],
            next_session,
            next_message,
        )

    async def message_at(self, session_id: int, seq: int) -> MessageRow:
        [message] = await self._messages("AND seq = $2", session_id, seq)
        return message

    async def last_message(self, session_id: int) -> MessageRow | None:
        return next(iter(await self._messages("ORDER BY seq DESC LIMIT 1", session_id)), None)

    async def oldest_messages(self, session_id: int, limit: int) -> Sequence[MessageRow]:
        return await self._messages("ORDER BY seq LIMIT $2", session_id, limit)

    async def has_reply(self, session_id: int, after: int, turns: Sequence[str]) -> bool:
        return bool(await self._messages(_REPLY, session_id, after, turns))

    async def next_speaker(self, session_id: int, after: int) -> str | None:
        return next((row.role for row in await self._messages(_SPEAKER, session_id, after)), None)

    async def _messages(self, which: str, *values: object) -> list[MessageRow]:
        return [MessageRow(*row) for row in await self._fetch(f"{_MESSAGES} {which}", *values)]

    async def was_closed(self, session_id: int, turn: str | None) -> bool:
        return bool(await self._fetch(_CLOSED, session_id, turn, _NOOP))

    async def letter(self, letter_id: str | None) -> KeptLetter | None:
        sql = "SELECT reason, size, payload FROM dead_letters WHERE id = $1"
        return next((KeptLetter(*row) for row in await self._fetch(sql, letter_id)), None)

    async def owns_any(self, agent: str) -> bool:
        return bool(await self._fetch("SELECT 1 FROM sessions WHERE agent = $1 LIMIT 1", agent))

    async def idle_sessions(self, older_than: int, limit: int) -> Sequence[SessionRow]:
        return [SessionRow(*row) for row in await self._fetch(_IDLE, older_than, limit)]

    # -- retention and lease -----------------------------------------------------------------

    async def forget_ids(self, before: int, limit: int) -> int:
        await self._stay_open()
        await self._fetch("DELETE FROM suppressed WHERE expires_at < $1", before)
        return len(await self._fetch(_FORGET_IDS, before, limit))

    async def forget_tombstones(self, before: int, limit: int) -> int:
        await self._stay_open()
        return len(await self._fetch(_FORGET_TOMBSTONES, before, limit))

    async def release_lease(self) -> None:
        await self._stay_open()
        await self._fetch("UPDATE lease SET holder = NULL")


def cursor_of(row: Sequence[int]) -> StreamCursor:
    """The cursor of a row of `stream`."""
    return StreamCursor(row[0], rows.unpacked(row[1], row[2]), *row[3:])
