"""What a turn publishes under its lane's fence, and what became of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from ingest.reads import SessionReads
from ingest.turns.exits import check_staying
from ingest.turns.live import LiveTurn
from sessions.errors import Retryable, StreamUnavailable
from sessions.models import Event, Outcome, OutcomeKind, Position
from sessions.stream.lanes.lanes import Lanes
from sessions.stream.lanes.values import Hold, Stage

log = logging.getLogger(__name__)

# Seconds between two tries of what must succeed in the end.
_PAUSE: Final = 0.5


class TurnPublisher:
    """Publishes for turns whose lane is held. Any number at a time."""

    def __init__(self, lanes: Lanes, reads: SessionReads) -> None:
        self._lanes = lanes
        self._reads = reads

    async def open(self, turn: LiveTurn, hold: Hold) -> Position:
        """Publish the user append, with the ids of the messages that joined the turn.

        Raises Retryable for an attended turn of which surely nothing is on the stream.
        """
        # Whether a cut connection took the entry is not known, so this goes on until it is; what
        # Redis refused for want of room is surely not on the stream.
        events = [turn.inbound.opening(), *(one.joining(hold.id) for one in turn.joined)]
        tolerated = StreamUnavailable if turn.attended else Retryable
        positions = await self.publish(turn, hold, events, Stage.OPENED, tolerated)
        return positions[0]

    async def publish(
        self,
        turn: LiveTurn,
        hold: Hold,
        events: Sequence[Event],
        stage: Stage,
        tolerated: type[Retryable] = Retryable,
    ) -> list[Position]:
        """Publish, however long Redis is away or takes nothing; only a lost lane ends it.

        Raises LaneLost, InvalidEvent, and a Retryable that is not `tolerated`.
        """
        while True:
            try:
                return await self._lanes.publish(hold, events, stage=stage)
            except tolerated as error:
                log.warning("turn %s waits for Redis: %s", turn.inbound.id, error)
            turn.check_lane()
            await asyncio.sleep(_PAUSE)

    async def outcome(self, turn: LiveTurn, published: Position) -> Outcome:
        """What became of the turn's first event, however long the worker takes.

        An opened turn cannot be let go before. Raises LaneLost, Left and PositionLost.
        """
        while True:
            try:
                outcome = await self._reads.outcome(turn.inbound.id, published)
            except Retryable:
                outcome = None
            if outcome is not None:
                return outcome
            turn.check_lane()
            check_staying(turn)
            await asyncio.sleep(_PAUSE)


def is_from(outcome: Outcome, published: Position) -> bool:
    """Whether the event took effect, and did so by the entry that was published there."""
    return (
        outcome.outcome is OutcomeKind.APPLIED and outcome.position.stream_id == published.stream_id
    )
