"""A replica of Redis takes over, and its name leads there: everybody goes on with the new one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

import pytest

from harness.redis import RedisServer
from harness.system import SystemUnderTest
from harness.waiting import wait_until
from proof.proxy import Proxy
from sessions.models import Event, EventType
from sessions.stream.redis import RedisClient, connect
from sessions.stream.turns import TurnStream


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def way_to(server: RedisServer, stack: AsyncExitStack) -> Proxy:
    way = Proxy(server.socket_path)
    await way.start()
    stack.push_async_callback(way.close)
    return way


async def replica_of(way: Proxy, redis: RedisClient) -> None:
    await redis.execute_command("REPLICAOF", "127.0.0.1", way.port)

    async def is_in_step() -> bool:
        return (await redis.execute_command("INFO", "replication"))["master_link_status"] == "up"

    await wait_until(is_in_step)


async def test_who_had_connections_to_the_old_server_publishes_and_applies_on_the_new_one(
    system: SystemUnderTest, tmp_path: Path, stack: AsyncExitStack
) -> None:
    old = system.redis
    new = stack.enter_context(RedisServer.running(tmp_path / "new"))
    name, to_old, to_new = [await way_to(server, stack) for server in (old, old, new)]
    other = await stack.enter_async_context(aclosing(connect(new.url)))
    url = f"redis://127.0.0.1:{name.port}/0"
    redis = await stack.enter_async_context(aclosing(connect(url)))
    stream = TurnStream(redis, url=url, prefix="turnstream:")
    worker = await system.worker(redis_url=url)
    await stream.publish([Event("e1", EventType.APPEND, "s", "user", "one")])
    await system.outcome("e1")
    await replica_of(to_old, other)

    await other.execute_command("REPLICAOF", "NO", "ONE")
    name.lead_to(new.socket_path)
    await replica_of(to_new, system.client)

    await stream.publish([Event("e2", EventType.APPEND, "s", "user", "two")])
    await system.outcome("e2")
    assert await system.texts() == ["one", "two"]
    assert "epoch 2" not in worker.log
    assert await worker.stop() == 0
