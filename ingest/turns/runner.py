"""One turn, from the held lane to its end on the stream: the same for gateway and channels.

    history -> user append -> its outcome -> the agent -> tool turns and reply, together

Whatever is published goes through the lane's fence. A turn whose user append was not applied from
this very entry was run before, or must not run: its agent is not asked. However a turn that was
opened ends, something closes it.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Final, NamedTuple, Protocol, TypeVar

from ingest.agents.base import Agent
from ingest.counters import Counters
from ingest.failures import CLEARED, AgentError
from ingest.prompt import PromptMessage
from ingest.reads import History, TurnReads
from ingest.turns.answering import TURN_TIMEOUT, AgentRunner
from ingest.turns.conclusions import Conclusion, closed
from ingest.turns.exits import (
    AlreadyRun,
    OrphanedTurn,
    SessionUnavailable,
    TurnHandedOver,
    check_staying,
)
from ingest.turns.live import Ending, Interruption, LiveTurn, TurnEnd
from ingest.turns.memory import SessionMemory
from ingest.turns.prompting import PromptReader
from ingest.turns.publishing import TurnPublisher, is_from
from ingest.turns.records import AllRecords
from ingest.turns.timings import TurnTimings
from ingest.turns.unavailable import CODE, OwnerRefusals, refusal_text
from sessions import times
from sessions.errors import (
    InvalidEvent,
    LaneChanged,
    PositionLost,
    Retryable,
    StoreBehind,
    StoreUnavailable,
    StreamFull,
    StreamUnavailable,
)
from sessions.models import Outcome, OutcomeKind, Position, Reason
from sessions.process.retry import Pauses, retry
from sessions.stream.lanes.closing import Closing
from sessions.stream.lanes.inbound import Inbound
from sessions.stream.lanes.lanes import Lanes
from sessions.stream.lanes.values import Hold, Stage
from sessions.text import display_id
from sessions.web.rejections import ApiUnavailable

log = logging.getLogger(__name__)
R = TypeVar("R")

# Seconds between two tries to read what a turn needs.
_PAUSE: Final = 0.5


class TurnNews(Protocol):
    """Is told of turns, as far as their sessions show it to others. Raises nothing."""

    async def opened(self, inbound: Inbound) -> None:
        """The message is in the store."""
        ...

    async def ended(self, inbound: Inbound, end: TurnEnd) -> None:
        """The end is on the stream."""
        ...


class _Parts(NamedTuple):
    """What reads and publishes for turns whose sessions are in one place."""

    prompts: PromptReader
    publisher: TurnPublisher


class TurnRunner:
    """Runs turns whose lane is held. Any number at a time, of different sessions."""

    def __init__(
        self,
        lanes: Lanes,
        reads: TurnReads,
        agents: Mapping[str, Agent],
        *,
        timeout: float = TURN_TIMEOUT,
        memory: SessionMemory | None = None,
        refusals: OwnerRefusals | None = None,
        counters: Counters | None = None,
        news: TurnNews | None = None,
    ) -> None:
        """`memory` has the sessions that are not stored."""
        self.counters = counters or Counters()
        self.timings = TurnTimings(agents)
        self._lanes = lanes
        records = AllRecords.of(lanes, reads, memory or SessionMemory())
        self._stored = _Parts(PromptReader(*records.stored), TurnPublisher(*records.stored))
        self._remembered = _Parts(
            PromptReader(*records.remembered), TurnPublisher(*records.remembered)
        )
        self._answering = AgentRunner(
            *(agents, self.counters, self.timings), timeout=timeout, most=lanes.max_content
        )
        self._refusals = refusals or OwnerRefusals()
        self._news = news

    async def run(self, turn: LiveTurn, hold: Hold) -> TurnEnd:
        """Bring the turn from the stage that it is in to its end on the stream.

        Returns when the end is published, or nothing is to be. Raises LaneLost if the lane is not
        ours any more: the replica that holds it next closes the turn.
        """
        try:
            return await self._from_stage(turn, hold)
        except TurnHandedOver:
            return TurnEnd(Ending.LEFT)
        except SessionUnavailable:
            return self._refused_owner(turn)
        except OrphanedTurn:
            log.warning("turn %s is closed: nobody runs it any more", turn.inbound.id)
            return await self._close(turn, hold, self._closed(turn, Closing.INTERRUPTED))
        except PositionLost:
            log.warning("turn %s was lost with its stream", turn.inbound.id)
            return TurnEnd(Ending.FAILED, _LOST_TEXT, "AGENT_ERROR")
        except AlreadyRun:
            log.info("message %s came again: it is not answered twice", turn.inbound.id)
            return TurnEnd(Ending.ELSEWHERE)

    async def give_up(self, turn: LiveTurn, hold: Hold) -> TurnEnd:
        """Close a turn that cannot be run, with nothing but what it has in hand.

        Its message is stored with the marker if it was not before. Raises what `run` raises.
        """
        if hold.stage is Stage.ENDED:
            return TurnEnd(Ending.ELSEWHERE)
        conclusion = self._closed(turn, Closing.FAILED)
        events = [*conclusion.events]
        if turn.inbound.command:
            return TurnEnd(Ending.FAILED, _GIVEN_UP, "AGENT_ERROR")
        if hold.stage is Stage.TAKEN:
            # If the message was answered before, both are known and nothing comes of them. Its own
            # time may be what cannot be stored.
            joining = [one.joining(hold.id) for one in turn.joined]
            events = [replace(turn.inbound, at=times.now()).opening(), *joining, *events]
        await self._parts(turn).publisher.publish(turn, hold, events, Stage.ENDED)
        return conclusion.end

    async def read_early(self, turn: LiveTurn) -> History | None:
        """The history of a turn that is likely to run at once; None if it cannot be read now."""
        return await self._parts(turn).prompts.read_early(turn)

    def _parts(self, turn: LiveTurn) -> _Parts:
        return self._stored if turn.inbound.stored else self._remembered

    # -- a whole turn ------------------------------------------------------------------------

    async def _from_stage(self, turn: LiveTurn, hold: Hold) -> TurnEnd:
        if hold.stage is Stage.ENDED:
            return TurnEnd(Ending.ELSEWHERE)
        if hold.stage is Stage.OPENED:
            return await self._interrupted(turn, hold)
        if turn.inbound.command:
            return await self._clear(turn, hold)
        return await self._whole(turn, hold)

    async def _whole(self, turn: LiveTurn, hold: Hold) -> TurnEnd:
        try:
            begun = await self._begin(turn, hold)
        except Retryable as error:
            turn.check_lane()
            if not turn.attended:
                # Its sender was told that it was taken, and does not send it again.
                check_staying(turn)
            return _refused(error)
        except InvalidEvent as error:
            # No entry can hold the message. Nothing of it was published, nor ever will be.
            return TurnEnd(Ending.REFUSED, error.detail, "AGENT_ERROR")
        if begun is None:
            return TurnEnd(Ending.ABORTED)
        lines, opened = begun
        outcome = await self._parts(turn).publisher.outcome(turn, opened)
        if not is_from(outcome, opened):
            return self._not_ours(turn, outcome, opened)
        await self._note_opened(turn, hold)
        conclusion = await self._answering.answer(turn, lines)
        return await self._close(turn, hold, conclusion)

    async def _begin(
        self, turn: LiveTurn, hold: Hold
    ) -> tuple[list[PromptMessage], Position] | None:
        """What the agent is asked with, and the entry that opened the turn; None if it was aborted.

        Raises as reading and opening do.
        """
        while True:
            lines = await _patiently(turn, lambda: self._parts(turn).prompts.read(turn, hold))
            if turn.interruption is Interruption.ABORT:
                return None
            check_staying(turn)
            try:
                return lines, await self._parts(turn).publisher.open(turn, hold)
            except LaneChanged:
                turn.separate(Inbound.load(hold.message))

    async def _note_opened(self, turn: LiveTurn, hold: Hold) -> None:
        turn.opened = True
        if self._news is not None:
            await self._news.opened(turn.inbound)
        await self._let_go_of_joined(turn, hold)

    async def _let_go_of_joined(self, turn: LiveTurn, hold: Hold) -> None:
        """Free the places of the messages that became a part of this turn.

        One that stays is known when its own turn comes.
        """
        for follower in turn.joined:
            with contextlib.suppress(Retryable):
                await self._lanes.withdraw(hold.lane, follower.id)

    async def _close(self, turn: LiveTurn, hold: Hold, conclusion: Conclusion) -> TurnEnd:
        publisher = self._parts(turn).publisher
        try:
            await publisher.publish(turn, hold, conclusion.events, Stage.ENDED)
        except InvalidEvent as error:
            # A reply that no entry can hold. Nothing of it was published.
            failure = AgentError(
                f"the reply cannot be stored: {error.detail}", reason="unstorable reply"
            )
            conclusion = self._answering.failed(turn, failure)
            await publisher.publish(turn, hold, conclusion.events, Stage.ENDED)
        if self._news is not None:
            await self._news.ended(turn.inbound, conclusion.end)
        return conclusion.end

    # -- other turns -------------------------------------------------------------------------

    async def _clear(self, turn: LiveTurn, hold: Hold) -> TurnEnd:
        """Begin the session again, once for each command."""
        prompts, publisher = self._parts(turn)
        await _patiently(turn, lambda: prompts.check_command(turn.inbound))
        events = [turn.inbound.clearing()]
        [position] = await publisher.publish(turn, hold, events, Stage.ENDED)
        outcome = await publisher.outcome(turn, position)
        if outcome.position.stream_id != position.stream_id:
            raise AlreadyRun
        if outcome.reason == Reason.NOT_OWNER:
            return self._refused_owner(turn)
        return TurnEnd(Ending.REPLIED, CLEARED)

    async def _interrupted(self, turn: LiveTurn, hold: Hold) -> TurnEnd:
        """Close a turn that was opened by a replica that is gone."""
        if hold.opened is None:
            # Its session is not stored, so that nothing of it went into the stream.
            return await self._close_dead(turn, hold)
        # Epoch 0: whichever one the stream had then, what counts is the event's own outcome.
        opened = Position(0, hold.opened, turn.inbound.id)
        outcome = await self._parts(turn).publisher.outcome(turn, opened)
        if not is_from(outcome, opened):
            return self._not_ours(turn, outcome, opened)
        return await self._close_dead(turn, hold)

    async def _close_dead(self, turn: LiveTurn, hold: Hold) -> TurnEnd:
        log.warning("turn %s is closed: its replica died", turn.inbound.id)
        return await self._close(turn, hold, self._closed(turn, Closing.INTERRUPTED))

    def _not_ours(self, turn: LiveTurn, outcome: Outcome, opened: Position) -> TurnEnd:
        """The end of a turn whose user append had no effect from this entry."""
        if outcome.outcome is OutcomeKind.APPLIED or outcome.reason == Reason.ALREADY_ROLLED_BACK:
            # It was run before, or was taken back before it came.
            return TurnEnd(Ending.ELSEWHERE)
        if outcome.position.stream_id != opened.stream_id and not turn.attended:
            # A platform that delivers again what was refused has been told so already.
            return TurnEnd(Ending.ELSEWHERE)
        if outcome.reason == Reason.NOT_OWNER:
            return self._refused_owner(turn)
        text = outcome.detail or f"the message was not taken: {outcome.reason}"
        return TurnEnd(Ending.REFUSED, text, "AGENT_ERROR")

    def _refused_owner(self, turn: LiveTurn) -> TurnEnd:
        """The end of a turn in a session that is another agent's."""
        self._refusals.record(turn.inbound)
        return TurnEnd(Ending.REFUSED, refusal_text(display_id(turn.inbound.session)), CODE)

    def _closed(self, turn: LiveTurn, closing: Closing) -> Conclusion:
        return closed(turn, closing, most=self._lanes.max_content)


async def _patiently(turn: LiveTurn, call: Callable[[], Awaitable[R]]) -> R:
    """Once if a person waits and can try again; else until it works."""
    return await retry(
        call,
        on=Retryable,
        pauses=Pauses(_PAUSE),
        # No limit: the sender was told that the message is taken, and does not send it again.
        patience=None,
        goes_on=lambda _: not turn.attended and turn.interruption is None,
        sleep=turn.wait_interrupted,
    )


def _refused(error: Retryable) -> TurnEnd:
    return TurnEnd(Ending.REFUSED, str(error), refusal_code(error), retryable=True)


def refusal_code(error: Retryable) -> str:
    """The gateway's code for what does not work now."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), "UNAVAILABLE")


_CODES: Final = (
    (StoreBehind, "STORE_BEHIND"),
    (StreamFull, "STREAM_FULL"),
    (StreamUnavailable, "STREAM_UNAVAILABLE"),
    (StoreUnavailable, "STORE_UNAVAILABLE"),
    (ApiUnavailable, "STORE_UNAVAILABLE"),
)
_GIVEN_UP: Final = "the command could not be carried out; the log of ingest tells more"
_LOST_TEXT: Final = "the stream that held this message is gone; send it again"
