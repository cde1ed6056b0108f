"""Moving a store to another backend while the system runs.

    copy  →  follow the stream  →  take the lead  →  mark the old store  →  install the new one

The mark is the turn: before it the old store is the store, and what was copied can be used or
thrown away; behind it nobody leads the old store any more, and only the new one's place is missing.
So a move that was cut short goes on from what it finds, and at no moment are there two stores that
can be led, or a new one that can be read while the old one can be written.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    asynccontextmanager,
    closing,
    contextmanager,
    suppress,
)
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, cast

from sessions import times
from sessions.errors import ConfigError, Fenced, Retryable, SessionError, StoreUnavailable
from sessions.process.durable import sync
from sessions.process.retry import Pauses, retry
from sessions.process.tasks import end_all
from sessions.store.backend import Leavable, SessionBackend
from sessions.store.capabilities import LeaderLock, Mark, Movable
from sessions.store.factory import local_store, make_session_backend
from sessions.store.filelock import FileLock
from sessions.stream.turns import TurnStream
from sessions.transfer.incoming import IncomingStore
from sessions.transfer.lead import PATIENCE, acquire, tool_name

# Held by the one process that moves.
LOCK: Final = "move.lock"
# Entries that the copy may be behind when the lead is taken: some 0.1 s of work.
_NEAR: Final = 200
# Copies that are made before one is made under the fence, where nothing can change meanwhile.
_COPIES: Final = 3
# Times that the lead is taken: a standby may take it in between.
_TRIES: Final = 20
# Seconds between two renewals of the lease, and two looks at the lock of the worker that had it.
_RENEWAL: Final = 1.0
_LOOK: Final = 0.02
# What a lease says that a move holds.
_TOOL: Final = "move"

OpenStream = Callable[[], AbstractAsyncContextManager[TurnStream]]
# How many of each kind the old and the new store hold.
Counts = Mapping[str, tuple[int, int]]


class MoveMeter(Protocol):
    """Hears how far a move is."""

    def reach(self, number: int) -> None:
        """So many messages are copied."""
        ...

    def say(self, text: str) -> None:
        """What is being done now."""
        ...


@dataclass(frozen=True)
class MovedStore:
    """A move that is done. `counts` are those of the old and the new store.

    They are empty if an interrupted move had only to be ended. The old store's files are in `kept`.
    """

    source: str
    target: str
    kept: Path
    counts: Counts


async def move_store(
    workspace: Path,
    source: str,
    target: str,
    *,
    stream: OpenStream,
    meter: MoveMeter,
    max_content: int,
) -> MovedStore:
    """Move the store of one backend to another, or end a move that was cut short.

    If no worker leads, `stream` is not opened. Raises ConfigError if there is nothing to move, the
    target holds something, or another process moves.
    """
    old, new = _movable(workspace, source), _movable(workspace, target)
    if old.mark() is None and old.schema_version() is None:
        raise ConfigError(f"there is no {source} store at {old.path} to move")
    counts: Counts = {}
    with _alone(old):
        if old.mark() is None:
            counts = await _copied(workspace, old, new, stream, meter, max_content)
        return await _ended(old, new, counts, meter)


def abandon_move(workspace: Path, source: str, target: str) -> bool:
    """Remove what an interrupted move has copied; False if there is nothing.

    Raises ConfigError for a move that can only be ended, and while one is at work.
    """
    old, new = _movable(workspace, source), _movable(workspace, target)
    if not new.incoming().path.exists():
        return False
    with _alone(old):
        if old.mark() is not None:
            raise ConfigError(f"the {source} store is given up already: run the move again")
        new.remove_incoming()
    return True


def _movable(workspace: Path, backend: str) -> Movable:
    store = local_store(workspace, backend)
    if not isinstance(store, Movable):
        raise ConfigError(f"the {backend} backend keeps no store that could be moved")
    return store


@contextmanager
def _alone(store: Movable) -> Generator[None]:
    """Move inside; raises ConfigError if another process does."""
    with closing(FileLock(store.path.parent / LOCK)) as lock:
        if not lock.try_acquire():
            raise ConfigError(f"another `turnstream move` is at work in {store.path.parent}")
        yield


async def _copied(
    workspace: Path,
    old: Movable,
    new: Movable,
    stream: OpenStream,
    meter: MoveMeter,
    max_content: int,
) -> Counts:
    """Have a whole copy, and the old store marked; the counts of both."""
    if not new.is_empty():
        raise ConfigError(
            f"the {new.name} store at {new.path} holds something already; take in what the other "
            f"one has with `turnstream import {old.path}`"
        )
    incoming = IncomingStore(workspace, new, holder=tool_name(_TOOL), max_content=max_content)
    backend = make_session_backend(workspace, old.name, mode="write")
    async with backend, incoming:
        with closing(_Lead(backend, old.leader_lock())) as lead:
            move = _Move(old, new, backend, incoming, lead, meter)
            if lead.is_free():
                await incoming.resume(await backend.store_id())
                return await move.switch(None)
            if new.schema_version() is not None:
                raise ConfigError(f"a worker has {new.path} open; stop it first")
            async with stream() as opened:
                await move.approach(opened)
                return await move.switch(opened)


async def _ended(old: Movable, new: Movable, counts: Counts, meter: MoveMeter) -> MovedStore:
    """Put the marked store aside, and the new one in its place."""
    mark = old.mark()
    if mark is None or mark.backend != new.name:
        raise ConfigError(f"{old.path} was moved to {mark and mark.backend}, not to {new.name}")
    meter.say(f"putting the {old.name} store aside")
    await retry(
        lambda: asyncio.to_thread(old.retire),
        on=StoreUnavailable,
        pauses=Pauses(0.1, 1.0),
        patience=PATIENCE,
    )
    await asyncio.to_thread(new.install)
    return MovedStore(old.name, new.name, old.path.parent / mark.place, counts)


class _Move:
    """One run of a move, up to the mark."""

    def __init__(
        self,
        old: Movable,
        new: Movable,
        backend: SessionBackend,
        incoming: IncomingStore,
        lead: _Lead,
        meter: MoveMeter,
    ) -> None:
        self._old = old
        self._new = new
        self._backend = backend
        self._incoming = incoming
        self._lead = lead
        self._meter = meter

    async def approach(self, stream: TurnStream) -> None:
        """Have a copy that is nearly as far as the store, while the worker goes on."""
        if not await self._incoming.resume(await self._backend.store_id()):
            await self._copy()
        for _ in range(_COPIES):
            if await self._follow_closely(stream):
                return
            await self._copy()

    async def switch(self, stream: TurnStream | None) -> Counts:
        """Take the lead, bring the copy up to its last entry, and mark the old store."""
        for _ in range(_TRIES):
            try:
                return await self._switch_once(stream)
            except Fenced:
                self._meter.say("a worker took the lead; taking it again")
        raise Retryable("workers keep taking the lead of the store; stop all but one of them")

    async def _copy(self) -> None:
        self._meter.say(f"copying the {self._old.name} store")
        await self._incoming.copy(self._backend, self._meter.reach)

    async def _follow_closely(self, stream: TurnStream) -> bool:
        """Follow the stream until the worker is hardly ahead; False if that is not possible."""
        while True:
            goal = await self._backend.cursor()
            behind = goal.resolved - (await self._incoming.backend.cursor()).resolved
            self._meter.say(f"following the stream: {behind:,} entries behind")
            if not await self._incoming.follow(stream, goal):
                return False
            if behind <= _NEAR:
                return True

    async def _switch_once(self, stream: TurnStream | None) -> Counts:
        self._meter.say("taking the lead")
        async with self._lead.held():
            if not await self._is_reached(stream):
                await self._copy()
            counts = await self._counts()
            if not await self._is_same(counts):
                raise SessionError(
                    f"the copy differs from the {self._old.name} store, which goes on as it was; "
                    "look at it with `turnstream verify`"
                )
        # What the copy's files are called must be on the disk before the old ones count no more.
        sync(self._old.path.parent)
        now = times.now()
        await cast("Leavable", self._backend).leave(
            Mark(self._new.name, now, f"moved-{times.stamp(now)}")
        )
        await self._incoming.finish()
        return counts

    async def _is_reached(self, stream: TurnStream | None) -> bool:
        """Whether the copy is what the store is now, or can be brought there by the stream."""
        if not self._incoming.is_copied:
            return False
        if stream is not None:
            await self._incoming.follow(stream, await self._backend.cursor())
        return await self._is_same(await self._counts())

    async def _is_same(self, counts: Counts) -> bool:
        """Whether both hold the same. Retention, for one, is nothing that the stream tells."""
        if not await self._incoming.is_at(await self._backend.cursor()):
            return False
        if any(old != new for old, new in counts.values()):
            return False
        return await asyncio.to_thread(self._old.differing_from, self._incoming.local) == 0

    async def _counts(self) -> Counts:
        old, new = await self._backend.counts(), await self._incoming.backend.counts()
        return {name: (number, new[name]) for name, number in old.items()}


class _Lead:
    """The lead of the old store: taken from its worker, and kept until the store is given up."""

    def __init__(self, backend: SessionBackend, lock: LeaderLock) -> None:
        self._backend = backend
        self._lock = lock

    def is_free(self) -> bool:
        """Whether no worker leads; then none will, as long as this is open."""
        return self._lock.try_acquire()

    def close(self) -> None:
        """Let the lock go."""
        self._lock.close()

    @asynccontextmanager
    async def held(self) -> AsyncGenerator[None]:
        """Take the lead and keep it inside; raises Fenced at the end if it was lost."""
        await acquire(self._backend, _TOOL)
        keeping = asyncio.create_task(self._keep(), name="keeping the lead")
        try:
            yield
        finally:
            await end_all([keeping])
            # Raises Fenced, whatever else may have gone wrong because of that.
            await self._backend.renew()

    async def _keep(self) -> None:
        """Renew the lease, and get the lock that a standby watches."""
        while True:
            with suppress(StoreUnavailable):
                await self._backend.renew()
            for _ in range(round(_RENEWAL / _LOOK)):
                self._lock.try_acquire()
                await asyncio.sleep(_LOOK)


__all__ = ["MoveMeter", "MovedStore", "abandon_move", "move_store"]
