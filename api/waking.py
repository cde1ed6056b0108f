"""Waking a session: a message that its agent answers, put into its lane from outside.

The api publishes nothing here. The message lies in the lane, as durable as the stream, until a
replica of ingest runs its turn.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from api.fate import digest_of
from api.turn_results import TurnResult, TurnResults
from api.waiting import WaitingReaders
from sessions import times, wire
from sessions.access.answers import AnswerWays, NoWay
from sessions.access.check import Access
from sessions.access.tokens import Principal
from sessions.errors import LaneFull
from sessions.ids import derived_id
from sessions.models import Position, Session
from sessions.process.settings import Settings
from sessions.process.tracing import carried
from sessions.store.backend import SessionReader
from sessions.stream.lanes.inbound import Inbound
from sessions.stream.lanes.values import Origin, lane_of
from sessions.text import GATEWAY_PREFIX
from sessions.web.rejections import IdConflict, WakeRefused

# Sessions that may wake each other in a row. People ask one agent, which asks a second; a chain of
# more than four goes round in circles more often than it comes to an answer.
MOST_HOPS: Final = 4


class WakeableLanes(Protocol):
    """The lanes, as far as they are reached from outside."""

    async def put(self, inbound: Inbound, *, digest: bytes) -> bool:
        """Put a message at the end of its lane; False where its id said something else."""
        ...

    async def has_put(self, id: str) -> bool:
        """Whether a message of that id was put into a lane in the last 24 hours."""
        ...

    async def at_work(self, lane: str) -> Inbound | None:
        """The message whose turn is at work."""
        ...

    async def origin(self, lane: str) -> Origin | None:
        """Where the lane's last message came from."""
        ...


class NoWakeableLanes:
    """For an api beside which no turns run."""

    async def put(self, inbound: Inbound, *, digest: bytes) -> bool:
        """Raises WakeRefused: nobody would take it."""
        raise WakeRefused("wake_nobody", "no turns run here")

    async def has_put(self, id: str) -> bool:
        """There are no lanes."""
        return False

    async def at_work(self, lane: str) -> Inbound | None:
        """There is none."""
        return None

    async def origin(self, lane: str) -> Origin | None:
        """It is not known."""
        return None


class WakeCaller(NamedTuple):
    """Who wakes a session: under which key, and in which session it says that it runs."""

    principal: Principal
    key: str
    current: str | None


@dataclass(frozen=True, slots=True)
class Woken:
    """A session that was woken. `end` is None while its turn has not ended, as far as waited for.

    `key` is the Idempotency-Key under which the same can be asked again. `way` is where the answer
    goes. `position` is where the message, or the answer, is on the stream; None before that.
    """

    turn: str
    key: str
    way: Origin | NoWay
    end: TurnResult | None
    position: Position | None


class LaneOverfull(LaneFull):
    """The session has as many messages waiting as it may, said to one who wakes it."""

    def __str__(self) -> str:
        return (
            f"SESSION_QUEUE_FULL: {self.pending} messages wait in session '{self.session}' "
            "already. Nothing was sent; try again later."
        )


class Wakes:
    """Wakes sessions for callers who may send to them."""

    def __init__(
        self,
        settings: Settings,
        *,
        access: Access,
        backend: SessionReader,
        lanes: WakeableLanes | None,
        waiting: WaitingReaders,
    ) -> None:
        self._agents: Collection[str] = settings.agents
        self._most = settings.turnstream.max_content_bytes
        self._access = access
        self._backend = backend
        self._lanes = lanes or NoWakeableLanes()
        self._waiting = waiting
        self._ways = AnswerWays(settings)
        self._ends = TurnResults(backend)

    async def wake(
        self, sender: WakeCaller, session: Session, text: str, *, seconds: float
    ) -> Woken:
        """Have the session's agent answer the text; wait for `seconds` until it has.

        The same key with the same text again wakes nothing twice, and waits again. Raises
        WakeRefused where nobody would answer or wakes would go in a circle, LaneOverfull where too
        many messages wait, InvalidEvent for a text that no session can hold, IdConflict for a key
        that was used for something else, TooManyWaiting, StreamFull and StreamUnavailable. Then
        nothing was sent, but for StreamUnavailable, after which it may have been: the same key
        makes sure.
        """
        agent = self._agent_of(session)
        chain = await self._chain(sender, session)
        lane = lane_of(session.key, agent)
        way = self._ways.way(agent, session, await self._lanes.origin(lane))
        inbound = _inbound(sender, session, agent, text, chain=chain, way=way)
        wire.parse(wire.encode(inbound.opening()), max_content=self._most)
        own = self._access.own_id(sender.principal, sender.key)
        if await self._backend.outcome(own) is not None:
            raise IdConflict
        place = self._waiting.place(sender.principal) if seconds else contextlib.nullcontext()
        with place:
            end, position = await self._sent(inbound, seconds)
        return Woken(inbound.id, sender.key, way, end, position)

    async def check_unused(self, principal: Principal, key: str) -> None:
        """Raise IdConflict if the caller has woken a session under this key.

        A wake and a change have different event ids, so the store cannot tell. Raises
        StreamUnavailable while that cannot be known.
        """
        id = _wake_id(principal, key)
        if await self._lanes.has_put(id) or await self._backend.outcome(id) is not None:
            raise IdConflict

    async def _sent(
        self, inbound: Inbound, seconds: float
    ) -> tuple[TurnResult | None, Position | None]:
        digest = digest_of(inbound.opening())
        if await self._ends.opened(inbound, digest) is None:
            await self._put(inbound, digest)
        end = await self._ends.wait(inbound, digest, seconds=seconds) if seconds else None
        end = end or await self._ends.find(inbound, digest)
        opened = await self._ends.opened(inbound, digest)
        position = opened.position if opened is not None else None
        return end, end.position if end is not None else position

    async def _put(self, inbound: Inbound, digest: bytes) -> None:
        try:
            if not await self._lanes.put(inbound, digest=digest):
                raise IdConflict
        except LaneFull as full:
            raise LaneOverfull(full.session, full.pending) from None

    def _agent_of(self, session: Session) -> str:
        agent = self._access.agent_of(session)
        if agent is None or agent not in self._agents:
            raise WakeRefused(
                "wake_nobody",
                f"nobody answers in session '{session.key}': it belongs to no agent that runs "
                "here. Send without wake to leave a message.",
            )
        return agent

    async def _chain(self, sender: WakeCaller, session: Session) -> tuple[str, ...]:
        """The sessions whose turns led to this wake, read from the lane of the caller's turn."""
        chain = await self._led_here(sender)
        if session.key in (*chain, *_keys(sender.current)):
            raise WakeRefused(
                "wake_cycle",
                f"session '{session.key}' waits for this very turn, so it cannot be woken by it. "
                "Put what it should know into your answer.",
            )
        if len(chain) > MOST_HOPS:
            raise WakeRefused(
                "wake_depth",
                f"{MOST_HOPS} sessions have woken each other in a row, which is the most. Answer "
                "with what you know.",
            )
        return chain

    async def _led_here(self, sender: WakeCaller) -> tuple[str, ...]:
        if sender.principal.agent is None:
            return ()
        for key in _keys(sender.current):
            at_work = await self._lanes.at_work(lane_of(key, sender.principal.agent))
            if at_work is not None:
                return (*at_work.chain, at_work.session)
        return ()


def _keys(current: str | None) -> tuple[str, ...]:
    """The keys that the session may have which the caller says it runs in."""
    return (current, GATEWAY_PREFIX + current) if current else ()


def _wake_id(principal: Principal, key: str) -> str:
    """The id of the message of a wake: no other caller's key gives it, and nothing of a platform's.

    An administrator's wakes have a space of their own, as an agent's.
    """
    return derived_id("wake", principal.agent or "", key)


def _inbound(
    sender: WakeCaller,
    session: Session,
    agent: str,
    text: str,
    *,
    chain: tuple[str, ...],
    way: Origin | NoWay,
) -> Inbound:
    by = sender.principal.agent or ""
    origin = way if isinstance(way, Origin) else None
    return Inbound(
        _wake_id(sender.principal, sender.key),
        session.key,
        text,
        agent,
        times.now(),
        channel=session.channel,
        room=session.room,
        sender=session.sender,
        reply_to=origin.channel if origin is not None else None,
        address=origin.address if origin is not None else None,
        chain=chain,
        from_agent=by,
        traceparent=carried(),
    )


__all__ = ["LaneOverfull", "WakeCaller", "WakeableLanes", "Wakes", "Woken"]
