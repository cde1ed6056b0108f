"""What a turn needs from the store before it opens: its history, and whether it was run before."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from ingest.prompt import HistoryMessage, PromptMessage, build
from ingest.reads import History, TurnReads, fresh_history
from ingest.turns.exits import AlreadyRun, OrphanedTurn, SessionUnavailable
from ingest.turns.joining import find_followers, wait_until_due
from ingest.turns.live import LiveTurn
from ingest.turns.records import TurnLanes
from ingest.turns.stored import is_handled, is_removed
from sessions import times
from sessions.errors import PositionLost, Retryable
from sessions.models import Position
from sessions.stream.lanes.closing import reply_id
from sessions.stream.lanes.inbound import Inbound
from sessions.stream.lanes.values import Hold

# Seconds after the start in which a message may come again that an older version took under another
# id. Platforms deliver again within minutes.
_UPGRADE: Final = 3600.0
# Microseconds that two clocks may differ. What the store took before a message was written is
# another message, though an older version gave both the same id.
_SLACK: Final = 300 * times.SECOND


class PromptReader:
    """Reads what turns are asked with, while their lane is held. Any number at a time."""

    def __init__(self, lanes: TurnLanes, reads: TurnReads) -> None:
        self._lanes = lanes
        self._reads = reads
        self._since = time.monotonic()

    async def read(self, turn: LiveTurn, hold: Hold) -> list[PromptMessage]:
        """The conversation up to the turn's message, with which those that join it are joined.

        Raises AlreadyRun, OrphanedTurn, SessionUnavailable, LaneLost, and Retryable if it cannot be
        read now.
        """
        waits = turn.inbound.due > 0
        if waits:
            await wait_until_due(self._lanes, turn, hold)
        early = await _early(turn)
        history = await self._history(turn.inbound, early)
        _check_new(hold.id, history)
        await self._check_former(turn.inbound, history)
        if not history.available and turn.inbound.channel is None:
            raise SessionUnavailable
        if waits:
            await self._join(turn, hold, history.position)
        inbound = turn.inbound
        return build(history.messages, HistoryMessage("user", inbound.text, inbound.at))

    async def read_early(self, turn: LiveTurn) -> History | None:
        """The history of a turn that is likely to run at once; None if it cannot be read now."""
        try:
            return await self._reads.history(turn.inbound.session, turn.inbound.agent)
        except (Retryable, PositionLost):
            return None

    async def check_command(self, inbound: Inbound) -> None:
        """Raise AlreadyRun for a command that was removed, or an older version took; Retryable."""
        history = await self._history(inbound)
        # The store keeps only messages that come later from taking effect.
        if await is_removed(self._reads, inbound.id, history.position):
            raise AlreadyRun
        await self._check_former(inbound, history)

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
                raise AlreadyRun
        if time.monotonic() - self._since > _UPGRADE:
            return
        outcome = await self._reads.outcome(former, history.position)
        if outcome is not None and outcome.position.stream_id.ms * 1000 >= oldest:
            raise AlreadyRun

    async def _join(self, turn: LiveTurn, hold: Hold, read_at: Position) -> None:
        # A joined message has another text than it came with, so that its id alone tells.
        if await is_handled(self._reads, turn.inbound.id, read_at):
            raise AlreadyRun
        turn.join(await find_followers(self._lanes, self._reads, turn, hold, read_at))


async def _early(turn: LiveTurn) -> History | None:
    """What was read before the lane was held; once, since a second try is to read again."""
    reading, turn.reading = turn.reading, None
    if reading is None:
        return None
    await asyncio.wait([reading])
    return reading.result() if not reading.cancelled() else None


def _check_new(turn: str, history: History) -> None:
    """Raise for a message that the session has already, read while its lane is held."""
    if turn in history.ids:
        raise AlreadyRun if reply_id(turn) in history.ids else OrphanedTurn
