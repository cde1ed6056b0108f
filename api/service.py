"""What the doors share: reading the store as a caller may see it, and changing it by the stream.

Nothing here writes to the store. A change is an event that is published, and whose outcome is
waited for; the worker is the one that applies it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from api.errors import Forbidden, NotConfirmed, Refused
from api.freshness import PATIENCE, Freshness
from sessions import wire
from sessions.access import Access
from sessions.backend import SessionReader
from sessions.errors import InvalidRequest, PositionLost, Retryable, StreamUnavailable
from sessions.ids import new_id
from sessions.models import (
    DeadLetter,
    Event,
    EventType,
    Message,
    Outcome,
    OutcomeKind,
    Page,
    Position,
    Reason,
    SearchHit,
    Session,
    SessionFilter,
)
from sessions.notices import Notice
from sessions.settings import Settings
from sessions.share import Share
from sessions.stream import TurnStream
from sessions.text import GATEWAY_PREFIX
from sessions.tokens import Principal, TokenScope

T = TypeVar("T")

MAX_LIMIT: Final = 1000
# Characters of text in one page, whatever its limit: a thousand messages of 256 KiB would be
# 256 MB of memory. The page then ends early and its cursor goes on.
PAGE_TEXT: Final = 2 * 1024 * 1024
# Items read in the first and in the largest go, which bounds what a page can have beyond that.
_FIRST_READ: Final = 8
_LARGEST_READ: Final = 64
# Dead letters looked through for one of a moment ago.
_RECENT_LETTERS: Final = 20
_GONE: Final = frozenset({Reason.NO_SESSION, Reason.SESSION_DELETED})


class Aborter(Protocol):
    """Stops turns that run somewhere; ingest, which runs them, brings the real one."""

    async def abort(self, key: str) -> bool:
        """Have the running turn of the session stopped; False where none runs."""
        ...


class NoAborter:
    """For an api beside which no turns run."""

    async def abort(self, key: str) -> bool:
        """There is none to stop."""
        return False


class Teller(Protocol):
    """Tells the pages that are open on a session what was added to it."""

    async def tell(self, notice: Notice) -> None:
        """Tell whoever looks now; raises Retryable where that is not possible."""
        ...


@dataclass(slots=True)
class Caller:
    """Who calls, and what was said beside the arguments; the same at every door.

    `current` is the session that the caller says it runs in, `key` the id that a change gets.
    `position` is set by the service: what the answer stands on.
    """

    principal: Principal
    after: Position | None = None
    any_age: bool = False
    current: str | None = None
    key: str | None = None
    position: Position | None = None

    def require(self, scope: TokenScope) -> None:
        """Raise Forbidden unless the caller's token has that scope."""
        if not self.principal.may(scope):
            raise Forbidden(f"this needs the scope {scope}; the token has {self.principal.scope}")


@dataclass(frozen=True, slots=True)
class Change:
    """A published event. `outcome` is None where it was not applied in time."""

    position: Position
    outcome: Outcome | None

    @property
    def pending(self) -> bool:
        """Whether the outcome is still to come."""
        return self.outcome is None

    @property
    def applied(self) -> bool:
        """Whether it took effect."""
        return self.outcome is not None and self.outcome.outcome is OutcomeKind.APPLIED

    @property
    def repeated(self) -> bool:
        """Whether it was published before under the same key, and took effect then."""
        return self.outcome is not None and (
            self.outcome.position.stream_id != self.position.stream_id
        )

    @property
    def found_nothing(self) -> bool:
        """Whether there was no session any more when its turn came."""
        return self.outcome is not None and self.outcome.reason in _GONE

    @property
    def word(self) -> str:
        """The outcome in one word: `applied`, `noop`, `dead`, or `pending`."""
        return self.outcome.outcome if self.outcome is not None else "pending"

    @property
    def reason(self) -> str:
        """Why it had no effect."""
        return (self.outcome.reason if self.outcome is not None else None) or "unknown"


class View:
    """The store as one caller may see it, not older than a position."""

    def __init__(self, backend: SessionReader, access: Access, principal: Principal) -> None:
        self._backend = backend
        self._access = access
        self._principal = principal

    async def find(self, session_id: str) -> Session | None:
        """The session of that key, else the gateway's session of that id."""
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
        """The newest messages, oldest first; fewer than `limit` where they are very long."""
        if session is None:
            return Page([], None)
        pages, more = await _bounded(
            lambda count, at: self._backend.history(session.key, limit=count, cursor=at),
            lambda message: len(message.content),
            limit,
            cursor,
        )
        return Page([message for page in reversed(pages) for message in page], more)

    async def search(
        self, query: str, *, key: str | None = None, limit: int, cursor: str | None
    ) -> Page[SearchHit]:
        """Messages that hold all words, newest first; fewer than `limit` where they are long."""
        scope = self._access.scope(self._principal)
        pages, more = await _bounded(
            lambda count, at: self._backend.search(
                query, scope=scope, key=key, limit=count, cursor=at
            ),
            lambda hit: len(hit.message.content),
            limit,
            cursor,
        )
        return Page([hit for page in pages for hit in page], more)

    async def outcome(self, event_id: str) -> Outcome | None:
        """The outcome of an event in a session that the caller sees."""
        outcome = await self._backend.outcome(event_id)
        if outcome is None or self._principal.agent is None:
            return outcome
        session = await self._backend.session(outcome.session) if outcome.session else None
        return outcome if session and self._access.sees(self._principal, session) else None

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

    async def _resolve(
        self, session_id: str, visible: Callable[[Principal, Session], bool]
    ) -> Session | None:
        keys = [session_id]
        if not session_id.startswith(GATEWAY_PREFIX):
            keys.append(GATEWAY_PREFIX + session_id)
        for key in keys:
            session = await self._backend.session(key)
            if session is not None and visible(self._principal, session):
                return session
        return None


class Service:
    """One open store and its stream, for all callers."""

    def __init__(
        self,
        settings: Settings,
        *,
        backend: SessionReader,
        stream: TurnStream,
        share: Share,
        aborter: Aborter | None = None,
        teller: Teller | None = None,
        patience: float = PATIENCE,
    ) -> None:
        self.backend = backend
        self.stream = stream
        self.access = Access(settings)
        self.share = share
        self.freshness = Freshness(backend, stream, patience=patience)
        self._patience = patience
        self.aborter = aborter or NoAborter()
        self.teller = teller

    async def look(self, caller: Caller) -> View:
        """The store as the caller may see it, once it is as fresh as the caller wants.

        Raises what `Freshness.latest` and `Freshness.reached` raise.
        """
        if caller.any_age:
            caller.position = await self.freshness.present()
        elif caller.after is not None:
            caller.position = await self.freshness.reached(caller.after)
        else:
            caller.position = await self.freshness.latest()
        return View(self.backend, self.access, caller.principal)

    async def change(self, caller: Caller, event_type: EventType, **fields: str | bool) -> Change:
        """Publish an event under the caller's key and wait for its outcome.

        Raises InvalidEvent if the stream contract refuses it, ShareFull, StreamFull and
        NotConfirmed if it was not taken, Refused if the key was used for something else before.
        Once it was published only that last error is raised: the change may take effect.
        """
        base = Event(id=caller.key or new_id(), type=event_type, if_exists=True)
        event = base._replace(**fields)
        try:
            [position] = await self.share.publish(
                [event], agent=caller.principal.agent, patience=self._patience
            )
        except StreamUnavailable as error:
            raise NotConfirmed(event.id) from error
        caller.position = position
        outcome = None
        with contextlib.suppress(Retryable, PositionLost):
            outcome = await self._outcome(position)
        return Change(position, outcome)

    async def _outcome(self, position: Position) -> Outcome | None:
        await self.freshness.reached(position)
        outcome = await self.backend.outcome(position.event_id)
        if outcome is not None and outcome.position.stream_id != position.stream_id:
            await self._refuse_conflict(position)
        return outcome

    async def _refuse_conflict(self, position: Position) -> None:
        """Raise Refused where our entry contradicted the event that had its id before."""
        await self.freshness.reached(Position(position.epoch, position.stream_id))
        letters = await self.backend.dead_letters(limit=_RECENT_LETTERS)
        if any(letter.stream_id == position.stream_id for letter in letters.items):
            raise Refused(
                422, "this Idempotency-Key was used before, for something else", "id_conflict"
            )


def checked_key(key: str | None) -> str | None:
    """An Idempotency-Key that can be an event id; raises InvalidRequest for another."""
    if key is not None and not wire.is_id(key):
        raise InvalidRequest("Idempotency-Key must be 1 to 128 characters of A-Z a-z 0-9 . _ : -")
    return key


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
