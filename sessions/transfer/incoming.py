"""The store that is being made: a copy of another one, which then follows the stream.

It has a name that nobody opens until it is whole. It knows whose copy it is once all rows are in:
then it has the other store's id, and its place in the stream.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self, cast

from sessions import times
from sessions.errors import StoreUnavailable
from sessions.models import Entry, StreamCursor
from sessions.store.backend import SessionBackend, Transferable
from sessions.store.capabilities import Movable
from sessions.store.factory import incoming_backend
from sessions.stream.turns import TurnStream

# Entries that are applied at a time. They share a clock, so there are fewer than in a worker's
# batch.
_COUNT: Final = 200
_SIZE: Final = 4 * 1024 * 1024


class StreamClock:
    """The time at which entries came into the stream.

    A message without a time of its own gets that at which it was applied. The worker of the old
    store applied it then, and this one may be minutes later.
    """

    def __init__(self) -> None:
        self._now: int | None = None

    def __call__(self) -> int:
        """That time in microseconds; now, before any entry came."""
        return times.now() if self._now is None else self._now

    def follow(self, entries: Sequence[Entry]) -> None:
        """Stand at the time of the last of these entries."""
        self._now = entries[-1].raw.stream_id.ms * 1000


class IncomingStore:
    """The store that will be at the place of `local`; it is open, and led, inside `async with`."""

    def __init__(self, workspace: Path, local: Movable, *, holder: str, max_content: int) -> None:
        self.local = local.incoming()
        self._open: Callable[[], SessionBackend] = lambda: incoming_backend(
            workspace, local.name, max_content=max_content, clock=self._clock
        )
        self._local = local
        self._holder = holder
        self._clock = StreamClock()
        self._stack = AsyncExitStack()
        self._backend: SessionBackend | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    @property
    def backend(self) -> SessionBackend:
        """The open store."""
        assert self._backend is not None
        return self._backend

    @property
    def is_copied(self) -> bool:
        """Whether there is a whole copy, however far it is."""
        return self._backend is not None

    async def resume(self, store_id: str | None) -> bool:
        """Open what is there already, if it is a whole copy of that store."""
        with suppress(StoreUnavailable):  # it was cut short before it had an id
            if store_id is not None and self.local.store_id() == store_id:
                await self._enter()
        return self._backend is not None

    async def copy(self, source: SessionBackend, reach: Callable[[int], None]) -> None:
        """Begin again, and copy all rows; `reach` hears how many messages are in."""
        await self._stack.aclose()
        self._local.remove_incoming()
        await self._enter()
        target, copied = cast("Transferable", self.backend), 0
        async with cast("Transferable", source).snapshot() as snapshot:
            async for part in snapshot.parts():
                await target.restore(part)
                copied += len(part.messages)
                reach(copied)
            await target.become(snapshot.head)
        # A leader learns at its beginning which agents have published.
        await self.backend.acquire(self._holder, seen=None)

    async def follow(self, stream: TurnStream, goal: StreamCursor) -> bool:
        """Apply what is on the stream, up to the goal and nothing beyond.

        False if that is not possible: entries are gone, or the stream was begun again.
        """
        here = await self.backend.cursor()
        while here.applied < goal.applied and here.epoch == goal.epoch:
            found = await stream.read(here.applied, count=_COUNT, size=_SIZE)
            batch = [entry for entry in found if entry.raw.stream_id <= goal.applied]
            if not batch:
                return False
            self._clock.follow(batch)
            here = await self.backend.apply(batch)
        return _place(here) == _place(goal)

    async def is_at(self, goal: StreamCursor) -> bool:
        """Whether it is exactly so far."""
        return _place(await self.backend.cursor()) == _place(goal)

    async def finish(self) -> None:
        """Let the lead go: a worker may take it as soon as the store has its name."""
        await self.backend.release()

    async def _enter(self) -> None:
        self._backend = await self._stack.enter_async_context(self._open())
        await self.backend.acquire(self._holder, seen=None)


def _place(cursor: StreamCursor) -> tuple[object, ...]:
    return cursor.epoch, cursor.applied, cursor.resolved, cursor.skipped
