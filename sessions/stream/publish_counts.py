"""What one process has published, and what Redis did not take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Final

from sessions.errors import RedisRefused, SessionError, StreamFull, StreamUnavailable
from sessions.models import Event, EventType


class PublishRefusal(StrEnum):
    """Why events were not taken."""

    FULL = "full"
    """Redis has no room."""
    UNAVAILABLE = "unavailable"
    """Redis did not confirm in time; the events may be on the stream or not."""
    REFUSED = "refused"
    """Redis does not permit it."""


_REFUSALS: Final = (
    (StreamFull, PublishRefusal.FULL),
    (StreamUnavailable, PublishRefusal.UNAVAILABLE),
    (RedisRefused, PublishRefusal.REFUSED),
)


class PublishCounts:
    """Events, by their type or by why they were not taken. For one event loop."""

    def __init__(self) -> None:
        self.published: Counter[EventType] = Counter()
        self.refused: Counter[PublishRefusal] = Counter()

    @contextmanager
    def counting(self, events: Sequence[Event]) -> Generator[None]:
        """Count these events by how the block ends; by nothing if the reason is not Redis."""
        try:
            yield
        except SessionError as error:
            for kind, refusal in _REFUSALS:
                if isinstance(error, kind):
                    self.refused[refusal] += len(events)
            raise
        for event in events:
            self.published[event.type] += 1
