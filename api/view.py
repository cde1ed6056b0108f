"""The store as one caller may see it. What it may not see is as if it did not exist."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from api.searches import Searches
from sessions.access.check import Access
from sessions.access.tokens import Principal
from sessions.models import DeadLetter, Message, Outcome, Position, SearchHit, Session
from sessions.reading import Page, SessionFilter
from sessions.store.backend import SessionReader, Transferable
from sessions.text import GATEWAY_PREFIX, sanitize_key
from sessions.zeroclaw.values import FORMATS

T = TypeVar("T")

MAX_LIMIT: Final = 1000
# Characters of text in one page, whatever its limit: a thousand messages of 256 KiB would be
# 256 MB of memory. The page then ends early and its cursor goes on.
PAGE_TEXT: Final = 2 * 1024 * 1024
# Items read in the first go, all of a usual page, and in the largest, which bounds what a page can
# have beyond that.
_FIRST_READ: Final = 20
_LARGEST_READ: Final = 64


class View:
    """The store as one caller may see it, not older than a position."""

    def __init__(
        self,
        backend: SessionReader,
        access: Access,
        searches: Searches,
        principal: Principal,
    ) -> None:
        self._backend = backend
        self._access = access
        self._searches = searches
        self._principal = principal

    def keys_of(self, session_id: str) -> list[str]:
        """The keys that an id may stand for: that very key before the gateway's session."""
        if session_id.startswith(GATEWAY_PREFIX):
            return [session_id]
        return [session_id, GATEWAY_PREFIX + session_id]

    async def get(self, key: str) -> Session | None:
        """The session of exactly that key."""
        session = await self._backend.session(key)
        seen = session is not None and self._access.sees(self._principal, session)
        return session if seen else None

    async def find(self, session_id: str) -> Session | None:
        """The session of that key, else the gateway's session of that id.

        If there is none, it is the one that ZeroClaw had under the sanitised name.
        """
        return await self._resolve(session_id, self._access.sees)

    async def find_to_send(self, session_id: str) -> Session | None:
        """The same among the sessions that the caller may send to."""
        return await self._resolve(session_id, self._access.may_send)

    async def sessions(
        self,
        *,
        agent: str | None = None,
        where: SessionFilter | None = None,
        limit: int,
        cursor: str | None,
    ) -> Page[Session]:
        """Sessions, newest activity first; with `agent` only those that belong to it."""
        if agent is not None and self._principal.agent not in (None, agent):
            return Page([], None)
        own = self._access.scope(self._principal)
        scope = self._access.scope_of(agent) if agent is not None else own
        return await self._backend.sessions(scope=scope, where=where, limit=limit, cursor=cursor)

    async def history(
        self, session: Session | None, *, limit: int, cursor: str | None
    ) -> Page[Message]:
        """The newest messages, oldest first; fewer than `limit` where they are very long.

        None if the session was reset or deleted since it was found: what has its key now may be
        another agent's.
        """
        if session is None:
            return Page([], None)
        pages, more = await _bounded(
            lambda count, at: self._backend.history(
                session.key, generation=session.generation, limit=count, cursor=at
            ),
            lambda message: len(message.content),
            limit,
            cursor,
        )
        return Page([message for page in reversed(pages) for message in page], more)

    async def search(
        self, query: str, *, key: str | None = None, limit: int, cursor: str | None
    ) -> Page[SearchHit]:
        """Messages that hold all words, newest first; fewer than `limit` where they are long.

        Raises Refused for a query that is too long, TooManySearches while others are at work, and
        SearchInterrupted if it takes too long.
        """
        self._searches.check(query)
        scope = self._access.scope(self._principal)
        async with self._searches.slot(self._principal) as left:
            pages, more = await _bounded(
                lambda count, at: self._backend.search(
                    query, scope=scope, key=key, limit=count, cursor=at, seconds=left()
                ),
                lambda hit: len(hit.message.content),
                limit,
                cursor,
            )
        return Page([hit for page in pages for hit in page], more)

    async def outcome(self, event_id: str, *, by: str | None = None) -> Outcome | None:
        """The outcome of an event that the caller may know.

        An agent's own event of that id goes before an operator's in one of its sessions. Others
        are asked for the event that `by` published.
        """
        for stored in self._access.outcome_ids(self._principal, event_id, by):
            outcome = await self._known(stored)
            if outcome is not None:
                return outcome
        return None

    async def has_outcome(self, position: Position) -> bool:
        """Whether the position's event has an outcome, as far as the caller may know."""
        if not position.event_id or not self._access.knows_position(self._principal, position):
            return False
        return await self._known(position.event_id) is not None

    async def dead_letters(self, *, limit: int, cursor: str | None) -> Page[DeadLetter]:
        """Dead letters, newest first. For administrators: they are of any session, or of none."""
        pages, more = await _bounded(
            lambda count, at: self._backend.dead_letters(limit=count, cursor=at),
            lambda letter: len(letter.payload),
            limit,
            cursor,
        )
        return Page([letter for page in pages for letter in page], more)

    async def dead_letter(self, letter_id: str) -> DeadLetter | None:
        """One dead letter; for administrators."""
        return await self._backend.dead_letter(letter_id)

    async def _known(self, stored: str) -> Outcome | None:
        """The outcome of a stored id, unless the caller may not know it."""
        outcome = await self._backend.outcome(stored)
        if self._principal.agent is None:
            return outcome
        # Asked for in any case, so that the time tells nothing of events that one may not know.
        key = outcome.session if outcome is not None else None
        session = await self._backend.routing_of(key or "")
        if outcome is None or not self._access.knows_outcome(self._principal, outcome, session):
            return None
        return outcome

    async def _resolve(
        self, session_id: str, visible: Callable[[Principal, Session], bool]
    ) -> Session | None:
        for key in self.keys_of(session_id):
            session = await self._backend.session(key)
            if session is not None and visible(self._principal, session):
                return session
        for key in map(sanitize_key, self.keys_of(session_id)):
            session = await self._backend.session(key)
            if session is None or not visible(self._principal, session):
                continue
            if await self._is_sanitised(key):
                return session
        return None

    async def _is_sanitised(self, key: str) -> bool:
        """Whether the session came from ZeroClaw, whose files have sanitised names.

        Others are never found by a name that only resembles theirs.
        """
        if not isinstance(self._backend, Transferable):
            return False
        return any(one.kind in FORMATS for one in await self._backend.receipts_of(key))


async def _bounded(
    fetch: Callable[[int, str | None], Awaitable[Page[T]]],
    size: Callable[[T], int],
    limit: int,
    cursor: str | None,
) -> tuple[Sequence[list[T]], str | None]:
    """Pages of together `limit` items at most, none begun beyond PAGE_TEXT; the next cursor."""
    pages: list[list[T]] = []
    room, ask = PAGE_TEXT, _FIRST_READ
    while True:
        page = await fetch(min(limit, ask), cursor)
        pages.append(page.items)
        cursor = page.next_cursor
        limit -= len(page.items)
        taken = sum(map(size, page.items))
        room -= taken
        if cursor is None or limit <= 0 or room <= 0:
            return pages, cursor
        # As many more as fit, judged by the last ones.
        average = taken // max(1, len(page.items)) + 1
        ask = max(1, min(room // average, _LARGEST_READ))
