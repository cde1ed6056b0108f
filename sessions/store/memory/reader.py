"""The reads of a store in memory: everything is found by looking at everything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TypeVar

import regex

from sessions.errors import InvalidRequest
from sessions.ids import shown_id
from sessions.models import (
    DeadLetter,
    Lease,
    Message,
    Outcome,
    Page,
    Routing,
    Scope,
    SearchHit,
    Session,
    SessionFilter,
    StreamCursor,
    StreamId,
)
from sessions.store.engine.changes import LetterRow
from sessions.store.engine.rows import MessageRow, SessionRow, outcome_of, unpacked
from sessions.store.memory.store import MemoryStore
from sessions.text import search_words

T = TypeVar("T")
Rank = tuple[int, ...]

_NUMBER = regex.compile(r"-?[0-9]{1,18}")


class MemoryReader:
    """See `SessionReader`."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    async def store_id(self) -> str | None:
        """The store's random id."""
        return self._store.store_id

    async def cursor(self) -> StreamCursor:
        """How far the stream is applied."""
        return self._store.cursor

    async def lease(self) -> Lease:
        """Who leads."""
        return self._store.lease

    async def session(self, key: str) -> Session | None:
        """One live session."""
        row = self._store.live(key)
        return _shown(row) if row is not None else None

    async def sessions(
        self,
        *,
        scope: Scope | None = None,
        where: SessionFilter | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Session]:
        """A page of sessions, newest activity first; of equals, the newest session."""
        ranked = [
            ((row.last_activity, row.id), _shown(row))
            for row in self._store.sessions.values()
            if row.live and _in_scope(row, scope) and _passes(row, where)
        ]
        return _page(ranked, limit, cursor, places=2)

    async def history(
        self,
        key: str,
        *,
        generation: int | None = None,
        limit: int = 20,
        cursor: str | None = None,
    ) -> Page[Message]:
        """A page of a session's messages, the newest first page, oldest first within it."""
        session = self._store.live(key)
        if session is not None and generation not in (None, session.generation):
            session = None
        rows = self._store.of_session(session.id) if session is not None else []
        page = _page([((row.seq,), _message(row)) for row in rows], limit, cursor, places=1)
        return Page(page.items[::-1], page.next_cursor)

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
        """Messages with every word of the query, newest first; takes the time that it takes."""
        del seconds
        phrases = [words for words in map(search_words, query.split()) if words]
        searched = {
            row.id: row.key
            for row in self._store.sessions.values()
            if row.live and key in (None, row.key) and _in_scope(row, scope)
        }
        ranked = [
            ((row.id,), SearchHit(searched[row.session_id], _message(row)))
            for row in self._store.messages.values()
            if row.session_id in searched
            if phrases and all(_occurs(one, search_words(row.content)) for one in phrases)
        ]
        return _page(ranked, limit, cursor, places=1)

    async def routing_of(self, key: str) -> Routing | None:
        """Owner and routing of a session or of its tombstone."""
        row = self._store.sessions.get(key)
        if row is None:
            return None
        return Routing(row.agent, row.channel, row.room, row.sender, live=bool(row.live))

    async def owners(self) -> list[tuple[str | None, int]]:
        """Who owns how many sessions, most first."""
        found = Counter(row.agent for row in self._store.sessions.values() if row.live)
        return sorted(found.items(), key=lambda one: (-one[1], one[0] or ""))

    async def outcome(self, event_id: str) -> Outcome | None:
        """The outcome of an id that was seen."""
        row = self._store.events.get(event_id)
        if row is None:
            return None
        homes = (one.key for one in self._store.sessions.values() if one.id == row.session_id)
        return outcome_of(row, next(homes, row.session))

    async def dead_letters(self, *, limit: int = 50, cursor: str | None = None) -> Page[DeadLetter]:
        """A page of dead letters, newest first."""
        ranked = [((number,), _letter(row)) for number, row in self._store.letters.values()]
        return _page(ranked, limit, cursor, places=1)

    async def dead_letter(self, letter_id: str) -> DeadLetter | None:
        """One dead letter."""
        found = self._store.letters.get(letter_id)
        return _letter(found[1]) if found is not None else None

    async def dead_letter_at(self, stream_id: StreamId) -> DeadLetter | None:
        """The dead letter that an entry became."""
        letters = (_letter(row) for _, row in self._store.letters.values())
        return next((one for one in letters if one.stream_id == stream_id), None)

    async def letters_dropped(self) -> int:
        """Dead letters that went because newer ones came."""
        return self._store.letters_dropped

    async def counts(self) -> dict[str, int]:
        """How much the store holds."""
        live = [row for row in self._store.sessions.values() if row.live]
        return {
            "sessions": len(live),
            "messages": sum(row.message_count for row in live),
            "dead_letters": len(self._store.letters),
            "events": len(self._store.events),
        }


def _shown(row: SessionRow) -> Session:
    return Session(
        key=row.key,
        generation=row.generation,
        name=row.name,
        agent=row.agent,
        channel=row.channel,
        room=row.room,
        sender=row.sender,
        state=row.state,
        turn=row.turn,
        state_since=row.state_since,
        created_at=row.created_at,
        last_activity=row.last_activity,
        message_count=row.message_count,
        owned_from=row.owned_from,
    )


def _message(row: MessageRow) -> Message:
    turn = shown_id(row.turn) if row.turn is not None else None
    return Message(
        row.seq, shown_id(row.event_id), row.role, row.content, turn, row.created_at, row.by
    )


def _letter(row: LetterRow) -> DeadLetter:
    return DeadLetter(
        *row[:7],
        stream_id=unpacked(row.ms, row.n),
        at=row.at,
        payload=row.payload,
        by=row.by,
    )


def _in_scope(row: SessionRow, scope: Scope | None) -> bool:
    return scope is None or scope.has(row.agent, row.channel)


def _passes(row: SessionRow, where: SessionFilter | None) -> bool:
    return where is None or (
        where.agent in (None, row.agent)
        and where.channel in (None, row.channel)
        and where.state in (None, row.state)
        and (where.since is None or row.last_activity >= where.since)
        and row.key.startswith(where.prefix or "")
    )


def _page(
    ranked: Iterable[tuple[Rank, T]], limit: int, cursor: str | None, *, places: int
) -> Page[T]:
    """The items that rank highest below the cursor, which is the rank of the last one shown."""
    bound = _rank(cursor, places) if cursor is not None else None
    below = [one for one in ranked if bound is None or one[0] < bound]
    below.sort(key=lambda one: one[0], reverse=True)
    more = ".".join(map(str, below[limit - 1][0])) if len(below) > limit else None
    return Page([item for _, item in below[:limit]], more)


def _rank(cursor: str, places: int) -> Rank:
    parts = cursor.split(".")
    if len(parts) != places or not all(map(_NUMBER.fullmatch, parts)):
        raise InvalidRequest("this is not a cursor; use next_cursor of the page before")
    return tuple(map(int, parts))


def _occurs(phrase: list[str], words: list[str]) -> bool:
    """Whether the words of the phrase follow each other somewhere."""
    starts = range(len(words) - len(phrase) + 1)
    return any(words[start : start + len(phrase)] == phrase for start in starts)
