"""How a turn ends: what is published of it, and what its listeners are told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ingest.agents.base import Reply
from ingest.agents.values import is_blank
from ingest.failures import (
    ABORTED,
    FAILED,
    AgentError,
    closed_with,
    code_of,
    marker_of,
    should_roll_back,
    state_of,
)
from ingest.turns.live import Ending, LiveTurn, TurnEnd
from sessions import times
from sessions.models import Event
from sessions.stream.lanes.closing import Closing


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What is published at the end of a turn, and how that is called."""

    events: Sequence[Event]
    end: TurnEnd


def with_text(reply: Reply) -> Reply:
    """The reply; raises AgentError for a blank one, of which a platform would show nothing."""
    if is_blank(reply.text):
        raise AgentError("the agent ended without an answer", reason="blank answer")
    return reply


def replied(turn: LiveTurn, reply: Reply) -> Conclusion:
    """The tool turns and the reply, together."""
    now = times.now()
    inbound = turn.inbound
    between = [
        inbound.answer(f"t{number}", role, content, at=now)
        for number, (role, content) in enumerate(reply.between)
    ]
    last = inbound.answer("reply", "assistant", reply.text, at=now, state="idle")
    return Conclusion([*between, last], TurnEnd(Ending.REPLIED, reply.text, reply=reply))


def failed(turn: LiveTurn, error: AgentError, *, most: int) -> Conclusion:
    """The message taken back where it can never be answered, else closed with the marker."""
    if should_roll_back(error) and not turn.said:
        end = TurnEnd(Ending.FAILED, str(error), code_of(error))
        return Conclusion(turn.inbound.taking_back(close_with=FAILED), end)
    return closed(turn, Closing.FAILED, most=most, text=str(error), code=code_of(error))


def aborted(turn: LiveTurn, *, most: int) -> Conclusion:
    """What was shown by then, and that the user stopped it."""
    text = closed_with(turn.said, ABORTED, most=most)
    return Conclusion(_closing(turn, text, Closing.ABORTED), TurnEnd(Ending.ABORTED, text))


def closed(
    turn: LiveTurn,
    closing: Closing,
    *,
    most: int,
    text: str | None = None,
    code: str = "AGENT_ERROR",
) -> Conclusion:
    """Closed with a marker, below what was shown; `text` is what is told of the failure."""
    stored = closed_with(turn.said, marker_of(closing), most=most)
    end = TurnEnd(Ending.FAILED, marker_of(closing) if text is None else text, code, stored=stored)
    return Conclusion(_closing(turn, stored, closing), end)


def _closing(turn: LiveTurn, text: str, closing: Closing) -> list[Event]:
    inbound, state = turn.inbound, state_of(closing)
    return [
        inbound.closing(closing.event_id(inbound.id), state),
        inbound.answer("reply", "assistant", text, at=times.now(), state=state),
    ]
