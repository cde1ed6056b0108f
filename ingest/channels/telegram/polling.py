"""Fetching updates from Telegram: one replica at a time, and nothing confirmed too early."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn, Protocol, cast

from ingest.channels.base import Take, Undeliverable
from ingest.channels.failure_counts import ChannelFailure
from ingest.channels.intake import MessageIntake, RefusedPlaces, UpdateReader
from ingest.channels.lease import ChannelLease
from sessions.errors import Retryable
from sessions.process.retry import OutageLog, Pauses, retry

log = logging.getLogger(__name__)

# Seconds that Telegram waits for an update. With the time to answer and to take in what came it
# must be far below the lease, which is renewed between two polls.
POLL_SECONDS: Final = 5
# Seconds between two looks whether the lease is free.
_LOOK: Final = 2.0
# Seconds until an update that was refused is tried again.
_AGAIN: Final = 1.0
# Numbers that can be confirmed; Telegram's have 32 bits.
_BOUND: Final = 2**62
# Seconds between two tries at most, while Telegram is away or does not know the token.
_LONGEST_PAUSE: Final = 30.0


class UpdateSource(UpdateReader, Protocol):
    """A bot, as far as polling needs it. Its methods raise Retryable or Undeliverable."""

    alias: str

    async def begin_polling(self) -> None:
        """Have updates kept for us."""
        ...

    async def updates(self, offset: int | None) -> Sequence[Any]:
        """The updates from `offset` on, as they came."""
        ...


async def poll(source: UpdateSource, lease: ChannelLease, take: Take) -> None:
    """Poll for ever while the lease is ours; whatever fails is tried again.

    Raises RedisRefused: a person must change what Redis permits.
    """
    pauses = Pauses(_LOOK, _LONGEST_PAUSE, heeded=True)
    outage = OutageLog(log, "telegram.%s cannot be polled now: %s", source.alias)

    def is_over() -> None:
        pauses.reset()
        outage.over()

    try:
        await retry(
            lambda: _poll_in_turn(source, lease, take, is_over),
            on=(Retryable, Undeliverable),
            pauses=pauses,
            # No limit: Telegram keeps the messages for us, and the token may be put right.
            patience=None,
            report=outage.failed,
        )
    finally:
        await lease.release()


async def _poll_in_turn(
    source: UpdateSource, lease: ChannelLease, take: Take, is_over: Callable[[], None]
) -> NoReturn:
    """Poll whenever the lease is ours. Raises what the source raises."""
    while True:
        if await lease.acquire():
            await _poll_on(source, lease, take, is_over)
        await asyncio.sleep(_LOOK)


async def _poll_on(
    source: UpdateSource, lease: ChannelLease, take: Take, is_over: Callable[[], None]
) -> None:
    """Poll until the lease is another one's; `is_over` is told of each answer of Telegram."""
    await source.begin_polling()
    intake = UpdateIntake(source, take)
    while await lease.acquire():
        updates = await source.updates(intake.offset)
        is_over()
        if not await intake.accept(updates):
            # What waits makes Telegram answer at once.
            await asyncio.sleep(_AGAIN)


class UpdateIntake:
    """Takes updates in and knows how far they may be confirmed: up to the first refused one."""

    def __init__(self, source: UpdateSource, take: Take) -> None:
        self.offset: int | None = None
        self._source = source
        self._intake = MessageIntake(source, take, name=f"telegram.{source.alias}")
        self._taken: set[int] = set()
        self._has_nameless = False

    async def accept(self, updates: Sequence[Any]) -> bool:
        """Take in what was not taken before; False where something was refused for now.

        What was refused holds back what follows in its own session only.
        """
        refused: RefusedPlaces = set()
        numbers: list[int] = []
        for update in updates:
            number = _number_of(update)
            if number is None:
                continue
            numbers.append(number)
            if number not in self._taken and await self._intake.accept(number, update, refused):
                self._taken.add(number)
        self._note_nameless(len(updates) - len(numbers))
        self._move_on(numbers)
        return not refused and (not updates or bool(numbers))

    def _move_on(self, numbers: Sequence[int]) -> None:
        """Confirm up to the first that waits.

        Telegram never brings again what was confirmed. So lower numbers mean that it counts from
        elsewhere, as it does after a week without updates, or if the bot moved to another server.
        """
        if numbers:
            waiting = [number for number in numbers if number not in self._taken]
            end = min(waiting, default=max(numbers) + 1)
            if end < (self.offset or 0):
                self._taken.intersection_update(numbers)
                self._intake.forget(lambda _: True)
            self.offset = end
        self._taken = {number for number in self._taken if number >= (self.offset or 0)}
        self._intake.forget(lambda number: number < (self.offset or 0))

    def _note_nameless(self, count: int) -> None:
        """Count what has no number once: it comes again until a later update is confirmed."""
        if count and not self._has_nameless:
            self._source.count(ChannelFailure.UNREADABLE)
            log.warning("telegram.%s: %d updates without a number", self._source.alias, count)
        self._has_nameless = bool(count)


def _number_of(update: object) -> int | None:
    """The number by which an update is confirmed; None for what has none."""
    if not isinstance(update, dict):
        return None
    number: object = cast("dict[str, Any]", update).get("update_id")
    # A negative offset means something else to Telegram.
    if isinstance(number, int) and not isinstance(number, bool) and 0 <= number < _BOUND:
        return number
    return None
