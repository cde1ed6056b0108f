"""The reads of a store in memory: everything is found by looking at everything."""

from __future__ import annotations

from collections import Counter

from sessions.ids import shown_id
from sessions.models import (
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
from sessions.store.engine.changes import LetterRow
from sessions.store.engine.rows import MessageRow, SessionRow, outcome_of, unpacked
from sessions.store.memory.matching import SearchWords, is_shown, page_of
from sessions.store.memory.store import MemoryStore


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
            ((row.last_activity, row.id), shown)
            for row in self._store.sessions.values()
            if row.live and is_shown(shown := _shown(row), scope, where)
        ]
        return page_of(ranked, limit, cursor, places=2)

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
        page = page_of([((row.seq,), _message(row)) for row in rows], limit, cursor)
        return Page(page.items[::-1], page.next_cursor)

    async def message(self, event_id: str) -> SearchHit | None:
        """The message of one event."""
        keys = {row.id: row.key for row in self._store.sessions.values() if row.live}
        found = (row for row in self._store.messages.values() if row.event_id == event_id)
        row = next((row for row in found if row.session_id in keys), None)
        return SearchHit(keys[row.session_id], _message(row)) if row is not None else None

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
        wanted = SearchWords(query)
        searched = {
            row.id: row.key
            for row in self._store.sessions.values()
            if row.live and key in (None, row.key) and is_shown(_shown(row), scope)
        }
        ranked = [
            ((row.id,), SearchHit(searched[row.session_id], _message(row)))
            for row in self._store.messages.values()
            if row.session_id in searched and wanted.is_in(row.content)
        ]
        return page_of(ranked, limit, cursor)

    async def routing_of(self, key: str) -> Routing | None:
        """Owner and routing of a session or of its tombstone."""
        row = self._store.sessions.get(key)
        if row is None:
            return None
        return Routing(
            *(row.agent, row.channel, row.room, row.sender),
            live=bool(row.live),
            owned_from=row.owned_from,
        )

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
        return page_of(ranked, limit, cursor)

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
