"""How long messages wait, turns take and agents take, in this process."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from sessions.process.durations import SLOW, Durations

# For turns of an agent that is not configured here. What another process, or the operator, calls an
# agent is no label of ours: there may be any number of such names.
OTHER: Final = "other"


class AgentResult(StrEnum):
    """What became of a call of an agent."""

    ANSWERED = "answered"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    STOPPED = "stopped"
    """Somebody aborted it, this process ends, or another replica has the lane."""


class TurnTimings:
    """Durations since the start of the process. For one event loop."""

    def __init__(self, agents: Iterable[str]) -> None:
        self.waits = Durations(SLOW)
        self.turns = Durations(SLOW)
        self.agents = {
            (agent, result): Durations(SLOW) for agent in (*agents, OTHER) for result in AgentResult
        }

    def name_of(self, agent: str) -> str:
        """The agent's name as a label."""
        return agent if (agent, AgentResult.ANSWERED) in self.agents else OTHER

    def add_call(self, agent: str, result: AgentResult, seconds: float) -> None:
        """Count a call of an agent."""
        self.agents[self.name_of(agent), result].add(seconds)
