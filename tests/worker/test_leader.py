"""What a leader keeps of a round that fails half-way, with parts that fail on purpose."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

from sessions.errors import Retryable, StreamUnavailable
from sessions.models import STREAM_START, StreamCursor
from worker.leader import Leader


async def test_an_epoch_is_not_begun_again_because_redis_did_not_say_how_full_it_is():
    asked: list[int] = []
    stopping = asyncio.Event()
    batches = SimpleNamespace(cursor=StreamCursor(3, STREAM_START, 0, 0, 0), forget=lambda: None)

    async def check(cursor: StreamCursor) -> StreamCursor:
        asked.append(cursor.epoch)
        if len(asked) == 2:
            stopping.set()
        return replace(cursor, epoch=4)

    async def relieve(_: StreamCursor) -> None:
        raise StreamUnavailable("Redis is away")

    async def run_until_done(step: Callable[[], Awaitable[None]], *, check: object) -> None:
        try:
            await step()
        except Retryable:
            return

    leader = Leader(
        cast("Any", None),
        cast("Any", SimpleNamespace()),
        watch=cast("Any", SimpleNamespace(check=check)),
        batches=cast("Any", batches),
        upkeep=cast("Any", SimpleNamespace(waiting=False, relieve=relieve)),
        patience=cast("Any", SimpleNamespace(run_until_done=run_until_done)),
        lock=cast("Any", SimpleNamespace(try_acquire=lambda: True)),
        progress=cast("Any", None),
    )
    await leader.lead(stopping)
    assert asked == [3, 4]
