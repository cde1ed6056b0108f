"""One turn, from the held lane to its end on the stream: the same for gateway and channels.

    history -> user append -> its outcome -> the agent -> tool turns and reply, together

Whatever is published goes through the lane's fence. A turn whose user append was not applied from
this very entry was run before, or must not run: its agent is not asked. However a turn that was
opened ends, something closes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final, TypeVar

from ingest.agents.base import Agent, Reply
from ingest.conclusions import Conclusion, aborted, failed, marked, replied, with_text
from ingest.counters import Count, Counters
from ingest.failures import (
    CLEARED,
    FAILED,
    INTERRUPTED,
    TIMED_OUT,
    AgentError,
    is_context_overflow,
)
from ingest.inbound import Inbound
from ingest.joining import find_followers, wait_until_due
from ingest.live import Ending, Interruption, LiveTurn, TurnEnd
from ingest.prompt import Line, Said, build, compacted
from ingest.reads import History, SessionReads, fresh_history
from ingest.tasks import end_all
from ingest.unavailable import CODE, Refusals, refusal_text
from sessions import times
from sessions.errors import (
    InvalidEvent,
    PositionLost,
    Retryable,
    StoreBehind,
    StoreUnavailable,
    StreamFull,
    StreamUnavailable,
)
from sessions.models import Event, Outcome, OutcomeKind, Position, Reason
from sessions.stream.lanes import Hold, Lanes, Stage
from sessions.text import display_id
from sessions.web.rejections import ApiUnavailable

log = logging.getLogger(__name__)
R = TypeVar("R")

# Seconds that an agent may take for one turn, its tools included: upstream's default.
TURN_TIMEOUT: Final = 300.0
# Seconds that a cancelled agent gets to let go.
_CANCEL_GRACE: Final = 2.0
# Seconds between two tries of what must succeed in the end.
_PAUSE: Final = 0.5
# Seconds after the start in which a message may come again that an older version took under another
# id. Platforms deliver again within minutes.
_UPGRADE: Final = 3600.0
# Microseconds that two clocks may differ. What the store took before a message was written is
# another message, though an older version gave both the same id.
_SLACK: Final = 300 * times.SECOND


class TurnRunner:
    """Runs turns whose lane is held. Any number at a time, of different sessions."""

    def __init__(
        self,
        lanes: Lanes,
        reads: SessionReads,
        agents: Mapping[str, Agent],
        *,
        timeout: float = TURN_TIMEOUT,
        refusals: Refusals | None = None,
        counters: Counters | None = None,
    ) -> None:
        self.counters = counters or Counters()
        self._lanes = lanes
        self._reads = reads
        self._agents = agents
        self._timeout = timeout
        self._refusals = refusals or Refusals()
        self._since = time.monotonic()

    async def run(self, turn: LiveTurn, hold: Hold) -> TurnEnd:
        """Bring the turn from the stage that it is in to its end on the stream.

        Returns when the end is published, or nothing is to be. Raises LaneLost where the lane is
        not ours any more: whoever holds it next closes the turn.
        """
        try:
            if hold.stage is Stage.TAKEN and turn.inbound.command:
                return await self._clear(turn, hold)
            if hold.stage is Stage.TAKEN:
                return await self._whole(turn, hold)
            if hold.stage is Stage.OPENED:
                return await self._interrupted(turn, hold)
        except _Left:
            return TurnEnd(Ending.LEFT)
        except _Unavailable:
            return self._refused_owner(turn)
        except _Orphaned:
            log.warning("turn %s is closed: nobody runs it any more", turn.inbound.id)
            return await self._close(turn, hold, self._marked(turn, INTERRUPTED, "idle"))
        except PositionLost:
            log.warning("turn %s was lost with its stream", turn.inbound.id)
            return TurnEnd(Ending.FAILED, _LOST_TEXT, "AGENT_ERROR")
        except _RunBefore:
            log.info("message %s came again: it is not answered twice", turn.inbound.id)
        return TurnEnd(Ending.ELSEWHERE)

    async def give_up(self, turn: LiveTurn, hold: Hold) -> TurnEnd:
        """Close a turn that cannot be run, with nothing but what it has in hand.

        Its message is stored with the marker if it was not before. Raises what `run` raises.
        """
        if hold.stage is Stage.ENDED:
            return TurnEnd(Ending.ELSEWHERE)
        conclusion = self._marked(turn, FAILED, "error")
        events = [*conclusion.events]
        if turn.inbound.command:
            return TurnEnd(Ending.FAILED, _GIVEN_UP, "AGENT_ERROR")
        if hold.stage is Stage.TAKEN:
            # Where the message was answered before, both are known and nothing comes of them. Its
            # own time may be what cannot be stored.
            joining = [one.joining(hold.id) for one in turn.joined]
            events = [replace(turn.inbound, at=times.now()).opening(), *joining, *events]
        await self._insist(turn, hold, events, Stage.ENDED)
        return conclusion.end

    async def read_early(self, turn: LiveTurn) -> History | None:
        """The history of a turn that is likely to run at once; None where it cannot be read now."""
        try:
            return await self._reads.history(turn.inbound.session, turn.inbound.agent)
        except (Retryable, PositionLost):
            return None

    # -- a whole turn ------------------------------------------------------------------------

    async def _whole(self, turn: LiveTurn, hold: Hold) -> TurnEnd:
        try:
            lines = await self._patiently(turn, lambda: self._prompt(turn, hold))
            if turn.interruption is Interruption.ABORT:
                return TurnEnd(Ending.ABORTED)
            _stay(turn)
            opened = await self._open(turn, hold)
        except Retryable as error:
            turn.check_lane()
            if not turn.attended:
                # Its sender was told that it was taken, and does not send it again.
                _stay(turn)
            return _refused(error)
        except InvalidEvent as error:
            # No entry can hold the message. Nothing of it was published, nor ever will be.
            return TurnEnd(Ending.REFUSED, error.detail, "AGENT_ERROR")
        outcome = await self._outcome_of(turn, opened)
        if not _is_from(outcome, opened):
            return self._not_ours(turn, outcome, opened)
        turn.opened = True
        await self._let_go_of_joined(turn, hold)
        conclusion = await self._work(turn, lines)
        return await self._close(turn, hold, conclusion)

    async def _prompt(self, turn: LiveTurn, hold: Hold) -> list[Line]:
        waits = turn.inbound.due > 0
        if waits:
            await wait_until_due(self._lanes, turn, hold)
        early = await self._early(turn)
        history = await self._history(turn.inbound, early)
        _check_new(hold.id, history)
        await self._check_former(turn.inbound, history)
        if not history.available and turn.inbound.channel is None:
            raise _Unavailable
        if waits:
            await self._join(turn, hold, history.position)
        inbound = turn.inbound
        return build(history.messages, Said("user", inbound.text, inbound.at))

    async def _history(self, inbound: Inbound, early: History | None = None) -> History:
        return await fresh_history(
            self._reads, self._lanes, inbound.session, inbound.agent, early=early
        )

    async def _check_former(self, inbound: Inbound, history: History) -> None:
        """Raise for a message that an older version took under the id that it gave it."""
        former, oldest = inbound.former, inbound.at - _SLACK
        if not former:
            return
        if former in history.ids:
            at = history.messages[history.ids.index(former)].at
            if at >= oldest:
                raise _RunBefore
        if time.monotonic() - self._since > _UPGRADE:
            return
        outcome = await self._reads.outcome(former, history.position)
        if outcome is not None and outcome.position.stream_id.ms * 1000 >= oldest:
            raise _RunBefore

    async def _early(self, turn: LiveTurn) -> History | None:
        """What was read before the lane was held; once, since trying again is to read anew."""
        reading, turn.reading = turn.reading, None
        if reading is None:
            return None
        await asyncio.wait([reading])
        return reading.result() if not reading.cancelled() else None

    async def _join(self, turn: LiveTurn, hold: Hold, read_at: Position) -> None:
        # A joined message has another text than it came with, so that its id alone tells.
        if await self._reads.outcome(turn.inbound.id, read_at) is not None:
            raise _RunBefore
        turn.join(await find_followers(self._lanes, self._reads, turn, hold, read_at))

    async def _let_go_of_joined(self, turn: LiveTurn, hold: Hold) -> None:
        """Free the places of the messages that became a part of this turn.

        One that stays is known when its own turn comes.
        """
        for follower in turn.joined:
            with contextlib.suppress(Retryable):
                await self._lanes.withdraw(hold.lane, follower.id)

    async def _open(self, turn: LiveTurn, hold: Hold) -> Position:
        # Whether a cut connection took the entry is not known, so this goes on until it is; what
        # Redis refused for want of room is surely not on the stream.
        events = [turn.inbound.opening(), *(one.joining(hold.id) for one in turn.joined)]
        tolerated = StreamUnavailable if turn.attended else Retryable
        positions = await self._insist(turn, hold, events, Stage.OPENED, tolerated)
        return positions[0]

    async def _clear(self, turn: LiveTurn, hold: Hold) -> TurnEnd:
        """Begin the session anew, once for each command."""
        if turn.inbound.former:
            await self._patiently(turn, lambda: self._check_command(turn.inbound))
        events = [turn.inbound.clearing()]
        [position] = await self._insist(turn, hold, events, Stage.ENDED)
        outcome = await self._outcome_of(turn, position)
        if outcome.position.stream_id != position.stream_id:
            raise _RunBefore
        if outcome.reason == Reason.NOT_OWNER:
            return self._refused_owner(turn)
        return TurnEnd(Ending.REPLIED, CLEARED)

    async def _check_command(self, inbound: Inbound) -> None:
        await self._check_former(inbound, await self._history(inbound))

    def _not_ours(self, turn: LiveTurn, outcome: Outcome, opened: Position) -> TurnEnd:
        """The end of a turn whose user append had no effect from this entry."""
        if outcome.outcome is OutcomeKind.APPLIED:
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
        self._refusals.note(turn.inbound)
        return TurnEnd(Ending.REFUSED, refusal_text(display_id(turn.inbound.session)), CODE)

    async def _patiently(self, turn: LiveTurn, call: Callable[[], Awaitable[R]]) -> R:
        """Once where a person waits and can try again; else until it works."""
        while True:
            try:
                return await call()
            except Retryable:
                if turn.attended or turn.interruption is not None:
                    raise
            await turn.wait_interrupted(_PAUSE)

    async def _outcome_of(self, turn: LiveTurn, opened: Position) -> Outcome:
        """However long the worker takes: an opened turn cannot be let go before."""
        while True:
            try:
                outcome = await self._reads.outcome(turn.inbound.id, opened)
            except Retryable:
                outcome = None
            if outcome is not None:
                return outcome
            turn.check_lane()
            _stay(turn)
            await asyncio.sleep(_PAUSE)

    # -- the agent ---------------------------------------------------------------------------

    async def _work(self, turn: LiveTurn, lines: list[Line]) -> Conclusion:
        """Let the agent answer, for as long as nothing comes between."""
        work = asyncio.create_task(self._answer(turn, lines), name=f"agent {turn.inbound.id}")
        stopped = asyncio.create_task(turn.wait_interrupted(self._timeout))
        try:
            await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end_all({stopped, work}, within=_CANCEL_GRACE)
        turn.check_lane()
        if work.done() and not work.cancelled():
            return self._concluded(turn, work)
        return self._stopped(turn)

    async def _answer(self, turn: LiveTurn, lines: list[Line]) -> Reply:
        inbound = turn.inbound
        agent = self._agents.get(inbound.agent)
        if agent is None:
            text = f"no agent {inbound.agent!r} is configured here"
            raise AgentError(text, reason="no such agent")
        try:
            return with_text(await agent.answer(inbound.session, lines, turn))
        except AgentError as error:
            # Tools were used by then, and must not be used twice.
            if not is_context_overflow(error) or turn.said or error.began:
                raise
        return with_text(await agent.answer(inbound.session, compacted(lines), turn))

    def _concluded(self, turn: LiveTurn, work: asyncio.Task[Reply]) -> Conclusion:
        error = work.exception()
        if error is None:
            return replied(turn, work.result())
        if isinstance(error, AgentError):
            self._log_failure(turn, error)
        else:
            self.counters.add(Count.TURN_ERRORS)
            log.error("the agent of turn %s has a defect", turn.inbound.id, exc_info=error)
            error = AgentError("the agent failed; the log of ingest tells more", reason="a defect")
            self._log_failure(turn, error)
        return failed(turn, error, most=self._lanes.max_content)

    def _log_failure(self, turn: LiveTurn, error: AgentError) -> None:
        """One bounded line, and nothing that the user, the model or the provider wrote."""
        inbound, status = turn.inbound, str(error.status or "none")
        self.counters.add(
            Count.TURNS_FAILED, agent=inbound.agent, status=status, reason=error.reason
        )
        log.warning(
            "turn %s failed: agent %s, session %r, provider's status %s: %s",
            *(inbound.id, inbound.agent, inbound.session, status, error.reason),
        )

    # -- the end -----------------------------------------------------------------------------

    async def _close(self, turn: LiveTurn, hold: Hold, conclusion: Conclusion) -> TurnEnd:
        try:
            await self._insist(turn, hold, conclusion.events, Stage.ENDED)
        except InvalidEvent as error:
            # A reply that no entry can hold. Nothing of it was published.
            failure = AgentError(
                f"the reply cannot be stored: {error.detail}", reason="unstorable reply"
            )
            self._log_failure(turn, failure)
            conclusion = failed(turn, failure, most=self._lanes.max_content)
            await self._insist(turn, hold, conclusion.events, Stage.ENDED)
        return conclusion.end

    async def _insist(
        self,
        turn: LiveTurn,
        hold: Hold,
        events: Sequence[Event],
        stage: Stage,
        tolerated: type[Retryable] = Retryable,
    ) -> list[Position]:
        """Publish, however long Redis is away or takes nothing; only a lost lane ends it."""
        while True:
            try:
                return await self._lanes.publish(hold, events, stage=stage)
            except tolerated as error:
                log.warning("turn %s waits for Redis: %s", turn.inbound.id, error)
            turn.check_lane()
            await asyncio.sleep(_PAUSE)

    async def _interrupted(self, turn: LiveTurn, hold: Hold) -> TurnEnd:
        """Close a turn that was opened by a replica that is gone."""
        assert hold.opened is not None
        # Epoch 0: whichever one the stream had then, what counts is the event's own outcome.
        opened = Position(0, hold.opened, turn.inbound.id)
        outcome = await self._outcome_of(turn, opened)
        if not _is_from(outcome, opened):
            return self._not_ours(turn, outcome, opened)
        log.warning("turn %s is closed: its replica died", turn.inbound.id)
        return await self._close(turn, hold, self._marked(turn, INTERRUPTED, "idle"))

    def _stopped(self, turn: LiveTurn) -> Conclusion:
        """The conclusion of a turn whose agent did not come to an end by itself."""
        if turn.interruption is Interruption.ABORT:
            return aborted(turn, most=self._lanes.max_content)
        if turn.interruption is Interruption.STOP:
            return self._marked(turn, INTERRUPTED, "idle")
        self._log_failure(turn, AgentError(TIMED_OUT, reason=f"no end in {self._timeout:g} s"))
        return self._marked(turn, TIMED_OUT, "error")

    def _marked(self, turn: LiveTurn, marker: str, state: str) -> Conclusion:
        return marked(turn, marker, state, most=self._lanes.max_content)


class _Left(Exception):
    """The process ends; whoever takes the lane over goes on from here."""


class _Unavailable(Exception):
    """The session is not the agent's."""


class _RunBefore(Exception):
    """The message was taken care of before: it was delivered again."""


class _Orphaned(Exception):
    """The message opened a turn before, which nothing ended; no lane knows of it any more."""


def _check_new(turn: str, history: History) -> None:
    """Raise for a message that the session has already, read while its lane is held."""
    if turn in history.ids:
        raise _RunBefore if f"{turn}:reply" in history.ids else _Orphaned


def _stay(turn: LiveTurn) -> None:
    if turn.interruption is Interruption.STOP:
        raise _Left


def _is_from(outcome: Outcome, opened: Position) -> bool:
    return outcome.outcome is OutcomeKind.APPLIED and outcome.position.stream_id == opened.stream_id


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
