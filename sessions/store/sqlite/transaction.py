"""A transaction of the leader in SQLite: questions and changes as SQL."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol

from sessions.models import OutcomeKind, StreamCursor
from sessions.store.engine.adapter import KeptLetter
from sessions.store.engine.changes import FoundRows, Needs
from sessions.store.engine.rows import (
    OUTCOME_CODES,
    MessageRow,
    SessionRow,
    columns,
    packed,
)
from sessions.store.image import StoreHead
from sessions.store.sqlite.connection import WritingConnection
from sessions.store.sqlite.drafting import Draft
from sessions.store.sqlite.rows import TextRow
from sessions.store.sqlite.statements import Query, Statement

_MESSAGES: Final = f"SELECT {columns(TextRow)} FROM messages WHERE session_id = ?"
_BEHIND: Final = "FROM messages WHERE session_id = ? AND seq > ?"
_IDLE: Final = (
    f"SELECT {columns(SessionRow)} FROM sessions WHERE live AND last_activity < ? "
    "AND state <> 'running' ORDER BY last_activity LIMIT ?"
)
_CLOSED: Final = (
    "SELECT 1 FROM messages m JOIN events e ON e.event_id = m.event_id "
    "WHERE m.session_id = ? AND m.turn = ? AND e.outcome = ? LIMIT 1"
)
_FORGET_IDS: Final = (
    "DELETE FROM events WHERE event_id IN (SELECT event_id FROM events "
    "WHERE expires_at < ? ORDER BY expires_at LIMIT ?) RETURNING 1"
)
_FORGET_TOMBSTONES: Final = (
    "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions "
    "WHERE NOT live AND ended_at < ? ORDER BY ended_at LIMIT ?) RETURNING 1"
)
_BECOME: Final = (
    "UPDATE store SET store_id = coalesce(?, store_id), created_at = ?, letters_dropped = ?"
)
_MOVE: Final = "UPDATE stream SET epoch = ?, ms = ?, n = ?, resolved = ?, skipped = ?, added = ?"


class TransactionOwner(Protocol):
    """What a transaction needs of the store that it is in."""

    @property
    def connection(self) -> WritingConnection:
        """The connection that writes."""
        ...

    async def with_texts(self, rows: Sequence[TextRow]) -> list[MessageRow]:
        """The messages of these rows."""
        ...

    async def foresee(self, needs: Needs) -> FoundRows:
        """The rows that are needed."""
        ...

    def note_erasure(self) -> None:
        """Text goes for good."""
        ...


class SqliteTransaction:
    """See `Transaction`. Committing and undoing is the adapter's part."""

    def __init__(self, store: TransactionOwner, found: FoundRows) -> None:
        self.found = found
        self._store = store
        self._run: Final[Callable[..., Awaitable[list[tuple[Any, ...]]]]] = store.connection.run

    async def write(self, drafts: Sequence[Draft], cursor: StreamCursor | None = None) -> None:
        """Write down drafts and cursor in one hand-over."""
        statements: list[Statement] = []
        for draft in drafts:
            statements += draft.statements
            if draft.changes.erases:
                self._store.note_erasure()
        if cursor is not None:
            statements.append(_moved(cursor))
        await self._store.connection.script(statements)

    # -- questions ---------------------------------------------------------------------------

    async def find(self, needs: Needs) -> FoundRows:
        """The rows that are needed."""
        return await self._store.foresee(needs)

    async def message_at(self, session_id: int, seq: int) -> MessageRow:
        """The message at a place."""
        [message] = await self._messages("AND seq = ?", session_id, seq)
        return message

    async def last_message(self, session_id: int) -> MessageRow | None:
        """The newest message."""
        found = await self._messages("ORDER BY seq DESC LIMIT 1", session_id)
        return found[0] if found else None

    async def oldest_messages(self, session_id: int, limit: int) -> list[MessageRow]:
        """The oldest messages."""
        return await self._messages("ORDER BY seq LIMIT ?", session_id, limit)

    async def _messages(self, which: str, *parameters: int) -> list[MessageRow]:
        rows = await self._run(f"{_MESSAGES} {which}", parameters)
        return await self._store.with_texts([TextRow(*row) for row in rows])

    async def has_reply(self, session_id: int, after: int, turns: Sequence[str]) -> bool:
        """Whether an assistant's message of one of the turns follows."""
        marks = ", ".join("?" * len(turns))
        sql = f"SELECT 1 {_BEHIND} AND role = 'assistant' AND turn IN ({marks}) LIMIT 1"
        return bool(await self._run(sql, (session_id, after, *turns)))

    async def next_speaker(self, session_id: int, after: int) -> str | None:
        """Who speaks next, of users and assistants without turn."""
        rows = await self._run(
            f"SELECT role {_BEHIND} AND (role = 'user' OR role = 'assistant' AND turn IS NULL) "
            "ORDER BY seq LIMIT 1",
            (session_id, after),
        )
        return rows[0][0] if rows else None

    async def was_closed(self, session_id: int, turn: str | None) -> bool:
        """Whether a no-op left a message of that turn."""
        noop = OUTCOME_CODES[OutcomeKind.NOOP]
        return bool(await self._run(_CLOSED, (session_id, turn, noop)))

    async def letter(self, letter_id: str | None) -> KeptLetter | None:
        """A dead letter."""
        rows = await self._run(
            "SELECT reason, size, payload FROM dead_letters WHERE id = ?", (letter_id,)
        )
        return KeptLetter(*rows[0]) if rows else None

    async def owns_any(self, agent: str) -> bool:
        """Whether an agent has a session."""
        return bool(await self._run("SELECT 1 FROM sessions WHERE agent = ? LIMIT 1", (agent,)))

    async def idle_sessions(self, older_than: int, limit: int) -> list[SessionRow]:
        """Sessions that nobody used for long."""
        return [SessionRow(*row) for row in await self._run(_IDLE, (older_than, limit))]

    # -- retention and lease -----------------------------------------------------------------

    async def forget_ids(self, before: int, limit: int) -> int:
        """Drop ids whose time is up."""
        ids = await self._run(_FORGET_IDS, (before, limit))
        await self._run("DELETE FROM suppressed WHERE expires_at < ?", (before,))
        return len(ids)

    async def forget_tombstones(self, before: int, limit: int) -> int:
        """Drop tombstones whose time is up."""
        return len(await self._run(_FORGET_TOMBSTONES, (before, limit)))

    async def release_lease(self) -> None:
        """Leave the lease without a holder."""
        await self._run("UPDATE lease SET holder = NULL")

    async def become(self, head: StoreHead) -> None:
        """Write down id, age and counter."""
        await self._run(_BECOME, (head.store_id, head.created_at, head.letters_dropped))


def _moved(cursor: StreamCursor) -> Query:
    """What writes the cursor down."""
    place = packed(cursor.applied)
    return Query(_MOVE, (cursor.epoch, *place, cursor.resolved, cursor.skipped, cursor.added))
