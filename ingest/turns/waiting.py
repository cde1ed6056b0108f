"""The messages that wait for their lane here: they take it when their turn comes, or give up."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from typing import Any, Final

from ingest.counters import CounterName, Counters, MessageRefusal
from ingest.turns.executor import TurnExecutor
from ingest.turns.live import Ending, LiveTurn, TurnEnd
from ingest.turns.membership import Membership
from ingest.turns.table import TurnTable
from sessions.errors import DeclaredDead, LaneTimeout, Retryable
from sessions.process.retry import Pauses, retry
from sessions.process.tasks import TaskWatcher
from sessions.stream.lanes.lanes import Lanes
from sessions.stream.lanes.values import Withdrawal

log = logging.getLogger(__name__)

# Seconds that a person's message waits for the turns before it: what upstream's gateway allows.
PATIENCE: Final = 30.0
# Seconds between two tries to take a message back while Redis is away.
_PAUSE: Final = 0.5


class WaitingTurns:
    """What waits in one replica. For one event loop."""

    def __init__(
        self,
        lanes: Lanes,
        *,
        table: TurnTable,
        executor: TurnExecutor,
        membership: Membership,
        tasks: TaskWatcher,
        patience: float = PATIENCE,
        counters: Counters,
    ) -> None:
        self._lanes = lanes
        self._table = table
        self._executor = executor
        self._membership = membership
        self._tasks = tasks
        self._patience = patience
        self._counters = counters
        self._taking: set[str] = set()

    def add(self, turn: LiveTurn) -> None:
        """Let the turn wait; with a person behind it for `patience` seconds at most."""
        self._table.line_up(turn)
        if turn.attended:
            self._tasks.start(self._limit_wait(turn), f"patience {turn.inbound.id}")

    # -- giving up ---------------------------------------------------------------------------

    async def _limit_wait(self, turn: LiveTurn) -> None:
        """Take the message back if its turn has not begun in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._patience):
                await turn.begun.wait()
        withdrawal = await retry(
            lambda: self._withdraw(turn),
            on=Retryable,
            pauses=Pauses(_PAUSE),
            # No limit: to let go without Redis would leave the message to be run unattended.
            patience=None,
        )
        if withdrawal is not None:
            self._withdrawn(turn, withdrawal)

    async def _withdraw(self, turn: LiveTurn) -> Withdrawal | None:
        """Take the message out of its lane; None, and nothing done, if its turn has begun."""
        if turn.begun.is_set():
            return None
        return await self._lanes.withdraw(turn.lane, turn.inbound.id)

    def _withdrawn(self, turn: LiveTurn, withdrawal: Withdrawal) -> None:
        if withdrawal.next is not None:
            self._executor.adopt(withdrawal.next)
        if withdrawal.done:
            reason = MessageRefusal.QUEUE_TIMEOUT
            self._counters.add(CounterName.MESSAGES_REFUSED, reason=reason)
            text = str(LaneTimeout(turn.inbound.session))
            end = TurnEnd(Ending.REFUSED, text, "SESSION_QUEUE_TIMEOUT", retryable=True)
            self._table.let_go(turn, end)
        elif not withdrawal.running:
            self._table.let_go(turn, TurnEnd(Ending.ELSEWHERE))

    # -- taking a lane -----------------------------------------------------------------------

    def take_first(self, lane: str) -> None:
        """Take the lane for the first message that waits for it here, if its turn has come.

        Beside the caller: hundreds may be free at once, and each takes a moment.
        """
        self._take_once(lane, self._take_first(lane))

    def take_freed(self, lane: str) -> None:
        """Take a lane that was let go just now: a try that is under way may have come too early."""
        if self._table.first_waiting(lane) is not None:
            self._tasks.start(self._take_first(lane), f"take {lane!r}")

    def look_again(self, lane: str) -> None:
        """Let the messages go that wait here and are not in the lane any more."""
        for turn in self._table.waiting(lane):
            self._tasks.start(self._take(turn), f"look for {turn.inbound.id}")

    def take_due(self, lane: str, message_id: str) -> None:
        """Take the lane for a message of this replica that it may have lost sight of."""
        self._take_once(lane, self._take_due(lane, message_id))

    def _take_once(self, lane: str, work: Coroutine[Any, Any, None]) -> None:
        if lane in self._taking:
            work.close()
            return
        self._taking.add(lane)
        task = self._tasks.start(work, f"take {lane!r}")
        task.add_done_callback(lambda _: self._taking.discard(lane))

    async def _take_first(self, lane: str) -> None:
        turn = self._table.first_waiting(lane)
        if turn is not None:
            await self._take(turn)

    async def _take(self, turn: LiveTurn) -> None:
        name = self._membership.name
        try:
            place = await self._lanes.take(turn.lane, turn.inbound.id)
        except DeclaredDead:
            await self._membership.rejoin(name)
        except Retryable as error:
            log.warning(
                "the lane for turn %s cannot be taken now: %s",
                turn.inbound.id,
                error,
                extra=turn.inbound.log_fields,
            )
        else:
            if place is None:
                self._table.let_go(turn, TurnEnd(Ending.ELSEWHERE))
            elif place.hold is not None:
                self._executor.start(turn, place.hold)

    async def _take_due(self, lane: str, message_id: str) -> None:
        turn = self._table.find(lane, message_id)
        if turn is not None:
            await self._take(turn)
            return
        # The next sweep finds it again.
        with contextlib.suppress(Retryable, DeclaredDead):
            place = await self._lanes.take(lane, message_id)
            if place is not None and place.hold is not None:
                self._executor.adopt(place.hold)
