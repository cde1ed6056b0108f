"""Several messages as one turn: a user who writes in pieces is answered once.

Every message lies in the lane before its sender is told that it was taken, so the waiting is done
here, by the holder of the lane, and is taken up by another replica like anything else. The turn
has the first message's id. The ids of the others are published with it, as events of their own,
so that each of them is known when it is delivered again.
"""

from __future__ import annotations

from ingest.reads import TurnReads
from ingest.turns.live import LiveTurn
from ingest.turns.records import TurnLanes
from ingest.turns.stored import is_handled
from sessions import times
from sessions.models import Position
from sessions.process.settings import MAX_DEBOUNCE
from sessions.stream.lanes.inbound import Inbound
from sessions.stream.lanes.values import Hold


async def wait_until_due(lanes: TurnLanes, turn: LiveTurn, hold: Hold) -> None:
    """Return when no message has come for as long as the channel waits, or on an interruption.

    Raises Retryable where Redis is away, LaneLost where the lane is.
    """
    while turn.interruption is None:
        behind = await _behind(lanes, turn.inbound, hold)
        due = max(inbound.due for inbound in (turn.inbound, *behind))
        # Another replica's clock may be far from ours.
        seconds = min((due - times.now()) / times.SECOND, MAX_DEBOUNCE / 1000)
        if seconds <= 0:
            return
        await turn.wait_interrupted(seconds)


async def find_followers(
    lanes: TurnLanes, reads: TurnReads, turn: LiveTurn, hold: Hold, read_at: Position
) -> list[Inbound]:
    """The messages behind this one that belong to its turn: new ones, as many as fit into one text.

    `read_at` is how far the store was read for this session. Raises as `wait_until_due` does.
    """
    room = lanes.max_content - _size(turn.inbound)
    followers: list[Inbound] = []
    for inbound in await _behind(lanes, turn.inbound, hold):
        room -= _size(inbound) + 1
        if room < 0 or await _is_known(reads, inbound, read_at):
            break
        followers.append(inbound)
    return followers


async def _is_known(reads: TurnReads, inbound: Inbound, read_at: Position) -> bool:
    """Whether the message was handled, maybe under the id that an older version gave it."""
    if await is_handled(reads, inbound.id, read_at):
        return True
    former = inbound.former
    return bool(former) and await reads.outcome(former, read_at) is not None


async def _behind(lanes: TurnLanes, first: Inbound, hold: Hold) -> list[Inbound]:
    """What waits directly behind and came by the same channel to be joined."""
    found: list[Inbound] = []
    for message in await lanes.waiting(hold):
        inbound = Inbound.load(message)
        if not inbound.due or inbound.command or inbound.channel != first.channel:
            break
        found.append(inbound)
    return found


def _size(inbound: Inbound) -> int:
    return len(inbound.text.encode())


__all__ = ["find_followers", "wait_until_due"]
