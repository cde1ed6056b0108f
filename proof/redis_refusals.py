"""The ways in which a Redis that runs refuses to take anything, for as long as a block lasts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, Final, cast

from redis.asyncio import Redis

from sessions.stream.redis import ERRORS, RedisClient, connect
from sessions.stream.refusals import word_of

# Milliseconds, longer than any block.
_PAUSE: Final = 120_000
# Milliseconds after which Redis answers BUSY while a script runs; its own default is 5 s.
_BUSY_AFTER: Final = 100
# Seconds between two looks, and to wait for a snapshot in the background.
_LOOK: Final = 0.05
_SNAPSHOT: Final = 10.0

Way = Callable[[str, RedisClient], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def _no_replicas(url: str, redis: RedisClient) -> AsyncGenerator[None]:
    """NOREPLICAS: writes want a replica, and there is none."""
    await redis.execute_command("CONFIG SET", "min-replicas-to-write", 1)
    try:
        yield
    finally:
        await redis.execute_command("CONFIG SET", "min-replicas-to-write", 0)


@asynccontextmanager
async def _read_only(url: str, redis: RedisClient) -> AsyncGenerator[None]:
    """READONLY: it became a replica, of a server that is not there."""
    await redis.execute_command("REPLICAOF", "127.0.0.1", 1)
    try:
        yield
    finally:
        await redis.execute_command("REPLICAOF", "NO", "ONE")


@asynccontextmanager
async def _full(url: str, redis: RedisClient) -> AsyncGenerator[None]:
    """OOM: nothing fits any more."""
    before = (await redis.execute_command("CONFIG GET", "maxmemory"))["maxmemory"]
    await redis.execute_command("CONFIG SET", "maxmemory", 1)
    try:
        yield
    finally:
        await redis.execute_command("CONFIG SET", "maxmemory", before)


@asynccontextmanager
async def _no_snapshots(url: str, redis: RedisClient) -> AsyncGenerator[None]:
    """MISCONF: its snapshot cannot be put into its place, since a directory is there."""
    folder = (await redis.execute_command("CONFIG GET", "dir"))["dir"]
    place = Path(folder, "dump.rdb")
    _block(place)
    await redis.execute_command("CONFIG SET", "save", "3600 1")
    await _snapshot(redis, good=False)
    try:
        yield
    finally:
        _unblock(place)
        await _snapshot(redis, good=True)
        await redis.execute_command("CONFIG SET", "save", "")
        _unblock(place)


def _block(place: Path) -> None:
    place.unlink(missing_ok=True)
    place.mkdir()


def _unblock(place: Path) -> None:
    """Remove what is there: a directory that was in the way, or a snapshot."""
    if place.is_dir():
        place.rmdir()
    else:
        place.unlink(missing_ok=True)


async def _snapshot(redis: RedisClient, *, good: bool) -> None:
    async with asyncio.timeout(_SNAPSHOT):
        while True:
            # One may be under way.
            with contextlib.suppress(*ERRORS):
                await redis.execute_command("BGSAVE")
            await asyncio.sleep(_LOOK)
            info = await redis.execute_command("INFO", "persistence")
            done = not info["rdb_bgsave_in_progress"]
            if done and (info["rdb_last_bgsave_status"] == "ok") is good:
                return


@asynccontextmanager
async def _paused(url: str, redis: RedisClient) -> AsyncGenerator[None]:
    """No answer to anything that writes."""
    await redis.execute_command("CLIENT", "PAUSE", _PAUSE, "WRITE")
    try:
        yield
    finally:
        await redis.execute_command("CLIENT", "UNPAUSE")


@asynccontextmanager
async def _busy(url: str, redis: RedisClient) -> AsyncGenerator[None]:
    """BUSY: somebody's script does not end."""
    await redis.execute_command("CONFIG SET", "lua-time-limit", _BUSY_AFTER)
    async with aclosing(connect(url, read_timeout=_PAUSE / 1000)) as other:
        script = asyncio.create_task(other.execute_command("EVAL", "while true do end", 0))
        try:
            await _begun(redis)
            yield
        finally:
            await _kill_script(url)
            await asyncio.wait([script])
            # That it was killed is what it says.
            script.exception()


async def _kill_script(url: str) -> None:
    # Our own client asks with a PING first whether an idle connection is sound: BUSY.
    async with aclosing(cast("Any", Redis).from_url(url)) as plain:
        await plain.execute_command("SCRIPT KILL")


async def _begun(redis: RedisClient) -> None:
    while True:
        try:
            await redis.execute_command("PING")
        except ERRORS as error:
            if word_of(error) == "BUSY":
                return
        await asyncio.sleep(_LOOK)


async def accept_again(redis: RedisClient) -> None:
    """Undo whatever is left of a way whose end failed, as far as Redis can be asked."""
    for command in (
        ("CLIENT", "UNPAUSE"),
        ("REPLICAOF", "NO", "ONE"),
        ("CONFIG SET", "min-replicas-to-write", 0),
        ("CONFIG SET", "save", ""),
    ):
        with contextlib.suppress(*ERRORS):
            await redis.execute_command(*command)


WAYS: Final[dict[str, Way]] = {
    "no replicas": _no_replicas,
    "read only": _read_only,
    "out of memory": _full,
    "no snapshots": _no_snapshots,
    "paused": _paused,
    "busy": _busy,
}
