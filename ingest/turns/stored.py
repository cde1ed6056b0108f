"""How a turn ended that another replica ran, as the store shows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ingest.failures import marker_of
from ingest.reads import History, TurnReads
from ingest.turns.live import Ending, TurnEnd
from sessions.errors import PositionLost
from sessions.models import Position
from sessions.stream.lanes.closing import Closing, reply_id
from sessions.stream.lanes.inbound import removal_id

# The gateway's code for a message that somebody took out of its lane.
REMOVED_CODE: Final = "MESSAGE_REMOVED"
# Messages among which a turn is looked for that is over: the most that the api gives.
_LOOK_BACK: Final = 1000
_GONE: Final = "This message was taken before, and the session does not hold it any more"
_REMOVED: Final = "The message was removed while it waited; it is not answered"
_FAR_BACK: Final = f"This message was taken before the newest {_LOOK_BACK} messages of the session"


async def find_end(
    reads: TurnReads, session: str, agent: str, turns: Sequence[str]
) -> TurnEnd | None:
    """How a turn was answered or closed, None if the store does not know yet. Raises Retryable.

    `turns` are the ids that it may have, the one of this version first. A turn that was deleted,
    reset or taken back has an outcome, and no message; one whose message was removed from its lane
    has neither.
    """
    history = await reads.history(session, agent)
    end = await _end_in(reads, history, turns)
    if end is not None or turns[0] in history.ids:
        return end
    if await is_removed(reads, turns[0], history.position):
        return TurnEnd(Ending.REFUSED, _REMOVED, REMOVED_CODE)
    if await reads.outcome(turns[0], history.position) is None:
        return None
    # The outcome came with its message: read later, the history has it unless it is gone.
    history = await reads.history(session, agent, limit=_LOOK_BACK)
    end = await _end_in(reads, history, turns)
    if end is not None or turns[0] in history.ids:
        return end
    why = _FAR_BACK if history.total > _LOOK_BACK else _GONE
    text = f"{why}. Send it under a new id to have it answered"
    return TurnEnd(Ending.REFUSED, text, "MESSAGE_GONE")


async def _end_in(reads: TurnReads, history: History, turns: Sequence[str]) -> TurnEnd | None:
    for turn in filter(None, turns):
        end = await stored_end(reads, history, turn)
        if end is not None:
            return end
    return None


async def is_handled(reads: TurnReads, message: str, read_at: Position) -> bool:
    """Whether the store has that message, or knows that it was removed. Raises Retryable."""
    known = await reads.outcome(message, read_at) is not None
    return known or await is_removed(reads, message, read_at)


async def is_removed(reads: TurnReads, message: str, read_at: Position) -> bool:
    """Whether the store knows that the message was taken out of its lane. Raises Retryable."""
    return await reads.outcome(removal_id(message), read_at) is not None


async def stored_end(reads: TurnReads, history: History, turn: str) -> TurnEnd | None:
    """The end of that turn; None if the history has no reply of it. Raises Retryable."""
    reply = reply_id(turn)
    if reply not in history.ids:
        return None
    text = history.messages[history.ids.index(reply)].content
    closing = await _closing_of(reads, turn, history.position)
    if closing is None:
        return TurnEnd(Ending.REPLIED, text)
    if closing is Closing.ABORTED:
        return TurnEnd(Ending.ABORTED, text)
    return TurnEnd(Ending.FAILED, marker_of(closing), "AGENT_ERROR", stored=text)


async def _closing_of(reads: TurnReads, turn: str, read_at: Position) -> Closing | None:
    """How the turn was closed; None if its agent answered to the end."""
    for closing in Closing:
        try:
            outcome = await reads.outcome(closing.event_id(turn), read_at)
        except PositionLost:
            continue
        if outcome is not None:
            return closing
    return None
