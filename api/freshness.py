"""Readers that wait until the store has what they must see.

The stream says how far it goes, the store how far it has applied it (its cursor). One task for
the whole process watches the cursor while somebody waits, and none otherwise. A position comes
with each answer, taken before the data was read, so that it never promises too much.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final

from api.shared import SharedQuery
from sessions import times
from sessions.errors import PositionLost, StoreBehind, StoreMismatch, StreamUnavailable
from sessions.models import STREAM_START, Position, StreamCursor, StreamId
from sessions.store.backend import SessionReader
from sessions.stream.turns import StreamFacts, TurnStream
from sessions.web.rejections import Busy

# Seconds that a reader waits at most: the contract's bound.
PATIENCE: Final = 2.0
# Seconds between two looks at the cursor: about what a small commit takes, so that looking more
# often would find nothing new.
LOOK_PAUSE: Final = 0.002
# Seconds between two looks at Redis while a leader begins a new epoch, which takes it some time.
EPOCH_PAUSE: Final = 0.02
# Readers that wait at the same time. Each holds a connection; if there are more, the store is far
# behind and a longer queue would help nobody.
MOST_WAITERS: Final = 1000


class Freshness:
    """Waits on behalf of readers; each wait gives the position that the store has reached."""

    def __init__(
        self, backend: SessionReader, stream: TurnStream, *, patience: float = PATIENCE
    ) -> None:
        self._backend = backend
        self._stream = stream
        self.patience = patience
        self._watch = CursorWatch(backend)
        self._looks = SharedQuery(self._look_now)
        self._store_id: str | None = None

    @property
    def waiting(self) -> int:
        """How many readers wait now."""
        return self._watch.waiting

    async def present(self) -> Position:
        """Take the store as it is; asks nothing of Redis."""
        return _position(await self._backend.cursor())

    async def latest(self) -> Position:
        """Wait until all that is in the stream now has been applied.

        Raises StoreBehind when that takes too long, StreamUnavailable without Redis,
        StoreMismatch where the stream belongs to another store, Busy where too many wait.
        """
        async with self._within_patience() as seen:
            return _position(await self._caught_up(seen))

    async def reached(
        self, position: Position, has_outcome: Callable[[], Awaitable[bool]]
    ) -> Position:
        """Wait for one position only: its event's outcome, or the cursor in the same epoch.

        `has_outcome` tells whether its event has one that the reader may know of. Raises what
        `latest` raises, and PositionLost where the position is of an older epoch and its event
        has no outcome although all of the stream has been applied, and where the stream ends
        before the position.
        """
        async with self._within_patience() as seen:
            cursor, facts = await self._look(seen)
            if _includes(cursor, position) or await has_outcome():
                return _position(cursor)
            if _is_beyond(position, cursor, facts):
                raise position_lost()
            position = _within(position, facts)
            if cursor.epoch <= position.epoch:
                cursor = await self._watch.until(
                    lambda now: _includes(now, position) or now.epoch > position.epoch
                )
            if not _includes(cursor, position):
                cursor = await self._caught_up(seen)
                if not _includes(cursor, position) and not await has_outcome():
                    raise position_lost()
            return _position(cursor)

    async def passed(self, position: Position) -> bool:
        """Whether the store has gone past the position now, or past the epoch that it is of."""
        cursor = await self._backend.cursor()
        return _includes(cursor, position) or cursor.epoch > position.epoch

    async def stream_facts(self) -> StreamFacts:
        """What Redis says of the stream; raises StoreMismatch where it is another store's."""
        facts = await self._stream.facts()
        registered = facts.store.get("store_id")
        if registered is not None and registered != await self.store_id():
            # An index that was made of files alone is another store, in the same place.
            self._store_id = None
        if registered is not None and registered != await self.store_id():
            raise StoreMismatch(
                "the stream belongs to another store than the one that this api has open; give "
                "worker and api the same workspace and backend"
            )
        return facts

    async def backlog_age(self, cursor: StreamCursor, facts: StreamFacts) -> float:
        """Seconds since the first entry came that the cursor has not passed; 0 without one.

        An entry's id has Redis' time, and now is ours: an age below 0 counts as 0.
        """
        place = cursor.applied if cursor.epoch == facts.epoch else STREAM_START
        oldest = await self._stream.oldest_behind(place)
        if oldest is None:
            return 0.0
        return max(0.0, times.now() / times.SECOND - oldest.ms / 1000)

    async def store_id(self) -> str | None:
        """The id of the store that is open; None while it was not made yet."""
        if self._store_id is None:
            self._store_id = await self._backend.store_id()
        return self._store_id

    async def _look(self, seen: _Seen) -> tuple[StreamCursor, StreamFacts]:
        """The cursor and the facts of a moment after the call, perhaps seen for others as well."""
        cursor, seen.facts = await self._looks.result()
        return cursor, seen.facts

    async def _look_now(self) -> tuple[StreamCursor, StreamFacts]:
        """The cursor and, taken after it, the facts: a sound stream is then never behind."""
        return await self._backend.cursor(), await self.stream_facts()

    async def _caught_up(self, seen: _Seen) -> StreamCursor:
        """The cursor once it has all that was in the stream at one moment after the call."""
        while True:
            cursor, facts = await self._look(seen)
            if cursor.epoch == facts.epoch and cursor.applied <= facts.last_id:
                arrived = _at(facts.epoch, facts.newest_id)
                cursor = await self._watch.until(arrived, known=cursor)
                if cursor.epoch == facts.epoch:
                    return cursor
            # A new epoch is being begun, or the stream went backwards and no leader has seen it.
            await asyncio.sleep(EPOCH_PAUSE)

    @asynccontextmanager
    async def _within_patience(self) -> AsyncGenerator[_Seen]:
        seen = _Seen()
        try:
            async with asyncio.timeout(self.patience):
                yield seen
        except TimeoutError:
            if seen.facts is None:
                raise StreamUnavailable("Redis did not answer in time") from None
            raise _behind(lag(await self._backend.cursor(), seen.facts), self.patience) from None


class CursorWatch:
    """The store's cursor, looked at by one task while somebody waits for it."""

    def __init__(self, backend: SessionReader) -> None:
        self._backend = backend
        self._waiters: dict[asyncio.Future[StreamCursor], Callable[[StreamCursor], bool]] = {}
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """How many wait now."""
        return len(self._waiters)

    async def until(
        self, reached: Callable[[StreamCursor], bool], *, known: StreamCursor | None = None
    ) -> StreamCursor:
        """The first cursor for which `reached` is true; `known` is tried before any waiting.

        Raises Busy where too many wait, and what reading the cursor raises. The caller sets the
        bound on time.
        """
        if known is not None and reached(known):
            return known
        if len(self._waiters) >= MOST_WAITERS:
            raise Busy("too many readers wait for the store to catch up; try again")
        future: asyncio.Future[StreamCursor] = asyncio.get_running_loop().create_future()
        self._waiters[future] = reached
        if self._task is None:
            self._task = asyncio.create_task(self._look_on(), name="cursor watch")
        try:
            return await future
        finally:
            del self._waiters[future]

    async def _look_on(self) -> None:
        try:
            while self._waiters:
                self._tell(await self._backend.cursor())
                await asyncio.sleep(LOOK_PAUSE)
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait are told
            self._fail(error)
        finally:
            self._task = None

    def _tell(self, cursor: StreamCursor) -> None:
        for future, reached in self._waiters.items():
            if not future.done() and reached(cursor):
                future.set_result(cursor)

    def _fail(self, error: Exception) -> None:
        for future in self._waiters:
            if not future.done():
                future.set_exception(error)


@dataclass(slots=True)
class _Seen:
    """The last facts that one wait got, to tell how far behind the store is."""

    facts: StreamFacts | None = None


def position_lost() -> PositionLost:
    """The error of a position whose event is nowhere."""
    return PositionLost(
        "this position belongs to a stream that is no more, and its event was never applied; "
        "publish the event again with the same id"
    )


def lag(cursor: StreamCursor, facts: StreamFacts) -> int | None:
    """Entries that wait to be applied; None where that is not known."""
    if cursor.epoch != facts.epoch:
        return None
    if cursor.applied >= facts.newest_id:
        return 0
    if facts.added is None:
        return None
    # What vanished before it was read does not wait.
    return min(facts.length, max(0, facts.added - cursor.skipped - cursor.resolved))


def _behind(lag: int | None, patience: float) -> StoreBehind:
    count = "an unknown number of" if lag is None else lag
    return StoreBehind(
        f"the store is {count} events behind and did not catch up within {patience:g} s; try "
        "again, or read the older state with ?consistency=any",
        lag=lag,
    )


def _at(epoch: int, last: StreamId) -> Callable[[StreamCursor], bool]:
    """Whether a cursor has passed `last`, or that epoch is over."""
    return lambda cursor: cursor.epoch != epoch or cursor.applied >= last


def _within(position: Position, facts: StreamFacts) -> Position:
    """The position, or the newest entry's where its own is not in the stream any more.

    Then it was applied, or it never will be: nothing in the stream is worth waiting for behind it.
    """
    if position.epoch == facts.epoch and facts.newest_id < position.stream_id <= facts.last_id:
        return replace(position, stream_id=facts.newest_id)
    return position


def _position(cursor: StreamCursor) -> Position:
    return Position(cursor.epoch, cursor.applied)


def _is_beyond(position: Position, cursor: StreamCursor, facts: StreamFacts) -> bool:
    """Whether the stream ends before a position: it went backwards, or never gave that one out."""
    if position.epoch == facts.epoch:
        return position.stream_id > facts.last_id
    return position.epoch > max(cursor.epoch, facts.epoch)


def _includes(cursor: StreamCursor, position: Position) -> bool:
    """Whether the cursor has passed the position. Before a stream's first entry lies nothing."""
    if position.stream_id == STREAM_START:
        return True
    return cursor.epoch == position.epoch and cursor.applied >= position.stream_id
