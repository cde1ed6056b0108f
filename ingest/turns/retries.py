"""Turns that end with an unforeseen error: counts the tries and says which one is the last."""

from __future__ import annotations

import logging
from typing import Final, NamedTuple

from ingest.counters import CounterName, Counters
from ingest.turns.live import LiveTurn
from sessions.errors import Retryable
from sessions.stream.lanes.values import Hold

log = logging.getLogger(__name__)

# Times that such a turn is started: one error may have been a moment's, three are a defect.
_TRIES: Final = 3


class _FailedTries(NamedTuple):
    times: int
    said: str


class TurnRetries:
    """The failed tries of one replica. A replica that takes a turn over counts from the start."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        # By the token of the lane: it stays the same for as long as this replica holds it.
        self._found: dict[str, _FailedTries] = {}

    def recall(self, turn: LiveTurn, hold: Hold) -> None:
        """Let the turn know what an earlier try of it has shown; nothing if there was none."""
        if hold.token in self._found:
            turn.progress.recall(self._found[hold.token].said)

    def forget(self, hold: Hold) -> None:
        """The turn has ended, or is another replica's."""
        self._found.pop(hold.token, None)

    def is_last(self, turn: LiveTurn, hold: Hold, error: Exception) -> bool:
        """Count the error; true if the turn is not to be started again."""
        if isinstance(error, Retryable):
            # It passes by itself, and what was accepted must not be lost meanwhile: no limit.
            log.warning("turn %s is tried again: %s", hold.id, type(error).__name__)
            return False
        self._counters.add(CounterName.TURN_ERRORS)
        times = self._found[hold.token].times + 1 if hold.token in self._found else 1
        if times < _TRIES:
            self._found[hold.token] = _FailedTries(times, turn.said)
            log.warning("turn %s is tried again: %s", hold.id, type(error).__name__)
            return False
        self.forget(hold)
        self._counters.add(CounterName.TURNS_GIVEN_UP)
        log.error(
            "turn %s is given up: agent %s, session %r",
            *(hold.id, turn.inbound.agent, turn.inbound.session),
            exc_info=error,
        )
        return True
