"""How many events had which outcome, counted batch by batch: one event costs next to nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from sessions.models import EventType, OutcomeKind, Reason


class OutcomeCount(NamedTuple):
    """Entries of one type with one outcome. `type` is None for what could not be decoded.

    `outcome` is None for entries with the id of an event that has its outcome.
    """

    type: EventType | None
    outcome: OutcomeKind | None
    reason: Reason | None
    times: int


class BatchTally:
    """What was decided in one batch."""

    def __init__(self) -> None:
        # Almost all are of this kind, and a list takes one in faster than a dictionary counts it.
        self.applied: list[EventType] = []
        self.others: list[tuple[EventType | None, OutcomeKind | None, Reason | None]] = []


class OutcomeTally:
    """What one writer has committed since it was made."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[EventType | None, OutcomeKind | None, Reason | None]] = (
            Counter()
        )

    def add(self, batch: BatchTally) -> None:
        """Count a batch that is committed."""
        left = len(batch.applied)
        for kind in EventType:
            if not left:
                break
            count = batch.applied.count(kind)
            self._counts[kind, OutcomeKind.APPLIED, None] += count
            left -= count
        self._counts.update(batch.others)

    def __iter__(self) -> Iterator[OutcomeCount]:
        """Each combination that there was, and how often."""
        for key, count in tuple(self._counts.items()):
            yield OutcomeCount(*key, count)
