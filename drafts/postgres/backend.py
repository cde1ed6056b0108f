"""The `postgres` backend: a draft, which nothing ships. See README.md beside it.

Every read is one statement, so that it sees one state.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any, Final, Self

from drafts.postgres.adapter import PostgresAdapter, cursor_of
from drafts.postgres.connection import Row, Server
from sessions import models
from sessions.models import (
    DeadLetter,
    LetterBounds,
    Message,
    Outcome,
    SearchHit,
    Session,
)
from sessions.reading import Page, Scope
from sessions.store.cursors import rank_of
from sessions.store.engine import rows
from sessions.store.engine.changes import LetterRow
from sessions.store.engine.writer import Writer
from sessions.text import search_words

_SESSION: Final = rows.columns(Session)
_LETTERS: Final = f"SELECT {rows.columns(LetterRow)}, no FROM dead_letters WHERE"
# Ids as they were published: without the space of their publisher.
_MESSAGE: Final = """m.seq, split_part(m.event_id, '@', 1), m.role, m.content,
        split_part(m.turn, '@', 1), m.created_at, m.by"""
# Connections on which is read. Each is a process on the server.
_READERS: Final = 4
_scope: Final = attrgetter("agent", "channels", "kinds", "others")
# Above every row id, seq and time.
_TOP: Final = 2**62

# Of $1 agent, $2 channels, $3 kinds, $4 channels of these kinds that are not the agent's by kind.
_IN_SCOPE: Final = """live = 1 AND ($1::text IS NULL OR agent = $1 OR agent IS NULL AND (
        channel = ANY ($2::varchar[]) OR strpos(channel, '.') > 0
        AND split_part(channel, '.', 1) = ANY ($3::varchar[])
        AND channel <> ALL ($4::varchar[])))"""
_SESSIONS: Final = f"""
    SELECT {_SESSION}, id FROM sessions WHERE {_IN_SCOPE}
        AND ($5::text IS NULL OR agent = $5) AND ($6::text IS NULL OR channel = $6)
        AND ($7::text IS NULL OR state = $7) AND ($8::bigint IS NULL OR last_activity >= $8)
        AND starts_with(key, $9) AND (last_activity, id) < ($10::bigint, $11::bigint)
    ORDER BY last_activity DESC, id DESC LIMIT $12"""
_HISTORY: Final = f"""
    SELECT {_MESSAGE} FROM messages m WHERE seq < $3 AND session_id = (
        SELECT id FROM sessions
        WHERE key = $1 AND live = 1 AND generation = coalesce($2, generation))
    ORDER BY seq DESC LIMIT $4"""
_ONE: Final = f"""
    SELECT {_MESSAGE}, s.key FROM events e
    JOIN messages m ON m.session_id = e.session_id AND m.seq = e.seq AND m.event_id = e.event_id
    JOIN sessions s ON s.id = m.session_id WHERE e.event_id = $1 AND live = 1"""
_SEARCH: Final = f"""
    SELECT {_MESSAGE}, key, m.id FROM messages m JOIN sessions s ON s.id = m.session_id
    WHERE {_IN_SCOPE} AND ($5::text IS NULL OR key = $5)
        AND indexed_words(words) @> ARRAY(SELECT left(w, 200) FROM unnest($6::varchar[]) w)
        AND NOT EXISTS (SELECT FROM unnest($7::varchar[]) phrase WHERE strpos(words, phrase) = 0)
        AND m.id < $8 ORDER BY m.id DESC LIMIT $9"""
_OWNERS: Final = """
    SELECT agent, count(*) FROM sessions WHERE live = 1
    GROUP BY agent ORDER BY count(*) DESC, agent NULLS FIRST"""
_OUTCOME: Final = """
    SELECT e.*, coalesce(s.key, e.session) FROM events e
    LEFT JOIN sessions s ON s.id = e.session_id WHERE e.event_id = $1"""
_COUNTS: Final = """
    SELECT count(*), coalesce(sum(message_count), 0)::bigint,
        (SELECT count(*) FROM dead_letters), (SELECT count(*) FROM events)
    FROM sessions WHERE live = 1"""


class PostgresReader:
    """What may be asked of a store in PostgreSQL. `SessionReader` says what its methods do."""

    def __init__(self, server: Server) -> None:
        self.server = server

    async def store_id(self) -> str | None:
        return await self._value("SELECT store_id FROM store")

    async def cursor(self) -> models.StreamCursor:
        found = await self.server.rows("SELECT * FROM stream")
        return cursor_of(found[0] if found else (0,) * 6)

    async def lease(self) -> models.Lease:
        found = await self.server.rows("SELECT epoch, holder, beat FROM lease")
        return models.Lease(*found[0]) if found else models.Lease(0, None, 0)

    async def session(self, key: str) -> Session | None:
        sql = f"SELECT {_SESSION} FROM sessions WHERE key = $1 AND live = 1"
        return next((Session(*row) for row in await self.server.rows(sql, key)), None)

    async def sessions(
        self,
        *,
        scope: Scope | None = None,
        where: models.SessionFilter | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Session]:
        one = where or models.SessionFilter()
        narrow = (one.agent, one.channel, one.state, one.since, one.prefix or "")
        values = (*_scope(scope or Scope()), *narrow, *_below(cursor, places=2))
        found = await self.server.rows(_SESSIONS, *values, limit + 1)
        shown = [Session(*row[:-1]) for row in found[:limit]]
        more = f"{shown[-1].last_activity}.{found[limit - 1][-1]}" if len(found) > limit else None
        return Page(shown, more)

    async def history(
        self, key: str, *, generation: int | None = None, limit: int = 20, cursor: str | None = None
    ) -> Page[Message]:
        values = (key, generation, *_below(cursor), limit + 1)
        found = await self.server.rows(_HISTORY, *values)
        shown = [Message(*row) for row in reversed(found[:limit])]
        return Page(shown, str(shown[0].seq) if len(found) > limit else None)

    async def message(self, event_id: str) -> SearchHit | None:
        found = await self.server.rows(_ONE, event_id)
        return next((SearchHit(key, Message(*message)) for *message, key in found), None)

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
        below = _below(cursor)
        phrases = [words for words in map(search_words, query.split()) if words]
        if not phrases:
            return Page([], None)
        words = [word for phrase in phrases for word in phrase]
        whole = [f" {' '.join(phrase)} " for phrase in phrases]
        values = (*_scope(scope or Scope()), key, words, whole, *below, limit + 1)
        found = await self.server.rows(_SEARCH, *values, seconds=seconds)
        hits = [SearchHit(key, Message(*message)) for *message, key, _ in found[:limit]]
        return Page(hits, str(found[limit - 1][-1]) if len(found) > limit else None)

    async def routing_of(self, key: str) -> models.Routing | None:
        sql = (
            "SELECT agent, channel, room, sender, live = 1, owned_from FROM sessions WHERE key = $1"
        )
        return next((models.Routing(*row) for row in await self.server.rows(sql, key)), None)

    async def owners(self) -> list[tuple[str | None, int]]:
        return [(agent, count) for agent, count in await self.server.rows(_OWNERS)]

    async def outcome(self, event_id: str) -> Outcome | None:
        found = await self.server.rows(_OUTCOME, event_id)
        return rows.outcome_of(rows.EventRow(*found[0][:-1]), found[0][-1]) if found else None

    async def dead_letters(self, *, limit: int = 50, cursor: str | None = None) -> Page[DeadLetter]:
        sql = f"{_LETTERS} no < $1 ORDER BY no DESC LIMIT $2"
        found = await self.server.rows(sql, *_below(cursor), limit + 1)
        more = str(found[limit - 1][-1]) if len(found) > limit else None
        return Page([*map(_letter, found[:limit])], more)

    async def dead_letter(self, letter_id: str) -> DeadLetter | None:
        found = await self.server.rows(f"{_LETTERS} id = $1", letter_id)
        return next(map(_letter, found), None)

    async def dead_letter_at(self, stream_id: models.StreamId) -> DeadLetter | None:
        place = rows.packed(stream_id)
        found = await self.server.rows(f"{_LETTERS} ms = $1 AND n = $2", *place)
        return next(map(_letter, found), None)

    async def counts(self) -> dict[str, int]:
        [row] = await self.server.rows(_COUNTS) or [(0,) * 4]
        return dict(zip(("sessions", "messages", "dead_letters", "events"), row, strict=True))

    async def letters_dropped(self) -> int:
        return await self._value("SELECT letters_dropped FROM store") or 0

    async def _value(self, sql: str) -> Any:
        return next((row[0] for row in await self.server.rows(sql)), None)


class PostgresBackend(PostgresReader, Writer):
    """A whole backend in one schema of a PostgreSQL; see `SessionBackend` for its promises."""

    name = "postgres"

    def __init__(
        self, url: str, schema: str, *, writes: bool, bounds: LetterBounds, clock: Callable[[], int]
    ) -> None:
        self._postgres = PostgresAdapter(Server(url, schema, most=1), bounds=bounds)
        self._writes = writes
        PostgresReader.__init__(self, Server(url, schema, most=_READERS))
        Writer.__init__(self, self._postgres, clock=clock)

    async def __aenter__(self) -> Self:
        await self.server.open()
        if self._writes:
            await self._postgres.server.open()
            await self._postgres.make()
        return self

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        self.stop_leading()
        await self.server.close()
        await self._postgres.server.close()


def _below(cursor: str | None, *, places: int = 1) -> list[int]:
    """The place below which a page begins; without a cursor one above everything."""
    return [_TOP] * places if cursor is None else [*rank_of(cursor, places=places)]


def _letter(row: Row) -> DeadLetter:
    *fields, ms, n, at, payload, by, _ = row
    return DeadLetter(*fields, stream_id=rows.unpacked(ms, n), at=at, payload=payload, by=by)
