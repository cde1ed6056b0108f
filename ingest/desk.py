"""Where messages are accepted, and where this replica keeps its lanes and runs its turns.

The tables here only mirror what Redis holds: whatever is lost from them (a cancelled call, a cut
connection) comes back with the next sweep, and whatever is held too long is refused by the fence.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from functools import partial
from types import TracebackType
from typing import Any, Final, Protocol, Self, TypeVar

from ingest.counters import Counters
from ingest.inbound import Inbound
from ingest.live import Ending, Interruption, LiveTurn, TurnEnd
from ingest.stumbles import Stumbles
from ingest.tasks import end_all
from ingest.turn import TurnRunner
from sessions.errors import (
    ConfigError,
    DeclaredDead,
    LaneLost,
    LaneTimeout,
    RedisRefused,
    Retryable,
    SessionError,
)
from sessions.stream.lanes import DEPTH, Hold, Lanes, Place, Stage, former_lane_of, session_of

log = logging.getLogger(__name__)
R = TypeVar("R")

# Seconds that a person's message waits for the turns before it: what upstream's gateway allows.
WAIT: Final = 30.0
# Places that a lane has for commands beside those for messages: to begin anew must be possible
# in a session that is stuck.
_COMMANDS: Final = 8
# Seconds for running turns to end by themselves once the process is to stop.
STOP_GRACE: Final = 3.0
# Seconds that closing the others may take; what is not closed then is closed by who takes over.
_CLOSE_GRACE: Final = 2.0
# Messages whose turns ended last: more than there are between stream and store while the worker
# keeps up. Should Redis lose its stream, their replies may be lost with it.
_ENDED: Final = 64
# Seconds between two tries to end a turn while Redis is away.
_PAUSE: Final = 0.5


class Delivery(Protocol):
    """Brings the end of a turn to where its message came from."""

    async def deliver(self, inbound: Inbound, end: TurnEnd | None) -> None:
        """Send it; `end` is None where another replica ran the turn and died before sending.

        Returns when it was sent, or cannot be.
        """
        ...


class Desk:
    """The messages and turns of one replica. `async with` registers it and ends its turns."""

    def __init__(
        self,
        lanes: Lanes,
        runner: TurnRunner,
        delivery: Delivery | None = None,
        *,
        wait: float = WAIT,
        stop_grace: float = STOP_GRACE,
    ) -> None:
        self.lanes = lanes
        self._runner = runner
        self._delivery = delivery
        self._wait = wait
        self._stop_grace = stop_grace
        # By lane, and the first one by id too.
        self._turns: dict[tuple[str, str], LiveTurn] = {}
        self._waiting: dict[str, list[LiveTurn]] = {}
        self._running: dict[str, tuple[LiveTurn, Hold]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._unknown: set[str] = set()
        self._former: frozenset[str] = frozenset()
        self._taking: set[str] = set()
        self._stumbles = Stumbles(runner.counters)
        self._ended: deque[str] = deque(maxlen=_ENDED)
        # How the turns ended that ran here.
        self.endings: Counter[Ending] = Counter()
        self._naming = asyncio.Lock()
        self._refused: RedisRefused | None = None
        self._stopping = False

    def refuse(self, error: RedisRefused) -> None:
        """Remember what Redis refuses for good: the next beat raises it, which ends the process.

        One place, since a second request to end would cut off what goes on.
        """
        self._refused = error

    @property
    def counters(self) -> Counters:
        """What is counted of the turns here."""
        return self._runner.counters

    # -- accepting ---------------------------------------------------------------------------

    async def accept(self, inbound: Inbound, *, attended: bool) -> LiveTurn:
        """Put the message into its session's lane, durably; its turn runs by itself from then on.

        A message that is here already is not taken twice: the answer is the same turn. With
        `attended` it is given up after WAIT, and after errors that pass. Raises LaneFull,
        StreamFull, StreamUnavailable; the caller being cancelled changes nothing.
        """
        turn = self._turns.get((inbound.lane, inbound.id))
        if turn is None:
            if self._stopping:
                raise Retryable(_STOPPING)
            turn = LiveTurn(inbound, attended=attended)
            self._turns[turn.lane, inbound.id] = turn
            if attended and self._is_idle(turn.lane):
                turn.reading = self._spawn(self._runner.read_early(turn), f"read for {inbound.id}")
            self._spawn(self._enqueue(turn), f"enqueue {inbound.id}")
        await asyncio.shield(turn.accepted)
        return turn

    def running(self, lane: str) -> LiveTurn | None:
        """The turn of that lane that runs in this process, if one does."""
        found = self._running.get(lane)
        return found[0] if found else None

    @property
    def lanes_held(self) -> int:
        """How many lanes this replica holds."""
        return len(self._running)

    def _is_idle(self, lane: str) -> bool:
        return lane not in self._running and lane not in self._waiting

    async def _enqueue(self, turn: LiveTurn) -> None:
        try:
            place = await self._placed(turn.inbound)
        except BaseException as error:
            # Somebody waits for the answer, whatever went wrong.
            self._turns.pop((turn.lane, turn.inbound.id), None)
            turn.accepted.set_exception(_told(error))
            if isinstance(error, RedisRefused):
                self.refuse(error)
            if isinstance(error, SessionError):
                return
            raise
        turn.accepted.set_result(None)
        if place.hold is not None:
            self._start(turn, place.hold)
        elif place.known:
            self._let_go(turn, TurnEnd(Ending.ELSEWHERE))
        else:
            self._queue(turn)

    async def _placed(self, inbound: Inbound) -> Place:
        replica = self.lanes.replica
        with contextlib.suppress(DeclaredDead):
            return await self._in_lane(inbound)
        await self._begin_anew(replica)
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
        )

    # -- waiting -----------------------------------------------------------------------------

    def _queue(self, turn: LiveTurn) -> None:
        self._waiting.setdefault(turn.lane, []).append(turn)
        if turn.attended:
            self._spawn(self._give_up(turn), f"patience {turn.inbound.id}")

    def _unqueue(self, turn: LiveTurn) -> None:
        turns = self._waiting.get(turn.lane, [])
        if turn in turns:
            turns.remove(turn)
        if not turns:
            self._waiting.pop(turn.lane, None)

    async def _give_up(self, turn: LiveTurn) -> None:
        """Take the message back where its turn has not begun in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._wait):
                await turn.begun.wait()
        message_id = turn.inbound.id
        # Until Redis answers: to let go without it would leave the message to be run unattended.
        while not turn.begun.is_set():
            try:
                withdrawal = await self.lanes.withdraw(turn.lane, message_id)
            except Retryable:
                await asyncio.sleep(_PAUSE)
                continue
            if withdrawal.next is not None:
                self._adopt(withdrawal.next)
            if withdrawal.done:
                text = str(LaneTimeout(turn.inbound.session))
                end = TurnEnd(Ending.REFUSED, text, "SESSION_QUEUE_TIMEOUT", retryable=True)
                self._let_go(turn, end)
            elif not withdrawal.running:
                self._let_go(turn, TurnEnd(Ending.ELSEWHERE))
            return

    async def _try_first(self, lane: str) -> None:
        """Take the lane for the first message that waits here, if its turn has come."""
        turns = self._waiting.get(lane)
        if turns:
            await self._try(turns[0])

    async def _try(self, turn: LiveTurn) -> None:
        replica = self.lanes.replica
        try:
            place = await self.lanes.take(turn.lane, turn.inbound.id)
        except DeclaredDead:
            await self._begin_anew(replica)
        except Retryable as error:
            log.warning("the lane for turn %s cannot be taken now: %s", turn.inbound.id, error)
        else:
            if place is None:
                self._let_go(turn, TurnEnd(Ending.ELSEWHERE))
            elif place.hold is not None:
                self._start(turn, place.hold)

    # -- running -----------------------------------------------------------------------------

    def _adopt(self, hold: Hold) -> None:
        """Go on with a lane that came to this replica: its own message, or a dead one's."""
        turn = self._turns.get((hold.lane, hold.id))
        if turn is None:
            try:
                inbound = Inbound.load(hold.message)
            except (ValueError, TypeError, AttributeError):
                session = session_of(hold.lane)
                log.exception("a message of session %r cannot be read: dropped", session)
                self._spawn(self._finish(hold), f"drop {hold.id}")
                return
            turn = LiveTurn(inbound, attended=False, lane=hold.lane)
            self._turns[hold.lane, hold.id] = turn
        self._start(turn, hold)

    def _start(self, turn: LiveTurn, hold: Hold) -> None:
        # While stopping the lane is left as it is: leaving gives it to another replica.
        if turn.begun.is_set() or self._stopping:
            return
        turn.begun.set()
        self._unqueue(turn)
        self._running[hold.lane] = turn, hold
        self._spawn(self._run(turn, hold), f"turn {hold.id}")

    async def _run(self, turn: LiveTurn, hold: Hold) -> None:
        self._stumbles.recall(turn, hold)
        try:
            await self._wait_for_former(turn)
            end = await self._runner.run(turn, hold)
            turn.conclude(end)
            self.endings[end.ending] += 1
            if end.ending is not Ending.LEFT:
                await self._deliver(turn, hold, end)
                await self._finish(hold)
            if turn.opened:
                self._ended.append(hold.message)
            self._stumbles.forget(hold)
        except LaneLost:
            self._stumbles.forget(hold)
            log.warning("the lane of turn %s is lost", hold.id)
            self._spawn(self._hand_in_again(Inbound.load(hold.message)), f"again {hold.id}")
        except ConfigError:
            # Nothing can be published to close it: a person has to act, and the turn waits.
            raise
        except Exception as error:  # noqa: BLE001 - no defect may hold its session for ever
            # Otherwise the next sweep finds the lane, and starts the turn again.
            if self._stumbles.is_last(turn, hold, error):
                await self._give_up_turn(turn, hold)
        finally:
            if self._running.get(hold.lane, (None, None))[1] is hold:
                del self._running[hold.lane]
            self._let_go(turn, TurnEnd(Ending.ELSEWHERE))

    async def _wait_for_former(self, turn: LiveTurn) -> None:
        """Let what an older version left of the same session come to its end first.

        What came before is answered before, and what was delivered again is known by then.
        """
        session = turn.inbound.session
        if turn.lane == former_lane_of(session):
            return
        while session in self._former and turn.interruption is None:
            await turn.wait_interrupted(_PAUSE)

    async def _give_up_turn(self, turn: LiveTurn, hold: Hold) -> None:
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
        if hold.stage is Stage.ENDED:
            await self._delivery.deliver(turn.inbound, None)
        elif end.ending is not Ending.ELSEWHERE:
            await self._delivery.deliver(turn.inbound, end)

    async def _hand_in_again(self, inbound: Inbound) -> None:
        """Put a message into its lane as if it were delivered again.

        Mostly another replica has it, or has run it, and nothing comes of it. But where Redis lost
        what it held, nobody else knows of the message or of the turn that it opened.
        """
        accepted = False
        while not accepted and not self._stopping:
            try:
                await self.accept(inbound, attended=False)
                accepted = True
            except Retryable:
                await asyncio.sleep(_PAUSE)

    async def _finish(self, hold: Hold) -> None:
        # Until Redis answers: a lane that is not let go answers nobody any more.
        while True:
            try:
                following = await self.lanes.finish(hold)
                break
            except Retryable:
                await asyncio.sleep(_PAUSE)
        if self._running.get(hold.lane, (None, None))[1] is hold:
            del self._running[hold.lane]
        if following is not None:
            self._adopt(following)

    def _let_go(self, turn: LiveTurn, end: TurnEnd) -> None:
        turn.conclude(end)
        turn.begun.set()
        self._unqueue(turn)
        if self._turns.get((turn.lane, turn.inbound.id)) is turn:
            del self._turns[turn.lane, turn.inbound.id]

    # -- keeping the lanes: called by the keeper ------------------------------------------------

    async def beat(self) -> None:
        """Show that this replica lives, and act on what changed.

        Raises Retryable, and what Redis refused for good since the last beat.
        """
        if self._refused is not None:
            raise self._refused
        holds = [hold for _, hold in self._running.values()]
        replica = self.lanes.replica
        try:
            pulse = await self.lanes.beat(holds, [*self._waiting])
        except DeclaredDead:
            await self._begin_anew(replica)
            return
        tokens = {hold.lane: hold.token for hold in holds}
        for lane in pulse.lost:
            self._interrupt(lane, Interruption.LOST, tokens[lane])
        for lane in pulse.aborted:
            self._interrupt(lane, Interruption.ABORT, tokens[lane])
        for lane in pulse.free:
            self._take_soon(lane, partial(self._try_first, lane))

    async def sweep(self, dead: dict[str, int]) -> None:
        """Take over what dead replicas left, and find what this one has lost sight of."""
        sweep = await self.lanes.sweep(dead)
        for hold in sweep.taken:
            log.warning("took over the lane of turn %s (%s)", hold.id, hold.stage)
            self._adopt(hold)
        # Unknown twice: once may be a turn that ended while the answer was on its way.
        unknown = {hold.token: hold for hold in sweep.held if not self._runs(hold)}
        for token in unknown.keys() & self._unknown:
            self._adopt(unknown[token])
        self._unknown = {*unknown}
        for lane, message_id in sweep.due:
            self._take_soon(lane, partial(self._take_due, lane, message_id))
        self._former = sweep.former

    def _runs(self, hold: Hold) -> bool:
        found = self._running.get(hold.lane)
        return found is not None and found[1].token == hold.token

    def _take_soon(self, lane: str, take: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Take a lane beside the beats: hundreds may be free at once, and each takes a moment."""

        async def work() -> None:
            try:
                await take()
            finally:
                self._taking.discard(lane)

        if lane not in self._taking:
            self._taking.add(lane)
            self._spawn(work(), f"take {lane!r}")

    async def _take_due(self, lane: str, message_id: str) -> None:
        if (lane, message_id) in self._turns:
            await self._try(self._turns[lane, message_id])
            return
        # The next sweep finds it again.
        with contextlib.suppress(Retryable, DeclaredDead):
            place = await self.lanes.take(lane, message_id)
            if place is not None and place.hold is not None:
                self._adopt(place.hold)

    def hint(self, word: str, lane: str) -> None:
        """Act on another replica's signal."""
        if word == "free" and lane in self._waiting:
            self._spawn(self._try_first(lane), f"take {lane!r}")
        elif word == "abort" and lane in self._running:
            self._interrupt(lane, Interruption.ABORT, self._running[lane][1].token)

    def _interrupt(self, lane: str, what: Interruption, token: str) -> None:
        found = self._running.get(lane)
        if found is not None and found[1].token == token:
            found[0].interrupt(what)

    async def _begin_anew(self, replica: str) -> None:
        """Go on under a new name: all that this replica held or had waiting is the others' now."""
        async with self._naming:
            if self.lanes.replica != replica:
                return
            log.warning("this replica is not known to the others (any more) and begins anew")
            for turn, _ in self._running.values():
                turn.interrupt(Interruption.LOST)
            waiting = [turn for turns in self._waiting.values() for turn in turns]
            for turn in waiting:
                self._let_go(turn, TurnEnd(Ending.ELSEWHERE))
            await self.lanes.register()
            ended = [Inbound.load(message) for message in self._ended]
            self._ended.clear()
            for inbound in (*ended, *(turn.inbound for turn in waiting)):
                self._spawn(self._hand_in_again(inbound), f"again {inbound.id}")

    # -- life --------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        # Without Redis the first beat that reaches it registers.
        with contextlib.suppress(Retryable):
            await self.lanes.register(patience=0)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let turns end, close the ones that do not, and leave the rest to the others."""
        self._stopping = True
        await self._wait_for_turns(self._stop_grace)
        for turn, _ in self._running.values():
            turn.interrupt(Interruption.STOP)
        await self._wait_for_turns(_CLOSE_GRACE)
        await end_all(self._tasks)
        with contextlib.suppress(SessionError):
            await self.lanes.unregister()

    async def _wait_for_turns(self, seconds: float) -> None:
        tasks = [task for task in self._tasks if task.get_name().startswith("turn ")]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)

    def _spawn(self, work: Coroutine[Any, Any, R], name: str) -> asyncio.Task[R]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, RedisRefused):
            self.refuse(error)
        elif error is not None:
            # What it had of a lane is found by the next sweep, and closed.
            log.error("%s failed", task.get_name(), exc_info=error)


def _told(error: BaseException) -> SessionError:
    """What the sender of a message is told of that error."""
    if isinstance(error, SessionError):
        return error
    if isinstance(error, asyncio.CancelledError):
        return Retryable(_STOPPING)
    return Retryable("the message was not taken; try again")


_STOPPING: Final = "this replica is being stopped; try again"
