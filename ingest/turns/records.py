"""Where the sessions of turns are read and written: stored, or remembered by this replica alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, Self

from ingest.reads import TurnReads
from ingest.turns.memory import MemoryLanes, SessionMemory
from sessions.models import Event, Position
from sessions.stream.lanes.inbound import Inbound
from sessions.stream.lanes.lanes import Lanes
from sessions.stream.lanes.values import Hold, Stage


class TurnLanes(Protocol):
    """What a turn needs of its lane; `Lanes` says what the methods do and raise."""

    @property
    def max_content(self) -> int:
        """The bytes that one message may have."""
        ...

    async def newest(self, session: str, after: Position) -> Position | None:
        """The session's newest entry behind a point of the stream."""
        ...

    async def waiting(self, hold: Hold) -> list[str]:
        """The messages behind the one at work."""
        ...

    async def publish(
        self, hold: Hold, events: Sequence[Event], *, stage: Stage, joined: Sequence[str] = ()
    ) -> list[Position]:
        """Let the events take effect, and bring the turn to `stage`."""
        ...


class SessionRecords(NamedTuple):
    """One place of sessions: how turns write there, and how they read what is there."""

    lanes: TurnLanes
    reads: TurnReads


class AllRecords(NamedTuple):
    """Both places. A message itself says which one its session is in."""

    stored: SessionRecords
    remembered: SessionRecords

    @classmethod
    def of(cls, lanes: Lanes, reads: TurnReads, memory: SessionMemory) -> Self:
        """The places of one replica."""
        return cls(SessionRecords(lanes, reads), SessionRecords(MemoryLanes(lanes, memory), memory))

    def for_message(self, inbound: Inbound) -> SessionRecords:
        """Where the session of that message is."""
        return self.stored if inbound.stored else self.remembered


__all__ = ["AllRecords", "SessionRecords", "TurnLanes"]
