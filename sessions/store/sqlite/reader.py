"""The reading half of a store in SQLite. Every method is one statement, so that it sees one state.

Lists are paged by the last row shown (keyset), never by offset: a page costs what it returns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sessions.ids import shown_id
from sessions.models import (
    STREAM_START,
    DeadLetter,
    Lease,
    Message,
    Outcome,
    Routing,
    SearchHit,
    Session,
    StreamCursor,
    StreamId,
)
from sessions.reading import Page, Scope, SessionFilter
from sessions.store.cursors import cursor_after, rank_of
from sessions.store.engine.rows import (
    EventRow,
    columns,
    outcome_of,
    packed,
    unpacked,
)
from sessions.store.sqlite.readers import Readers
from sessions.store.sqlite.rows import TextRow, cursor_of
from sessions.text import search_expression

_SESSION: Final = (
    "s.key, s.generation, s.name, s.agent, s.channel, s.room, s.sender, s.state, s.turn, "
    "s.state_since, s.created_at, s.last_activity, s.message_count, s.owned_from"
)
_LAST_ACTIVITY: Final = _SESSION.split(", ").index("s.last_activity")
_MESSAGE: Final = ", ".join(f"m.{name}" for name in columns(TextRow).split(", "))
_CONTENT: Final = columns(TextRow).split(", ").index("content")
_EVENT: Final = ", ".join(f"e.{name}" for name in columns(EventRow).split(", "))
_LETTER: Final = "id, reason, detail, session, event_id, size, sha256, ms, n, at, payload, by"
_CURSOR: Final = "SELECT epoch, ms, n, resolved, skipped, added FROM stream"


class ReadingStore:
    """The reads of a store. A store that was not made yet answers every statement with nothing."""

    _readers: Readers

    async def _texts(self, rows: Sequence[TextRow]) -> list[str]:
        """The contents of stored messages, in order: they are in the rows."""
        return [row.content or "" for row in rows]

    async def store_id(self) -> str | None:
        """The store's random id."""
        rows = await self._readers.short("SELECT store_id FROM store", any_version=True)
        return rows[0][0] if rows else None

    async def cursor(self) -> StreamCursor:
        """How far the stream is applied."""
        rows = await self._readers.short(_CURSOR, any_version=True)
        if not rows:
            return StreamCursor(0, STREAM_START, 0, 0, 0)
        return cursor_of(rows[0])

    async def lease(self) -> Lease:
        """Who leads."""
        rows = await self._readers.short("SELECT epoch, holder, beat FROM lease", any_version=True)
        return Lease(*rows[0]) if rows else Lease(0, None, 0)

    async def session(self, key: str) -> Session | None:
        """One live session."""
        rows = await self._readers.short(
            f"SELECT {_SESSION} FROM sessions s WHERE key = ? AND live", (key,)
        )
        return Session(*rows[0]) if rows else None

    async def sessions(
        self,
        *,
        scope: Scope | None = None,
        where: SessionFilter | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Session]:
        """A page of sessions, newest activity first."""
        narrow, values = _narrowing(where or SessionFilter())
        if cursor is not None:
            narrow.append("(s.last_activity, s.id) < (?, ?)")
            values.extend(rank_of(cursor, places=2))
        branches = _scope_branches(scope)
        # One index scan for each way of belonging to an agent, each stopped at the limit.
        selects = [
            f"SELECT * FROM (SELECT {_SESSION}, s.id FROM sessions s "
            f"WHERE {' AND '.join(['s.live', *narrow, *clauses])} "
            "ORDER BY s.last_activity DESC, s.id DESC LIMIT ?)"
            for clauses, _ in branches
        ]
        parameters = [value for _, owned in branches for value in (*values, *owned, limit + 1)]
        rows = await self._readers.short(
            f"{' UNION ALL '.join(selects)} ORDER BY last_activity DESC, id DESC LIMIT ?",
            (*parameters, limit + 1),
            most=limit + 1,
        )
        shown = rows[:limit]
        more = None
        if shown and len(rows) > limit:
            more = cursor_after((shown[-1][_LAST_ACTIVITY], shown[-1][-1]))
        return Page([Session(*row[:-1]) for row in shown], more)

    async def history(
        self,
        key: str,
        *,
        generation: int | None = None,
        limit: int = 20,
        cursor: str | None = None,
    ) -> Page[Message]:
        """A page of a session's messages, the newest first page, oldest first within it."""
        before = _below(cursor)
        rows = await self._readers.short(
            f"SELECT {_MESSAGE} FROM messages m WHERE m.session_id = "
            "(SELECT id FROM sessions WHERE key = ? AND live AND generation = "
            "coalesce(?, generation)) AND m.seq < ? ORDER BY m.seq DESC LIMIT ?",
            (key, generation, before, limit + 1),
            most=limit + 1,
            size=_text_of,
        )
        stored = [TextRow(*row) for row in rows[:limit]]
        stored.reverse()
        more = str(stored[0].seq) if stored and len(rows) > limit else None
        return Page(await self._messages(stored), more)

    async def message(self, event_id: str) -> SearchHit | None:
        """The message of one event."""
        rows = await self._readers.short(
            f"SELECT s.key, {_MESSAGE} FROM events e "
            "JOIN messages m ON m.session_id = e.session_id AND m.seq = e.seq "
            "AND m.event_id = e.event_id "
            "JOIN sessions s ON s.id = m.session_id WHERE e.event_id = ? AND s.live",
            (event_id,),
        )
        if not rows:
            return None
        messages = await self._messages([TextRow(*rows[0][1:])])
        return SearchHit(rows[0][0], messages[0])

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
        """Messages with every word of the query, newest first."""
        expression = search_expression(query)
        if expression is None:
            return Page([], None)
        clauses = ["search MATCH ?", "search.rowid < ?", "s.live"]
        values: list[Any] = [expression, _below(cursor)]
        if key is not None:
            clauses.append("s.key = ?")
            values.append(key)
        if scope is not None:
            branches = _scope_branches(scope)
            clauses.append(f"({' OR '.join(' AND '.join(own) for own, _ in branches)})")
            values.extend(value for _, owned in branches for value in owned)
        rows = await self._readers.long(
            f"SELECT s.key, {_MESSAGE} FROM search "
            "CROSS JOIN messages m ON m.id = search.rowid "
            "CROSS JOIN sessions s ON s.id = m.session_id "
            f"WHERE {' AND '.join(clauses)} ORDER BY search.rowid DESC LIMIT ?",
            (*values, limit + 1),
            seconds=seconds,
        )
        found = [TextRow(*row[1:]) for row in rows[:limit]]
        messages = await self._messages(found)
        hits = [SearchHit(row[0], message) for row, message in zip(rows, messages, strict=False)]
        more = str(found[-1].id) if found and len(rows) > limit else None
        return Page(hits, more)

    async def routing_of(self, key: str) -> Routing | None:
        """Owner and routing of a session or of its tombstone."""
        rows = await self._readers.short(
            "SELECT agent, channel, room, sender, live, owned_from FROM sessions WHERE key = ?",
            (key,),
        )
        if not rows:
            return None
        *routing, live, owned_from = rows[0]
        return Routing(*routing, live=bool(live), owned_from=owned_from)

    async def owners(self) -> list[tuple[str | None, int]]:
        """Who owns how many sessions, most first."""
        rows = await self._readers.long(
            "SELECT agent, count(*) FROM sessions WHERE live GROUP BY agent "
            "ORDER BY count(*) DESC, agent"
        )
        return [(row[0], row[1]) for row in rows]

    async def outcome(self, event_id: str) -> Outcome | None:
        """The outcome of an id that was seen."""
        rows = await self._readers.short(
            f"SELECT {_EVENT}, coalesce(s.key, e.session) FROM events e "
            "LEFT JOIN sessions s ON s.id = e.session_id WHERE e.event_id = ?",
            (event_id,),
        )
        return outcome_of(EventRow(*rows[0][:-1]), rows[0][-1]) if rows else None

    async def dead_letters(self, *, limit: int = 50, cursor: str | None = None) -> Page[DeadLetter]:
        """A page of dead letters, newest first."""
        before = _below(cursor)
        rows = await self._readers.long(
            f"SELECT no, {_LETTER} FROM dead_letters WHERE no < ? ORDER BY no DESC LIMIT ?",
            (before, limit + 1),
        )
        more = str(rows[limit - 1][0]) if len(rows) > limit else None
        return Page([_letter(row[1:]) for row in rows[:limit]], more)

    async def dead_letter(self, letter_id: str) -> DeadLetter | None:
        """One dead letter."""
        rows = await self._readers.long(
            f"SELECT {_LETTER} FROM dead_letters WHERE id = ?", (letter_id,)
        )
        return _letter(rows[0]) if rows else None

    async def dead_letter_at(self, stream_id: StreamId) -> DeadLetter | None:
        """The dead letter that an entry became."""
        rows = await self._readers.long(
            f"SELECT {_LETTER} FROM dead_letters WHERE ms = ? AND n = ?", packed(stream_id)
        )
        return _letter(rows[0]) if rows else None

    async def counts(self) -> dict[str, int]:
        """How much the store holds."""
        rows = await self._readers.long(
            "SELECT (SELECT count(*) FROM sessions WHERE live), "
            "(SELECT coalesce(sum(message_count), 0) FROM sessions WHERE live), "
            "(SELECT count(*) FROM dead_letters), (SELECT count(*) FROM events)"
        )
        row = rows[0] if rows else (0, 0, 0, 0)
        return dict(zip(("sessions", "messages", "dead_letters", "events"), row, strict=True))

    async def letters_dropped(self) -> int:
        """Dead letters that went because newer ones came."""
        rows = await self._readers.short("SELECT letters_dropped FROM store")
        return rows[0][0] if rows else 0

    async def _messages(self, rows: Sequence[TextRow]) -> list[Message]:
        contents = await self._texts(rows)
        return [
            Message(
                row.seq,
                shown_id(row.event_id),
                row.role,
                content,
                shown_id(row.turn) if row.turn is not None else None,
                row.created_at,
                row.by,
            )
            for row, content in zip(rows, contents, strict=True)
        ]


def _text_of(row: tuple[Any, ...]) -> int:
    """How much text the row of a message has; None is with files, where it is bounded again."""
    content = row[_CONTENT]
    return len(content) if content is not None else 0


def _narrowing(where: SessionFilter) -> tuple[list[str], list[Any]]:
    """The conditions of a filter and their values."""
    given = {
        "s.agent = ?": where.agent,
        "s.channel = ?": where.channel,
        "s.state = ?": where.state,
        "s.last_activity >= ?": where.since,
    }
    clauses = [clause for clause, value in given.items() if value is not None]
    values: list[Any] = [value for value in given.values() if value is not None]
    if where.state not in (None, "idle"):
        # The partial index serves only a query that repeats its condition.
        clauses.append("s.state <> 'idle'")
    if where.prefix is not None:
        # As bytes, since substr would end a text at its first NUL.
        prefix = where.prefix.encode()
        clauses.append("substr(CAST(s.key AS BLOB), 1, ?) = ?")
        values.extend((len(prefix), prefix))
    return clauses, values


def _scope_branches(scope: Scope | None) -> list[tuple[list[str], list[Any]]]:
    """The ways in which a session can be in scope, as disjoint conditions."""
    if scope is None or scope.agent is None:
        return [([], [])]
    branches: list[tuple[list[str], list[Any]]] = [(["s.agent = ?"], [scope.agent])]
    for channel in dict.fromkeys(scope.channels):
        branches.append((["s.agent IS NULL", "s.channel = ?"], [channel]))
    others = [*dict.fromkeys((*scope.channels, *scope.others))]
    for kind in dict.fromkeys(scope.kinds):
        # Nothing but the names `kind.alias` lies between `kind.` and `kind/`.
        clauses = ["s.agent IS NULL", "s.channel > ?", "s.channel < ?"]
        clauses.append(f"s.channel NOT IN ({', '.join('?' * len(others))})")
        branches.append((clauses, [f"{kind}.", f"{kind}/", *others]))
    return branches


def _below(cursor: str | None) -> int:
    """The number below which a page begins; without a cursor it is above all."""
    return rank_of(cursor, places=1)[0] if cursor is not None else 2**62


def _letter(row: tuple[Any, ...]) -> DeadLetter:
    *fields, ms, n, at, payload, by = row
    return DeadLetter(*fields, stream_id=unpacked(ms, n), at=at, payload=payload, by=by)
