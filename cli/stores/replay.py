"""Publishes a file of turns: many sessions interleaved, by several publishers, at a rate.

A session belongs to one publisher, so that its order is kept; a publisher has one unconfirmed call
at a time. The ids come from the file (`turnfile`), so that a repeated or interrupted replay changes
nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from cli.progress import ProgressMeter
from cli.stores.turnfile import Turn, TurnFile
from sessions.errors import Retryable, StreamFull
from sessions.models import Position
from sessions.process.retry import Pauses, retry
from sessions.stream.turns import TurnStream

# Events in one call. From here on a larger one gains nothing, Redis answers all at once anyway.
BATCH: Final = 100
# Calls a second that a publisher makes at a given rate, so that the load is even.
_CALLS: Final = 10
# Seconds by which a publisher that was late may catch up.
_SLACK: Final = 0.1
# Seconds without an answer of Redis after which a replay gives up. A full Redis is waited for
# without end: the worker is making room.
PATIENCE: Final = 60.0


@dataclass(frozen=True)
class Pace:
    """How a file is replayed. `rate` is turns a second in all; None is full speed.

    `open_sessions` is how many are interleaved at a time, 1 for each publisher at least.
    """

    publishers: int = 8
    rate: float | None = None
    open_sessions: int = 500

    @property
    def batch(self) -> int:
        """How many turns go into one call."""
        if self.rate is None:
            return BATCH
        return max(1, min(BATCH, round(self.rate / self.publishers / _CALLS)))


async def replay(
    file: TurnFile, stream: TurnStream, pace: Pace, meter: ProgressMeter
) -> Position | None:
    """Publish all turns of the file; the position of the last one, None of an empty file.

    Raises StreamUnavailable where Redis stays away too long; the same call goes on from there.
    """
    shared = _Rate(pace.rate)
    publishers = [
        _Publisher(stream, shared, meter, _turns(file, pace, number))
        for number in range(pace.publishers)
    ]
    async with asyncio.TaskGroup() as group:
        for publisher in publishers:
            group.create_task(publisher.run(pace.batch))
    last = [publisher.last for publisher in publishers if publisher.last is not None]
    return max(last, key=lambda position: position.stream_id, default=None)


def interleaved(sessions: Iterable[Iterator[Turn]], at_once: int) -> Iterator[Turn]:
    """A turn of each of the open sessions in turn; a new one is opened where one ends."""
    waiting = iter(sessions)
    open_ones = deque(islice(waiting, at_once))
    while open_ones:
        session = open_ones.popleft()
        turn = next(session, None)
        if turn is None:
            open_ones.extend(islice(waiting, 1))
            continue
        yield turn
        open_ones.append(session)


def _turns(file: TurnFile, pace: Pace, number: int) -> Iterator[Turn]:
    """What the publisher of that number publishes: every so-manieth session."""
    own = islice(file.sessions, number, None, pace.publishers)
    return interleaved(map(file.of, own), max(1, pace.open_sessions // pace.publishers))


class _Rate:
    """Turns a second over all publishers; a longer pause is not made up for."""

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self._next: float | None = None

    async def wait(self, turns: int) -> None:
        """Return when so many turns may go."""
        if self._rate is None:
            return
        now = asyncio.get_running_loop().time()
        moment = now if self._next is None else max(now - _SLACK, self._next)
        self._next = moment + turns / self._rate
        await asyncio.sleep(moment - now)


class _Publisher:
    """One of the concurrent publishers, with the sessions that are its own."""

    def __init__(
        self, stream: TurnStream, rate: _Rate, meter: ProgressMeter, turns: Iterator[Turn]
    ) -> None:
        self.last: Position | None = None
        self._stream = stream
        self._rate = rate
        self._meter = meter
        self._turns = turns

    async def run(self, size: int) -> None:
        """Publish all of them, `size` at a time."""
        while batch := list(islice(self._turns, size)):
            await self._rate.wait(len(batch))
            self.last = await self._publish(batch)
            self._meter.advance(len(batch))

    async def _publish(self, batch: list[Turn]) -> Position:
        events = [turn.event() for turn in batch]
        deadline = time.monotonic() + PATIENCE
        positions = await retry(
            lambda: self._stream.publish(events),
            on=Retryable,
            pauses=Pauses(0.0, heeded=True),
            # A full stream is waited for without a limit: the worker makes room while it drains.
            patience=None,
            goes_on=lambda error: isinstance(error, StreamFull) or time.monotonic() < deadline,
            report=lambda error: self._meter.say(f"waiting: {error}"),
        )
        return positions[-1]
