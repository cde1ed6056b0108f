"""What entry points share: reading the store as a caller may see it, changing it by the stream.

Nothing here writes to the store. A change is an event that is published, and whose outcome is
waited for; the worker is the one that applies it.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from api.additions import Additions, BetweenTurns, NoticeSender
from api.fate import Fates, digest_of
from api.freshness import PATIENCE, Freshness
from api.searches import Searches
from api.view import View
from api.waiting import WaitingReaders
from api.waking import WakeableLanes, WakeCaller, Wakes, Woken
from sessions import wire
from sessions.access.check import Access
from sessions.access.tokens import Principal, TokenScope
from sessions.errors import InvalidRequest, Retryable, StreamUnavailable
from sessions.ids import new_id
from sessions.models import (
    Event,
    EventType,
    Message,
    Outcome,
    OutcomeKind,
    Position,
    Reason,
    Session,
)
from sessions.process.settings import Settings
from sessions.store.backend import SessionReader
from sessions.stream.lanes.queues import QueueEntry, Removal
from sessions.stream.turns import TurnStream
from sessions.web.authentication import require
from sessions.web.rejections import IdConflict, NotConfirmed
from sessions.web.share import Publisher, ShareLimiter

# Outcomes of a change to a session that is not there, or not the caller's any more: both alike.
_GONE: Final = frozenset({Reason.NO_SESSION, Reason.SESSION_DELETED, Reason.NOT_OWNER})


class Aborter(Protocol):
    """Stops turns that run somewhere; ingest, which runs them, brings the real one."""

    async def abort(self, session: str, agent: str | None) -> bool:
        """Have the agent's running turn in the session stopped; False where none runs."""
        ...


class NoAborter:
    """For an api beside which no turns run."""

    async def abort(self, session: str, agent: str | None) -> bool:
        """There is none to stop."""
        return False


class QueueKeeper(Protocol):
    """Knows what waits for its turn somewhere."""

    async def entries(self, session: str, agent: str | None) -> list[QueueEntry]:
        """What the agent has in the session's queue, or what all have; empty if there is none."""
        ...

    async def remove(self, entry: QueueEntry) -> Removal:
        """Take a waiting message out, so that it never runs."""
        ...


class NoQueueKeeper:
    """For an api beside which no turns run."""

    async def entries(self, session: str, agent: str | None) -> list[QueueEntry]:
        """Nothing waits."""
        return []

    async def remove(self, entry: QueueEntry) -> Removal:
        """There is nothing to remove."""
        return Removal()


@dataclass(slots=True)
class Caller:
    """Who calls, and what was said beside the arguments; the same at every entry point.

    `current` is the session that the caller says it runs in, `key` the id that a change gets.
    `position` is set by the service: what the answer stands on.
    """

    principal: Principal
    after: Position | None = None
    any_age: bool = False
    current: str | None = None
    key: str | None = None
    position: Position | None = None

    def name(self, key: str | None) -> None:
        """Take a key that came with the arguments; raises InvalidRequest for two different ones."""
        if key is None:
            return
        if self.key not in (None, key):
            raise InvalidRequest("Invalid 'idempotency_key': Idempotency-Key names another one")
        self.key = checked_key(key)

    def require(self, scope: TokenScope) -> None:
        """Raise AccessRefused unless the caller's token has that scope."""
        require(self.principal, scope)


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


class Service:
    """One open store and its stream, for all callers."""

    def __init__(
        self,
        settings: Settings,
        *,
        backend: SessionReader,
        stream: TurnStream,
        share: ShareLimiter,
        waiting: WaitingReaders,
        aborter: Aborter | None = None,
        queues: QueueKeeper | None = None,
        notices: NoticeSender | None = None,
        lanes: WakeableLanes | None = None,
        between: BetweenTurns | None = None,
        patience: float = PATIENCE,
    ) -> None:
        """Without `lanes` no session can be woken; without `between` no turn is waited for."""
        self.backend = backend
        self.stream = stream
        self.access = Access(settings)
        self.share = share
        self._waiting = waiting
        self.freshness = Freshness(backend, stream, patience=patience)
        self.searches = Searches(settings.turnstream)
        self.fates = Fates(backend, stream, self.freshness)
        self.aborter = aborter or NoAborter()
        self.queues = queues or NoQueueKeeper()
        self.additions = Additions(self.access, between=between, notices=notices)
        self._wakes = Wakes(
            settings, access=self.access, backend=backend, lanes=lanes, waiting=waiting
        )

    async def abort(self, session: Session) -> bool:
        """Stop the turn that runs in a session; False where none runs. Raises LaneTimeout."""
        return await self.aborter.abort(session.key, self.access.agent_of(session))

    async def view_for(self, caller: Caller) -> View:
        """The store as the caller may see it, once it is as fresh as the caller wants.

        Raises what `Freshness.latest` and `Freshness.reached` raise, and TooManyWaiting.
        """
        view = View(self.backend, self.access, self.searches, caller.principal)
        if caller.any_age:
            caller.position = await self.freshness.present()
        else:
            with self._waiting.place(caller.principal):
                caller.position = await self._fresh(caller.after, view)
        return view

    async def _fresh(self, after: Position | None, view: View) -> Position:
        if after is None:
            return await self.freshness.latest()
        return await self.freshness.reached(after, partial(view.has_outcome, after))

    async def change(
        self,
        caller: Caller,
        event_type: EventType,
        session: Session | None = None,
        **fields: str | bool,
    ) -> Change:
        """Publish an event under the caller's key and wait for what becomes of it.

        With `session` it is about that session as it was seen: it has no effect if the session is
        another agent's when the worker comes to it. Raises InvalidEvent if the stream contract
        refuses it, ShareFull, StreamFull and NotConfirmed if it was not taken, IdConflict if the
        key was used for something else before. After it was published only that last error is
        raised, and PositionLost if the stream is no more; the change may take effect.
        """
        event = self._event(caller, event_type, session)._replace(**fields)
        return await self._changed(caller, event)

    async def add(self, caller: Caller, session: Session, content: str) -> Change:
        """Append a message in the name of the session's agent, when no turn runs there.

        Raises what `change` raises, QueueFull if too much waits in the session, and QueueTimeout if
        the turn does not end soon; in both cases nothing was published.
        """
        event = self._event(caller, EventType.APPEND, session)._replace(
            role="assistant", content=content
        )
        return await self._changed(caller, event, self.additions.way_of(event, session))

    async def _changed(self, caller: Caller, event: Event, way: Publisher | None = None) -> Change:
        if caller.key is not None:
            await self._wakes.check_unused(caller.principal, caller.key)
        try:
            [position] = await self.share.publish(
                [event],
                agent=caller.principal.agent,
                patience=self.freshness.patience,
                way=way,
            )
        except StreamUnavailable as error:
            raise NotConfirmed(event.id) from error
        caller.position = position
        outcome = None
        with contextlib.suppress(Retryable), self._waiting.place(caller.principal):
            outcome = await self.fates.settled(position, digest_of(event))
        if outcome is not None and outcome.reason == Reason.ID_CONFLICT:
            raise IdConflict
        return Change(position, outcome)

    async def wake(self, caller: Caller, session: Session, text: str, *, seconds: int) -> Woken:
        """Have the session's agent answer the text, under the caller's key or a new one.

        Waits for `seconds` for the answer. Raises what `Wakes.wake` raises. The caller's position
        becomes where the message or its answer is on the stream, None before that.
        """
        sender = WakeCaller(caller.principal, caller.key or new_id(), caller.current)
        woken = await self._wakes.wake(sender, session, text, seconds=seconds)
        caller.position = woken.position
        return woken

    async def outcome(
        self, caller: Caller, event_id: str, *, by: str | None, entry: Position | None
    ) -> Outcome | None:
        """The outcome of an event that the caller may know, None while it has none.

        With `entry` it is what became of the entry at that position: also None if that is one of
        another id. Raises PositionLost if it cannot be told any more, and what `view_for` raises.
        """
        view = await self.view_for(caller)
        if entry is None:
            return await view.outcome(event_id, by=by)
        ours = entry.event_id in self.access.outcome_ids(caller.principal, event_id, by)
        known = ours and await view.has_outcome(entry)
        return await self.fates.now(entry) if known else None

    async def message_of(self, agent: str, key: str, event_id: str) -> Message | None:
        """The message of an event without publisher, if a session of the agent holds it."""
        session = await self.backend.session(key)
        hit = await self.backend.message(event_id) if wire.is_id(event_id) else None
        if session is None or hit is None or hit.session != key:
            return None
        return hit.message if self.access.has(agent, session) else None

    def _event(self, caller: Caller, event_type: EventType, session: Session | None) -> Event:
        event = Event(id=caller.key or new_id(), type=event_type, if_exists=True)
        if session is None:
            return event
        claims = self.access.claims(caller.principal, session)
        return event._replace(session=session.key, **claims)


def checked_key(key: str | None) -> str | None:
    """An Idempotency-Key that can be an event id; raises InvalidRequest for another."""
    if key is not None and not wire.is_id(key):
        raise InvalidRequest("Idempotency-Key must be 1 to 128 characters of A-Z a-z 0-9 . _ : -")
    return key
