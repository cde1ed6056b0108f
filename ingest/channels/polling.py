"""Fetching updates from Telegram: one replica at a time, and nothing confirmed too early."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final, Protocol

from telegram import Update

from ingest.channels.base import Arrival, Take, Undeliverable
from ingest.channels.lease import Lease
from sessions.errors import InvalidEvent, Retryable

log = logging.getLogger(__name__)

# Seconds that Telegram waits for an update. With the time to answer and to take in what came it
# must be far below the lease, which is renewed between two polls.
POLL_SECONDS: Final = 5
# Seconds between two looks whether the lease is free.
_LOOK: Final = 2.0
# Seconds until an update that was refused is tried again.
_AGAIN: Final = 1.0
# Seconds between two tries at most, while Telegram is away or does not know the token.
_LONGEST_PAUSE: Final = 30.0


class Source(Protocol):
    """A bot, as far as polling needs it. Its methods raise Retryable or Undeliverable."""

    alias: str

    async def begin_polling(self) -> None:
        """Have updates kept for us."""
        ...

    async def updates(self, offset: int | None) -> Sequence[Update]:
        """The updates from `offset` on."""
        ...

    def arrival(self, update: Update) -> Arrival | None:
        """The message in an update."""
        ...


async def poll(source: Source, lease: Lease, take: Take) -> None:
    """Poll for ever while the lease is ours; whatever fails is tried again."""
    pauses = _Pauses(source.alias)
    try:
        while True:
            try:
                if await lease.take():
                    await _poll_on(source, lease, take, pauses)
                pause = _LOOK
            except (Retryable, Undeliverable) as error:
                pause = pauses.after(error)
            await asyncio.sleep(pause)
    finally:
        await lease.release()


class _Pauses:
    """How long to wait after errors, which are logged once for each outage."""

    def __init__(self, alias: str) -> None:
        self._alias = alias
        self._next = _LOOK

    def after(self, error: Retryable | Undeliverable) -> float:
        """Seconds until the next try: more with each error, and what the error asks for."""
        level = logging.WARNING if self._next == _LOOK else logging.DEBUG
        log.log(level, "telegram.%s cannot be polled now: %s", self._alias, error)
        pause = max(self._next, getattr(error, "retry_after", 0.0))
        self._next = min(2 * self._next, _LONGEST_PAUSE)
        return pause

    def reset(self) -> None:
        """The outage is over."""
        self._next = _LOOK


async def _poll_on(source: Source, lease: Lease, take: Take, pauses: _Pauses) -> None:
    """Poll until the lease is another one's. Raises what the source raises."""
    await source.begin_polling()
    intake = Intake(source, take)
    while await lease.take():
        updates = await source.updates(intake.offset)
        pauses.reset()
        if not await intake.accept(updates):
            # What waits makes Telegram answer at once.
            await asyncio.sleep(_AGAIN)


class Intake:
    """Takes updates in and knows how far they may be confirmed: up to the first refused one."""

    def __init__(self, source: Source, take: Take) -> None:
        self.offset: int | None = None
        self._source = source
        self._take = take
        self._taken: set[int] = set()

    async def accept(self, updates: Sequence[Update]) -> bool:
        """Take in what was not taken before; False where something was refused for now.

        What was refused holds back what follows in its own session only.
        """
        refused: set[tuple[str, str]] = set()
        for update in updates:
            if update.update_id not in self._taken and await self._accept(update, refused):
                self._taken.add(update.update_id)
        for update in updates:
            if update.update_id not in self._taken:
                break
            self.offset = update.update_id + 1
        self._taken = {number for number in self._taken if number >= (self.offset or 0)}
        return not refused

    async def _accept(self, update: Update, refused: set[tuple[str, str]]) -> bool:
        arrival = self._source.arrival(update)
        if arrival is None:
            return True
        place = (arrival.target, arrival.sender)
        if place in refused:
            return False
        try:
            await self._take(arrival)
        except InvalidEvent as error:
            log.warning("telegram.%s: a message is left out: %s", self._source.alias, error)
        except Retryable as error:
            log.warning("telegram.%s: a message waits: %s", self._source.alias, error)
            refused.add(place)
            return False
        return True
