"""Counts of what went wrong in channels, for the pages that show them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from enum import StrEnum


class ChannelFailure(StrEnum):
    """What is counted, by the name that a reader of metrics sees."""

    UNREADABLE = "channel_unreadable_updates"
    """Updates that could not be read, and are skipped."""
    LEFT_OUT = "channel_messages_left_out"
    """Messages that no turn can hold, or that failed too often."""
    FAILED = "channel_failures"
    """Errors that nobody foresaw, each of which made the channel begin again."""

    PARKED = "replies_parked"
    """Replies that their platform did not take in time, and that are tried later."""
    LATE = "replies_delivered_late"
    """Parked replies that were delivered."""
    UNDELIVERED = "replies_undelivered"
    """Replies that are not tried any more."""
    FORGOTTEN = "replies_forgotten"
    """Undelivered ones that went because their agent had too many."""
    LOST = "replies_lost"
    """Kept replies that Redis lost."""


class ChannelFailures:
    """Counts for each channel, from 0 at the start of the process. For one event loop."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[ChannelFailure, str]] = Counter()

    def add(self, what: ChannelFailure, *, channel: str) -> None:
        """Count one for the channel (`telegram.home`)."""
        self._counts[what, channel] += 1

    def of(self, what: ChannelFailure, *, channel: str) -> int:
        """How often that was counted for the channel; 0 if it never was."""
        return self._counts[what, channel]

    def __iter__(self) -> Iterator[tuple[ChannelFailure, dict[str, str], int]]:
        """Each name with its labels and its count, in the order of their first events."""
        for (what, channel), count in tuple(self._counts.items()):
            yield what, {"channel": channel}, count
