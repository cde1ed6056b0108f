"""The model as a backend, so that a test asks it what it asks a store.

It finds everything by looking at everything, and is as slow as that sounds. How a page is cut and
a word is found it has from the store in memory; what the events do is its own.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Literal, Self

from proof.model.records import ID_RETENTION, StoredLetter
from proof.model.rules import Model
from sessions import times, wire
from sessions.errors import Fenced
from sessions.models import (
    STREAM_START,
    DeadLetter,
    Entry,
    Lease,
    LetterBounds,
    Message,
    Outcome,
    Routing,
    SearchHit,
    Session,
    StreamCursor,
    StreamId,
)
from sessions.reading import Page, Scope, SessionFilter
from sessions.store.backend import Following
from sessions.store.memory.matching import SearchWords, is_shown, page_of


class ModelBackend:
    """A backend on a Model; see `SessionBackend` for what it promises."""

    name = "model"

    def __init__(
        self,
        store: Model | None = None,
        *,
        mode: Literal["read", "write"] = "write",
        max_content: int = wire.DEFAULT_MAX_CONTENT,
        bounds: LetterBounds | None = None,
        clock: Callable[[], int] = times.now,
    ) -> None:
        self._store = store or Model()
        self._store.bounds = bounds or LetterBounds()
        self._mode = mode
        self._max_content = max_content
        self._clock = clock
        self._epoch: int | None = None
        self._steps = 0

    async def __aenter__(self) -> Self:
        if self._mode == "write" and self._store.store_id is None:
            self._store.store_id = uuid.uuid4().hex
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._epoch = None

    # -- reading -----------------------------------------------------------------------------

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
        stored = self._store.live(key)
        return stored.shown if stored else None

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
            ((stored.shown.last_activity, stored.number), stored.shown)
            for stored in self._store.sessions.values()
            if stored.live and is_shown(stored.shown, scope, where)
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
        stored = self._store.live(key)
        if stored is not None and generation not in (None, stored.shown.generation):
            stored = None
        ranked = [((line.message.seq,), line.message) for line in (stored.lines if stored else ())]
        page = page_of(ranked, limit, cursor)
        return Page(page.items[::-1], page.next_cursor)

    async def message(self, event_id: str) -> SearchHit | None:
        """The message of one event."""
        for stored in self._store.sessions.values():
            for line in stored.lines:
                if stored.live and line.stored == event_id:
                    return SearchHit(stored.shown.key, line.message)
        return None

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
        ranked = [
            ((line.number,), SearchHit(stored.shown.key, line.message))
            for stored in self._store.sessions.values()
            if stored.live and key in (None, stored.shown.key) and is_shown(stored.shown, scope)
            for line in stored.lines
            if wanted.is_in(line.message.content)
        ]
        return page_of(ranked, limit, cursor)

    async def routing_of(self, key: str) -> Routing | None:
        """Owner and routing of a session or of its tombstone."""
        stored = self._store.sessions.get(key)
        if stored is None:
            return None
        shown = stored.shown
        return Routing(
            *(shown.agent, shown.channel, shown.room, shown.sender),
            live=stored.live,
            owned_from=shown.owned_from,
        )

    async def owners(self) -> list[tuple[str | None, int]]:
        """Who owns how many sessions, most first."""
        found = Counter(one.shown.agent for one in self._store.sessions.values() if one.live)
        return sorted(found.items(), key=lambda one: (-one[1], one[0] or ""))

    async def outcome(self, event_id: str) -> Outcome | None:
        """The outcome of an id that was seen."""
        known = self._store.events.get(event_id)
        return known.outcome if known else None

    async def dead_letters(self, *, limit: int = 50, cursor: str | None = None) -> Page[DeadLetter]:
        """A page of dead letters, newest first."""
        ranked = [((letter.number,), letter.shown) for letter in self._store.letters]
        return page_of(ranked, limit, cursor)

    async def dead_letter(self, letter_id: str) -> DeadLetter | None:
        """One dead letter."""
        letter: StoredLetter | None = self._store.letter(letter_id)
        return letter.shown if letter else None

    async def dead_letter_at(self, stream_id: StreamId) -> DeadLetter | None:
        """The dead letter that an entry became."""
        letters = [one.shown for one in self._store.letters if one.shown.stream_id == stream_id]
        return letters[0] if letters else None

    async def letters_dropped(self) -> int:
        """Dead letters that went because newer ones came."""
        return self._store.dropped

    async def counts(self) -> dict[str, int]:
        """How much the store holds."""
        live = [stored for stored in self._store.sessions.values() if stored.live]
        return {
            "sessions": len(live),
            "messages": sum(len(stored.lines) for stored in live),
            "dead_letters": len(self._store.letters),
            "events": len(self._store.events),
        }

    # -- leading -----------------------------------------------------------------------------

    @property
    def steps(self) -> int:
        """Writing calls so far."""
        return self._steps

    async def acquire(self, holder: str, *, seen: Lease | None) -> Lease | None:
        """Take the lead unless the lease has moved since it was `seen`."""
        if self._mode != "write":
            raise RuntimeError("this backend was not opened in write mode")
        current = self._store.lease
        if seen is not None and seen != current:
            return None
        self._epoch = current.epoch + 1
        self._store.lease = Lease(self._epoch, holder, current.beat + 1)
        return self._store.lease

    async def renew(self, *, added: int | None = None) -> None:
        """Raise the beat, and note Redis' count of entries where it is given."""
        self._lead()
        if added is not None:
            self._store.cursor = replace(self._store.cursor, added=added)

    async def release(self) -> None:
        """Leave the lease without a holder."""
        self._lead()
        self._store.lease = replace(self._store.lease, holder=None)
        self._epoch = None

    async def begin_epoch(self, *, skipped: int, above: int = 0) -> StreamCursor:
        """Start over at the stream's beginning under a higher epoch."""
        self._lead()
        epoch = max(self._store.cursor.epoch, above) + 1
        self._store.cursor = StreamCursor(epoch, STREAM_START, 0, skipped, 0)
        return self._store.cursor

    async def shown(self, entries: Sequence[Entry]) -> dict[str, str]:
        """Nothing: it never loses what it knows while it has messages."""
        self._lead()
        return {}

    async def recall(self, entries: Sequence[Entry], *, ended: Mapping[str, StreamId]) -> None:
        """Nothing, for the same reason."""
        self._lead()

    async def apply(
        self, entries: Sequence[Entry], *, following: Following | None = None
    ) -> StreamCursor:
        """Apply the entries, one after the other; nothing takes long enough to look ahead."""
        del following
        self._lead()
        now = self._clock()
        for entry in entries:
            self._store.take(entry, now=now, max_content=self._max_content)
            before = self._store.cursor
            if entry.raw.stream_id > before.applied:
                self._store.cursor = replace(
                    before, applied=entry.raw.stream_id, resolved=before.resolved + 1
                )
        return self._store.cursor

    async def expire_sessions(self, *, older_than: int, limit: int) -> int:
        """Delete idle sessions that were last active before `older_than`."""
        self._lead()
        old = [
            stored
            for stored in sorted(
                self._store.sessions.values(), key=lambda it: it.shown.last_activity
            )
            if stored.live and stored.shown.state != "running"
            if stored.shown.last_activity < older_than
        ]
        for stored in old[:limit]:
            self._store.bury(stored, now=self._clock())
        return len(old[:limit])

    async def forget_ids(self, *, before: int, limit: int) -> int:
        """Drop ids, and then tombstones, whose time is up."""
        self._lead()
        known, sessions, awaited = self._store.events, self._store.sessions, self._store.awaited
        due = [(one.expires_at, key) for key, one in known.items() if one.expires_at is not None]
        ids = [key for expires_at, key in sorted(due) if expires_at < before]
        graves = [key for key, stored in sessions.items() if not stored.live]
        old = [key for key in graves if sessions[key].ended_at + ID_RETENTION < before]
        for event_id in ids[:limit]:
            del known[event_id]
        for key in [key for key, expires_at in awaited.items() if expires_at < before]:
            del awaited[key]
        for key in old[: max(0, limit - len(ids))]:
            del sessions[key]
        return min(limit, len(ids) + len(old))

    async def tidy(self) -> bool:
        """There is nothing to tidy."""
        self._lead()
        return False

    def _lead(self) -> None:
        """Renew the lease, or fail if another worker has it."""
        lease = self._store.lease
        if self._epoch != lease.epoch:
            raise Fenced("this worker does not lead; acquire the lease first")
        self._store.lease = replace(lease, beat=lease.beat + 1)
        self._steps += 1
