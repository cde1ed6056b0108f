"""What a turn publishes under its lane's fence, and what became of it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from ingest.reads import TurnReads
from ingest.turns.exits import check_staying
from ingest.turns.live import LiveTurn
from ingest.turns.records import TurnLanes
from sessions.errors import Retryable, StreamUnavailable
from sessions.models import Event, Outcome, OutcomeKind, Position
from sessions.process.retry import Pauses, retry
from sessions.process.tracing import span
from sessions.stream.lanes.values import Hold, Stage

log = logging.getLogger(__name__)

# Seconds between two tries of what must succeed in the end.
_PAUSE: Final = 0.5


class TurnPublisher:
    """Publishes for turns whose lane is held. Any number at a time."""

    def __init__(self, lanes: TurnLanes, reads: TurnReads) -> None:
        self._lanes = lanes
        self._reads = reads

    async def open(self, turn: LiveTurn, hold: Hold) -> Position:
        """Publish the user append, with the ids of the messages that joined the turn.

        Raises Retryable for an attended turn of which surely nothing is on the stream, and
        LaneChanged if one of these messages has left the lane.
        """
        # Whether a cut connection took the entry is not known, so this goes on until it is; what
        # Redis refused for want of room is surely not on the stream.
        events = [turn.inbound.opening(), *(one.joining(hold.id) for one in turn.joined)]
        tolerated = StreamUnavailable if turn.attended else Retryable
        joined = [one.id for one in turn.joined]
        positions = await self.publish(
            turn, hold, events, Stage.OPENED, tolerated=tolerated, joined=joined
        )
        return positions[0]

    async def publish(
        self,
        turn: LiveTurn,
        hold: Hold,
        events: Sequence[Event],
        stage: Stage,
        *,
        tolerated: type[Retryable] = Retryable,
        joined: Sequence[str] = (),
    ) -> list[Position]:
        """Publish, however long Redis is away or takes nothing; only a lost lane ends it.

        Raises LaneLost, InvalidEvent, a Retryable that is not `tolerated`, and LaneChanged if one
        of `joined` has left the lane.
        """

        def goes_on(_error: Retryable) -> bool:
            turn.check_lane()
            return True

        with span("publish", turn=turn.inbound.id, stage=stage):
            return await retry(
                lambda: self._lanes.publish(hold, events, stage=stage, joined=joined),
                on=tolerated,
                pauses=Pauses(_PAUSE),
                # No limit: an open turn must be closed, whatever Redis does meanwhile.
                patience=None,
                goes_on=goes_on,
                report=lambda error: log.warning(
                    "turn %s waits for Redis: %s", turn.inbound.id, error
                ),
            )

    async def outcome(self, turn: LiveTurn, published: Position) -> Outcome:
        """What became of the turn's first event, however long the worker takes.

        Raises LaneLost, TurnHandedOver and PositionLost.
        """

        async def known() -> Outcome:
            outcome = await self._reads.outcome(turn.inbound.id, published)
            if outcome is None:
                raise Retryable("the event is not applied yet")
            return outcome

        def goes_on(_error: Retryable) -> bool:
            turn.check_lane()
            check_staying(turn)
            return True

        # No limit: an opened turn cannot be let go before.
        return await retry(
            known, on=Retryable, pauses=Pauses(_PAUSE), patience=None, goes_on=goes_on
        )


def is_from(outcome: Outcome, published: Position) -> bool:
    """Whether the event took effect, and did so by the entry that was published there."""
    return (
        outcome.outcome is OutcomeKind.APPLIED and outcome.position.stream_id == published.stream_id
    )
