"""A leader for tests: applies the stream to a store, and can be held up at any point."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Self

from sessions.models import Event, Position
from sessions.process.settings import Settings
from sessions.store.backend import SessionBackend
from sessions.store.factory import make_session_backend
from sessions.stream.lanes.lanes import Lanes
from sessions.stream.lanes.waking import Waking
from sessions.stream.redis import connect
from sessions.stream.replies.replies import Replies
from sessions.stream.turns import TurnStream

_COUNT = 100
_SIZE = 4 * 1024 * 1024


@asynccontextmanager
async def opened_stream(settings: Settings) -> AsyncIterator[TurnStream]:
    """The stream of these settings on a connection of its own."""
    url = settings.redis_url
    assert url is not None
    async with aclosing(connect(url)) as redis:
        yield TurnStream(redis, url=url, prefix=settings.turnstream.prefix)
        prefix = settings.turnstream.prefix
        await redis.execute_command("DEL", f"{prefix}turns", f"{prefix}store")


@asynccontextmanager
async def opened_replies(settings: Settings) -> AsyncIterator[Replies]:
    """The replies that were not taken, on a connection of its own."""
    url = settings.redis_url
    assert url is not None
    async with aclosing(connect(url)) as redis:
        yield Replies(redis, url=url, prefix=settings.turnstream.prefix, give_up=3600)


@asynccontextmanager
async def opened_lanes(settings: Settings) -> AsyncIterator[tuple[Lanes, Waking]]:
    """The lanes, and the way into them from outside, on a connection of their own."""
    url = settings.redis_url
    assert url is not None
    async with aclosing(connect(url)) as redis:
        prefix = settings.turnstream.prefix
        yield Lanes(redis, url=url, prefix=prefix), Waking(redis, url=url, prefix=prefix)


class Leading:
    """Leads a store; `pause` leaves published events where they are."""

    def __init__(self, backend: SessionBackend, stream: TurnStream) -> None:
        self.backend = backend
        self.stream = stream
        self._task: asyncio.Task[None] | None = None

    @classmethod
    @asynccontextmanager
    async def of(cls, settings: Settings, stream: TurnStream) -> AsyncIterator[Self]:
        """The leader of a new store, which has applied nothing yet and is paused."""
        backend = make_session_backend(
            settings.workspace, settings.channels.session_backend, mode="write"
        )
        async with backend:
            leader = cls(backend, stream)
            await leader.lead(settings)
            try:
                yield leader
            finally:
                await leader.pause()

    async def lead(self, settings: Settings) -> None:
        """Take the lead, claim the stream and begin an epoch of it."""
        store_id = await self.backend.store_id()
        assert store_id is not None
        await self.backend.acquire("test", seen=None)
        facts = await self.stream.facts()
        await self.stream.register(
            backend=self.backend.name, store_id=store_id, place=str(settings.workspace)
        )
        await self.begin_epoch(above=facts.epoch)

    async def begin_epoch(self, *, above: int = 0) -> None:
        """Begin an epoch and read the stream from its start."""
        facts = await self.stream.facts()
        gone = (facts.added or facts.length) - facts.length
        cursor = await self.backend.begin_epoch(skipped=gone, above=above)
        await self.stream.announce(epoch=cursor.epoch)

    async def resume(self) -> None:
        """Apply what is there and, from now on, what comes."""
        await self.catch_up()
        self._task = asyncio.create_task(self._go_on(), name="leading")

    async def pause(self) -> None:
        """Apply nothing more."""
        if self._task is not None:
            # Python 3.11's wait_for, beneath redis-py, loses a cancellation that comes together
            # with a result, so one may not be enough.
            while not self._task.done():
                self._task.cancel()
                await asyncio.wait([self._task], timeout=0.05)
            self._task = None

    async def catch_up(self) -> None:
        """Apply everything that is in the stream."""
        while await self._step():
            pass

    async def announce(self) -> None:
        """Say how far the store is, as the worker does."""
        cursor = await self.backend.cursor()
        await self.stream.announce(applied=str(Position(cursor.epoch, cursor.applied)))

    async def publish(self, *events: Event) -> Position:
        """Publish events as any program may, and give the last one's position."""
        return (await self.stream.publish(events))[-1]

    async def _go_on(self) -> None:
        while True:
            await self._step(wait=True)

    async def _step(self, *, wait: bool = False) -> bool:
        cursor = await self.backend.cursor()
        batch = await self.stream.read(cursor.applied, count=_COUNT, size=_SIZE, wait=wait)
        if batch:
            await self.backend.apply(batch)
        return bool(batch)
