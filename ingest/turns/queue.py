"""Where messages are accepted: each into its session's lane, durably, before its sender is told."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Final, Self

from ingest.counters import CounterName, Counters, MessageRefusal
from ingest.turns.executor import Delivery, TurnExecutor
from ingest.turns.live import Ending, LiveTurn, TurnEnd
from ingest.turns.membership import Membership
from ingest.turns.runner import TurnRunner
from ingest.turns.table import EndedTurns, TurnTable
from ingest.turns.timings import TurnTimings
from ingest.turns.waiting import PATIENCE, WaitingTurns
from sessions.errors import (
    DeclaredDead,
    LaneFull,
    RedisRefused,
    Retryable,
    SessionError,
    StreamFull,
)
from sessions.process.retry import Pauses, retry
from sessions.process.tasks import ProcessEnd, TaskWatcher, log_failure
from sessions.stream.lanes.inbound import Inbound
from sessions.stream.lanes.lanes import DEPTH, Lanes
from sessions.stream.lanes.values import Place

# Places that a lane has for commands beside those for messages: to begin again must be possible
# in a session that is stuck.
_COMMANDS: Final = 8
# Seconds for running turns to end by themselves once the process is to stop.
STOP_GRACE: Final = 3.0
# Seconds between two tries to put a message into its lane again while Redis is away.
_PAUSE: Final = 0.5


class TurnQueue:
    """The messages and turns of one replica. `async with` registers it and ends its turns.

    Its parts are for `liveness`, which keeps them in step with the other replicas.
    """

    def __init__(
        self,
        lanes: Lanes,
        runner: TurnRunner,
        delivery: Delivery | None = None,
        *,
        end: ProcessEnd | None = None,
        patience: float = PATIENCE,
        stop_grace: float = STOP_GRACE,
    ) -> None:
        """`end` is told what Redis refuses for good."""
        self.lanes = lanes
        self.end = end or ProcessEnd()
        self.counters: Counters = runner.counters
        self.table = TurnTable()
        self.ended = EndedTurns()
        self._runner = runner
        self._stop_grace = stop_grace
        self._tasks = TaskWatcher(self._failed)
        self.executor = TurnExecutor(
            *(lanes, runner, delivery),
            table=self.table,
            ended=self.ended,
            tasks=self._tasks,
            resubmit=self._resubmit,
        )
        self.membership = Membership(
            lanes, table=self.table, ended=self.ended, resubmit=self._resubmit
        )
        self.waiting = WaitingTurns(
            lanes,
            table=self.table,
            executor=self.executor,
            membership=self.membership,
            tasks=self._tasks,
            patience=patience,
            counters=self.counters,
        )

    @property
    def timings(self) -> TurnTimings:
        """How long messages waited here, and how long their turns took."""
        return self._runner.timings

    async def accept(self, inbound: Inbound, *, attended: bool) -> LiveTurn:
        """Put the message into its session's lane, durably; its turn runs by itself from then on.

        A message that is here already is not taken twice: the answer is the same turn. With
        `attended` it is given up after PATIENCE, and after errors that pass. Raises LaneFull,
        StreamFull, StreamUnavailable; the caller being cancelled changes nothing.
        """
        turn = self.table.find(inbound.lane, inbound.id)
        if turn is None:
            if self.table.closing:
                raise Retryable(_STOPPING)
            turn = LiveTurn(inbound, attended=attended)
            self.table.add(turn)
            if attended and self.table.is_idle(turn.lane):
                reading = self._runner.read_early(turn)
                turn.reading = self._tasks.start(reading, f"read for {inbound.id}")
            self._tasks.start(self._enqueue(turn), f"enqueue {inbound.id}")
        await asyncio.shield(turn.accepted)
        return turn

    def running(self, lane: str) -> LiveTurn | None:
        """The turn of that lane that runs in this process, None if none does."""
        return self.table.running(lane)

    # -- into the lane -----------------------------------------------------------------------

    async def _enqueue(self, turn: LiveTurn) -> None:
        try:
            place = await self._placed(turn.inbound)
        except BaseException as error:
            # Somebody waits for the answer, whatever went wrong.
            self.table.remove(turn)
            told = _told(error)
            self.counters.add(CounterName.MESSAGES_REFUSED, reason=_refusal_of(told))
            turn.accepted.set_exception(told)
            if isinstance(error, SessionError) and not isinstance(error, RedisRefused):
                return
            raise
        self.counters.add(CounterName.MESSAGES_ACCEPTED)
        turn.accepted.set_result(asyncio.get_running_loop().time())
        if place.hold is not None:
            self.executor.start(turn, place.hold)
        elif place.known:
            self.table.let_go(turn, TurnEnd(Ending.ELSEWHERE))
        else:
            self.waiting.add(turn)

    async def _placed(self, inbound: Inbound) -> Place:
        name = self.membership.name
        with contextlib.suppress(DeclaredDead):
            return await self._in_lane(inbound)
        await self.membership.rejoin(name)
        try:
            return await self._in_lane(inbound)
        except DeclaredDead as error:
            raise Retryable("this replica cannot keep its lanes now; try again") from error

    async def _in_lane(self, inbound: Inbound) -> Place:
        urgent = inbound.command is not None
        depth = DEPTH + _COMMANDS if urgent else DEPTH
        return await self.lanes.enqueue(
            inbound.lane,
            inbound.id,
            inbound.dump(),
            depth=depth,
            urgent=urgent,
            former=inbound.former,
            origin=inbound.origin,
        )

    def _resubmit(self, inbound: Inbound) -> None:
        """Put a message into its lane as if it were delivered again.

        Mostly another replica has it, or has run it, and nothing comes of it. But if Redis lost
        what it held, nobody else knows of the message or of the turn that it opened.
        """
        self._tasks.start(self._accept_again(inbound), f"again {inbound.id}")

    async def _accept_again(self, inbound: Inbound) -> None:
        async def accept() -> None:
            if not self.table.closing:
                await self.accept(inbound, attended=False)

        # No limit but the end of this replica: nobody else may know of the message.
        await retry(accept, on=Retryable, pauses=Pauses(_PAUSE), patience=None)

    # -- life --------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self.membership.join()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let turns end, close the ones that do not, and leave the rest to the others."""
        self.table.closing = True
        await self.executor.stop(self._stop_grace)
        await self._tasks.end()
        await self.membership.leave()

    def _failed(self, name: str, error: BaseException) -> None:
        if isinstance(error, RedisRefused):
            self.end.fail(name, error)
        else:
            # What it had of a lane is found by the next sweep, and closed.
            log_failure(name, error)


def _told(error: BaseException) -> SessionError:
    """What the sender of a message is told of that error."""
    if isinstance(error, SessionError):
        return error
    if isinstance(error, asyncio.CancelledError):
        return Retryable(_STOPPING)
    return Retryable("the message was not taken; try again")


def _refusal_of(error: SessionError) -> MessageRefusal:
    kinds = ((LaneFull, MessageRefusal.QUEUE_FULL), (StreamFull, MessageRefusal.STREAM_FULL))
    found = (refusal for kind, refusal in kinds if isinstance(error, kind))
    return next(found, MessageRefusal.UNAVAILABLE)


_STOPPING: Final = "this replica is being stopped; try again"
