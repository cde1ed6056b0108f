"""Counts of this process, for the pages that show them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from enum import StrEnum


class CounterName(StrEnum):
    """What is counted, by the name that a reader of metrics sees."""

    MESSAGES_ACCEPTED = "messages_accepted"
    """Messages that are safe in their lane."""
    MESSAGES_REFUSED = "messages_refused"
    """Messages that are not; with `reason`."""
    TURN_ERRORS = "turn_errors"
    """Errors that nobody foresaw, each of which ended one try of a turn."""
    TURNS_GIVEN_UP = "turns_given_up"
    """Turns that were closed after the last such try."""
    TURNS_FAILED = "turns_failed"
    """Turns whose agent could not answer; with `agent`, `status` and `reason`."""


class MessageRefusal(StrEnum):
    """Why a message was refused."""

    QUEUE_FULL = "queue_full"
    """Too many wait in its session."""
    QUEUE_TIMEOUT = "queue_timeout"
    """The turns before it took too long."""
    STREAM_FULL = "stream_full"
    """Redis has no room."""
    UNAVAILABLE = "unavailable"
    """Something did not answer, or is being stopped."""


class Counters:
    """Counts that only grow, from 0 at the start of the process. For one event loop."""

    def __init__(self) -> None:
        # Known from the start, so that the first one is an increase to who watches.
        self._counts: Counter[tuple[CounterName, tuple[tuple[str, str], ...]]] = Counter(
            {
                (CounterName.MESSAGES_ACCEPTED, ()): 0,
                (CounterName.TURN_ERRORS, ()): 0,
                (CounterName.TURNS_GIVEN_UP, ()): 0,
                **{
                    (CounterName.MESSAGES_REFUSED, (("reason", str(reason)),)): 0
                    for reason in MessageRefusal
                },
            }
        )

    def add(self, what: CounterName, **labels: str) -> None:
        """Count one. Labels take few values each: names of the settings, statuses, our reasons."""
        self._counts[what, tuple(sorted(labels.items()))] += 1

    def of(self, what: CounterName) -> int:
        """How often that was counted, whatever its labels; 0 where it never was."""
        return sum(count for (name, _), count in self._counts.items() if name == what)

    def __iter__(self) -> Iterator[tuple[CounterName, dict[str, str], int]]:
        """Each name with its labels and its count, in the order of their first events."""
        for (what, labels), count in tuple(self._counts.items()):
            yield what, dict(labels), count
