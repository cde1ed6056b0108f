"""Lets the agent answer an opened turn, for as long as nothing comes between."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Final

from ingest.agents.base import Agent, Reply
from ingest.counters import CounterName, Counters
from ingest.failures import TIMED_OUT, AgentError, is_context_overflow
from ingest.prompt import PromptMessage, compacted
from ingest.turns.conclusions import Conclusion, aborted, closed, failed, replied, with_text
from ingest.turns.live import Interruption, LiveTurn
from ingest.turns.timings import AgentResult, TurnTimings
from sessions.process.tasks import end_all
from sessions.process.tracing import span
from sessions.stream.lanes.closing import Closing

log = logging.getLogger(__name__)

# Seconds that an agent may take for one turn, its tools included: upstream's default.
TURN_TIMEOUT: Final = 300.0
# Seconds that a cancelled agent gets to let go.
_CANCEL_GRACE: Final = 2.0


class AgentRunner:
    """Asks the agents of one replica. Any number of turns at a time."""

    def __init__(
        self,
        agents: Mapping[str, Agent],
        counters: Counters,
        timings: TurnTimings,
        *,
        timeout: float = TURN_TIMEOUT,
        most: int,
    ) -> None:
        """`most` is how many bytes an answer may have that is stored."""
        self._agents = agents
        self._counters = counters
        self._timings = timings
        self._timeout = timeout
        self._most = most

    async def answer(self, turn: LiveTurn, lines: list[PromptMessage]) -> Conclusion:
        """How the turn ends: with the agent's reply, or with what came between.

        Raises LaneLost.
        """
        with span("agent", turn=turn.inbound.id, agent=turn.inbound.agent):
            work = await self._ended(turn, lines)
        turn.check_lane()
        if work.done() and not work.cancelled():
            return self._concluded(turn, work)
        return self._stopped(turn)

    async def _ended(self, turn: LiveTurn, lines: list[PromptMessage]) -> asyncio.Task[Reply]:
        """The agent's work once it has come to its end, or was given up."""
        clock = asyncio.get_running_loop().time
        began = clock()
        work = asyncio.create_task(self._ask(turn, lines), name=f"agent {turn.inbound.id}")
        stopped = asyncio.create_task(turn.wait_interrupted(self._timeout))
        try:
            await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end_all({stopped, work}, within=_CANCEL_GRACE)
            self._timings.add_call(turn.inbound.agent, _result_of(turn, work), clock() - began)
        return work

    def failed(self, turn: LiveTurn, error: AgentError) -> Conclusion:
        """The end of a turn whose agent could not answer; counted and logged in a bounded line.

        The line holds nothing that the user, the model or the provider wrote.
        """
        self._log(turn, error)
        return failed(turn, error, most=self._most)

    async def _ask(self, turn: LiveTurn, lines: list[PromptMessage]) -> Reply:
        inbound = turn.inbound
        agent = self._agents.get(inbound.agent)
        if agent is None:
            text = f"no agent {inbound.agent!r} is configured here"
            raise AgentError(text, reason="no such agent")
        try:
            return with_text(await agent.answer(inbound.session, lines, turn.progress))
        except AgentError as error:
            # Tools were used by then, and must not be used twice.
            if not is_context_overflow(error) or turn.said or error.began:
                raise
        return with_text(await agent.answer(inbound.session, compacted(lines), turn.progress))

    def _concluded(self, turn: LiveTurn, work: asyncio.Task[Reply]) -> Conclusion:
        error = work.exception()
        if error is None:
            return replied(turn, work.result())
        if not isinstance(error, AgentError):
            self._counters.add(CounterName.TURN_ERRORS)
            log.error("the agent of turn %s has a defect", turn.inbound.id, exc_info=error)
            error = AgentError("the agent failed; the log of ingest tells more", reason="a defect")
        return self.failed(turn, error)

    def _stopped(self, turn: LiveTurn) -> Conclusion:
        """The conclusion of a turn whose agent did not come to an end by itself."""
        if turn.interruption is Interruption.ABORT:
            return aborted(turn, most=self._most)
        if turn.interruption is Interruption.STOP:
            return closed(turn, Closing.INTERRUPTED, most=self._most)
        self._log(turn, AgentError(TIMED_OUT, reason=f"no end in {self._timeout:g} s"))
        return closed(turn, Closing.TIMED_OUT, most=self._most)

    def _log(self, turn: LiveTurn, error: AgentError) -> None:
        inbound, status = turn.inbound, str(error.status or "none")
        self._counters.add(
            CounterName.TURNS_FAILED,
            agent=self._timings.name_of(inbound.agent),
            status=status,
            reason=error.reason,
        )
        log.warning(
            "turn %s failed: agent %s, session %r, provider's status %s: %s",
            *(inbound.id, inbound.agent, inbound.session, status, error.reason),
            extra={
                "status": error.status,
                "reason": error.reason,
                "error_code": error.names.code,
                "error_type": error.names.type,
            },
        )


def _result_of(turn: LiveTurn, work: asyncio.Task[Reply]) -> AgentResult:
    """What became of the call, once it has ended or was given up."""
    if work.done() and not work.cancelled():
        return AgentResult.ANSWERED if work.exception() is None else AgentResult.FAILED
    return AgentResult.TIMED_OUT if turn.interruption is None else AgentResult.STOPPED
