"""Runs the turns whose lanes this replica holds, and lets the lanes go on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Protocol

from ingest.turns.live import Ending, Interruption, LiveTurn, TurnEnd
from ingest.turns.retries import TurnRetries
from ingest.turns.runner import TurnRunner
from ingest.turns.table import EndedTurns, TurnTable
from sessions.errors import ConfigError, LaneLost, Retryable
from sessions.process.json_lines import about
from sessions.process.retry import Pauses, retry
from sessions.process.tasks import TaskWatcher
from sessions.process.tracing import carrying, record, span
from sessions.stream.lanes.inbound import Inbound
from sessions.stream.lanes.lanes import Lanes
from sessions.stream.lanes.values import Hold, Stage, former_lane_of, session_of

log = logging.getLogger(__name__)

# Seconds that closing the turns may take which did not end by themselves; what is not closed then
# is closed by the replica that takes over.
_CLOSE_GRACE: Final = 2.0
# Seconds between two tries to end a turn while Redis is away.
_PAUSE: Final = 0.5


class Delivery(Protocol):
    """Brings the end of a turn to where its message came from."""

    async def deliver(self, inbound: Inbound, end: TurnEnd | None) -> None:
        """Send it; `end` is None if another replica ran the turn and died before sending.

        Returns when it was sent, or cannot be.
        """
        ...


class TurnExecutor:
    """The turns at work in one replica: any number at a time, one in each lane."""

    def __init__(
        self,
        lanes: Lanes,
        runner: TurnRunner,
        delivery: Delivery | None,
        *,
        table: TurnTable,
        ended: EndedTurns,
        tasks: TaskWatcher,
        resubmit: Callable[[Inbound], None],
    ) -> None:
        """`resubmit` is called with the message of a turn whose lane was lost."""
        # Sessions of which an older version has turns that have not ended yet; None until the first
        # sweep has looked.
        self.former: frozenset[str] | None = None
        self._lanes = lanes
        self._runner = runner
        self._delivery = delivery
        self._table = table
        self._ended = ended
        self._tasks = tasks
        self._resubmit = resubmit
        self._at_work: set[asyncio.Task[None]] = set()
        self._retries = TurnRetries(runner.counters)

    def adopt(self, hold: Hold) -> None:
        """Go on with a lane that came to this replica: for its own message, or a dead one's."""
        turn = self._table.find(hold.lane, hold.id)
        if turn is None:
            try:
                inbound = Inbound.load(hold.message)
            except (ValueError, TypeError, AttributeError):
                session = session_of(hold.lane)
                log.exception(
                    "a message of session %r cannot be read: dropped",
                    session,
                    extra={"event_id": hold.id, "turn": hold.id, "session": session},
                )
                self._tasks.start(self._finish(hold), f"drop {hold.id}")
                return
            turn = LiveTurn(inbound, attended=False, lane=hold.lane)
            self._table.add(turn)
        self.start(turn, hold)

    def start(self, turn: LiveTurn, hold: Hold) -> None:
        """Run the turn; nothing happens if it runs already, or the process ends."""
        if turn.begun.is_set() or self._table.closing:
            return
        self._table.begin(turn, hold)
        if turn.accepted.done():
            waited = asyncio.get_running_loop().time() - turn.accepted.result()
            self._runner.timings.waits.add(waited)
            record("queue wait", turn.inbound.traceparent, waited, turn=turn.inbound.id)
        task = self._tasks.start(self._run(turn, hold), f"turn {hold.id}")
        self._at_work.add(task)
        task.add_done_callback(self._at_work.discard)

    async def stop(self, grace: float) -> None:
        """Let turns end for `grace` seconds, then close those that have not."""
        await self._wait(grace)
        self._table.interrupt_all(Interruption.STOP)
        await self._wait(_CLOSE_GRACE)

    async def _wait(self, seconds: float) -> None:
        if self._at_work:
            await asyncio.wait(self._at_work, timeout=seconds)

    # -- a turn ------------------------------------------------------------------------------

    async def _run(self, turn: LiveTurn, hold: Hold) -> None:
        inbound = turn.inbound
        with (
            about(**inbound.log_fields),
            carrying(inbound.traceparent),
            span("turn", turn=inbound.id, agent=inbound.agent, session=inbound.session),
        ):
            await self._run_and_let_go(turn, hold)

    async def _run_and_let_go(self, turn: LiveTurn, hold: Hold) -> None:
        self._retries.recall(turn, hold)
        try:
            await self._run_to_end(turn, hold)
            self._retries.forget(hold)
        except LaneLost:
            self._retries.forget(hold)
            log.warning("the lane of turn %s is lost", hold.id)
            self._resubmit(Inbound.load(hold.message))
        except ConfigError:
            # Nothing can be published to close it: a person has to act, and the turn waits.
            raise
        except Exception as error:  # noqa: BLE001 - no defect may hold its session for ever
            # Otherwise the next sweep finds the lane, and starts the turn again.
            if self._retries.is_last(turn, hold, error):
                await self._give_up(turn, hold)
        finally:
            self._table.end(hold)
            self._table.let_go(turn, TurnEnd(Ending.ELSEWHERE))

    async def _run_to_end(self, turn: LiveTurn, hold: Hold) -> None:
        clock = asyncio.get_running_loop().time
        began = clock()
        await self._wait_for_former(turn)
        end = await self._runner.run(turn, hold)
        turn.conclude(end)
        self._runner.timings.turns.add(clock() - began)
        self._ended.count(end.ending)
        if end.ending is not Ending.LEFT:
            await self._deliver(turn, hold, end)
            await self._finish(hold)
        if turn.opened:
            self._ended.remember(hold)

    async def _wait_for_former(self, turn: LiveTurn) -> None:
        """Let what an older version left of the same session come to its end first.

        What came before is answered before, and what was delivered again is known by then.
        """
        session = turn.inbound.session
        if turn.lane == former_lane_of(session):
            return
        while (self.former is None or session in self.former) and turn.interruption is None:
            await turn.wait_interrupted(_PAUSE)

    async def _give_up(self, turn: LiveTurn, hold: Hold) -> None:
        try:
            end = await self._runner.give_up(turn, hold)
            turn.conclude(end)
            if hold.stage is not Stage.ENDED:
                await self._deliver(turn, hold, end)
        except LaneLost:
            return
        except Exception:
            # The session goes on all the same.
            log.exception("turn %s cannot be closed", hold.id)
        await self._finish(hold)

    async def _deliver(self, turn: LiveTurn, hold: Hold, end: TurnEnd) -> None:
        """Send the reply before the lane is let go, so that it is not forgotten if we die now."""
        if self._delivery is None or turn.inbound.reply_to is None:
            return
        if turn.inbound.woken and hold.stage is not Stage.ENDED and not end.kept:
            # The person wrote nothing that could be refused.
            return
        with span("deliver", turn=turn.inbound.id, channel=turn.inbound.reply_to):
            if hold.stage is Stage.ENDED:
                await self._delivery.deliver(turn.inbound, None)
            elif end.ending is not Ending.ELSEWHERE:
                await self._delivery.deliver(turn.inbound, end)

    async def _finish(self, hold: Hold) -> None:
        following = await self._freed(hold)
        self._table.end(hold)
        if following is not None:
            self.adopt(following)

    async def _freed(self, hold: Hold) -> Hold | None:
        """Let go of the lane; gives it for the next message if this replica has that one."""
        return await retry(
            lambda: self._lanes.finish(hold),
            on=Retryable,
            pauses=Pauses(_PAUSE),
            # No limit: a lane that is not let go answers nobody any more.
            patience=None,
        )
