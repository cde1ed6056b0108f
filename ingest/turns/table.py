"""The turns that this replica has, by what they do: wait for their lane, or run.

The table only mirrors what Redis holds: what is lost from it (a cancelled call, a cut connection)
comes back with the next sweep, and what is kept too long is refused by the fence.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Final

from ingest.turns.live import Ending, Interruption, LiveTurn, TurnEnd
from sessions.stream.lanes.values import Hold

# Messages whose turns ended last: more than there are between stream and store while the worker
# keeps up. If Redis loses its stream, their replies may be lost with it.
_ENDED: Final = 64


class TurnTable:
    """All turns of one replica. For one event loop."""

    def __init__(self) -> None:
        # By lane, and the first one by id too.
        self._turns: dict[tuple[str, str], LiveTurn] = {}
        self._waiting: dict[str, list[LiveTurn]] = {}
        self._running: dict[str, tuple[LiveTurn, Hold]] = {}
        # While the process ends no turn begins: the lanes stay as they are for other replicas.
        self.closing = False

    def find(self, lane: str, message_id: str) -> LiveTurn | None:
        """The turn of that message, None if this replica does not have it."""
        return self._turns.get((lane, message_id))

    def add(self, turn: LiveTurn) -> None:
        """Have the turn from now on."""
        self._turns[turn.lane, turn.inbound.id] = turn

    def remove(self, turn: LiveTurn) -> None:
        """Have it no more; nothing happens if another one has its place by now."""
        if self._turns.get((turn.lane, turn.inbound.id)) is turn:
            del self._turns[turn.lane, turn.inbound.id]

    def let_go(self, turn: LiveTurn, end: TurnEnd) -> None:
        """The turn is over as far as this replica has to do with it; only the first end counts."""
        turn.conclude(end)
        turn.begun.set()
        self._leave_line(turn)
        self.remove(turn)

    # -- waiting -----------------------------------------------------------------------------

    def line_up(self, turn: LiveTurn) -> None:
        """The turn waits for its lane, behind the others of that lane here."""
        self._waiting.setdefault(turn.lane, []).append(turn)

    def first_waiting(self, lane: str) -> LiveTurn | None:
        """The turn that waits longest for the lane here, None if none does."""
        turns = self._waiting.get(lane)
        return turns[0] if turns else None

    def waiting(self, lane: str) -> list[LiveTurn]:
        """The turns that wait for the lane here, longest first."""
        return [*self._waiting.get(lane, [])]

    @property
    def waiting_lanes(self) -> list[str]:
        """The lanes that turns wait for here."""
        return [*self._waiting]

    def let_go_of_waiting(self) -> list[LiveTurn]:
        """Let all turns go that wait; what they are."""
        waiting = [turn for turns in self._waiting.values() for turn in turns]
        for turn in waiting:
            self.let_go(turn, TurnEnd(Ending.ELSEWHERE))
        return waiting

    def is_idle(self, lane: str) -> bool:
        """Whether nothing runs or waits in the lane, as far as this replica knows."""
        return lane not in self._running and lane not in self._waiting

    def _leave_line(self, turn: LiveTurn) -> None:
        turns = self._waiting.get(turn.lane, [])
        if turn in turns:
            turns.remove(turn)
        if not turns:
            self._waiting.pop(turn.lane, None)

    # -- running -----------------------------------------------------------------------------

    def begin(self, turn: LiveTurn, hold: Hold) -> None:
        """The turn runs under this hold from now on."""
        turn.begun.set()
        self._leave_line(turn)
        self._running[hold.lane] = turn, hold

    def running(self, lane: str) -> LiveTurn | None:
        """The turn of that lane that runs here, None if none does."""
        found = self._running.get(lane)
        return found[0] if found else None

    @property
    def holds(self) -> list[Hold]:
        """The lanes that this replica holds, as far as it knows."""
        return [hold for _, hold in self._running.values()]

    def runs(self, hold: Hold) -> bool:
        """Whether a turn runs here under that very hold."""
        found = self._running.get(hold.lane)
        return found is not None and found[1].token == hold.token

    def interrupt(self, hold: Hold, what: Interruption) -> None:
        """Interrupt the turn under that hold; nothing happens if it has ended."""
        if self.runs(hold):
            self._running[hold.lane][0].interrupt(what)

    def interrupt_lane(self, lane: str, what: Interruption) -> None:
        """Interrupt the turn that runs in the lane here, if one does."""
        if lane in self._running:
            self._running[lane][0].interrupt(what)

    def interrupt_all(self, what: Interruption) -> None:
        """Interrupt every turn that runs here."""
        for turn, _ in self._running.values():
            turn.interrupt(what)

    def end(self, hold: Hold) -> None:
        """No turn runs under that hold any more; it may be said twice."""
        if self.runs(hold):
            del self._running[hold.lane]


class EndedTurns:
    """The turns that ended here: how many in which way, and the messages of the last ones."""

    def __init__(self) -> None:
        self.endings: Counter[Ending] = Counter()
        self._messages: deque[str] = deque(maxlen=_ENDED)

    def count(self, ending: Ending) -> None:
        """A turn ended so."""
        self.endings[ending] += 1

    def remember(self, hold: Hold) -> None:
        """Keep the message of a turn that was stored here."""
        self._messages.append(hold.message)

    def pop_messages(self) -> list[str]:
        """The messages that were kept, oldest first; they are forgotten."""
        messages = [*self._messages]
        self._messages.clear()
        return messages
