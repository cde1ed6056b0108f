"""What was refused because of a limit: counted for /metrics, and logged now and then."""

from __future__ import annotations

import logging
import time
from collections import Counter
from enum import StrEnum
from typing import Final

log = logging.getLogger(__name__)

# Seconds between two lines about the same limit: a flood must not fill the log.
_REPEAT: Final = 60.0


class Limit(StrEnum):
    """The limits that refuse."""

    CONNECTION = "connection"
    WEBSOCKET = "websocket"
    HEAD = "head"
    SLOW = "slow"
    RATE = "rate"
    CONCURRENCY = "concurrency"
    CHATS = "chats"
    SHARE = "share"
    WAITING = "waiting"


class RefusalCounts:
    """How often each limit has refused, in this process."""

    def __init__(self) -> None:
        self.counts: Counter[Limit] = Counter()
        self._told: dict[Limit, float] = {}

    def count(self, kind: Limit) -> None:
        """Count one; the log gets a line at most once a minute for each limit."""
        self.counts[kind] += 1
        now = time.monotonic()
        if now - self._told.get(kind, float("-inf")) >= _REPEAT:
            self._told[kind] = now
            log.warning("the limit %s refuses; %d times since the start", kind, self.counts[kind])
