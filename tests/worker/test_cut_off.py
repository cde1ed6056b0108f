"""A leader that Redis does not answer leaves the lead to one that it answers."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from api.app import opened
from harness.program import Program
from harness.system import SystemUnderTest
from harness.waiting import wait_until
from proof.proxy import Proxy
from sessions.process.settings import Settings
from tests.company import company, outside, settings_file


@asynccontextmanager
async def ways(system: SystemUnderTest, count: int) -> AsyncIterator[list[Proxy]]:
    """Ways to Redis that can be cut off, one for each worker."""
    proxies = [Proxy(system.redis.socket_path) for _ in range(count)]
    for proxy in proxies:
        await proxy.start()
    try:
        yield proxies
    finally:
        for proxy in proxies:
            await proxy.close()


async def worker(system: SystemUnderTest, way: Proxy, *, leads: bool, **settings: str) -> Program:
    url = f"redis://127.0.0.1:{way.port}/0"
    return await system.worker(leads=leads, redis_url=url, **settings)


async def lead(system: SystemUnderTest) -> tuple[str | None, int]:
    lease = await (await system.store()).lease()
    return lease.holder and lease.holder.rpartition(":")[2], lease.epoch


@pytest.mark.parametrize("silently", [True, False])
async def test_a_leader_that_is_cut_off_from_redis_becomes_the_standby_within_ten_seconds(
    system: SystemUnderTest, silently: bool
) -> None:
    async with outside() as beyond, ways(system, 2) as (one, other):
        config = settings_file(system.workspace.parent, beyond)
        first = await worker(system, one, leads=True, config=config)
        second = await worker(system, other, leads=False, config=config)
        await second.says("standing by")
        url = await system.web(config=config)
        async with company(url, beyond, system.workspace, allowed=frozenset({"STORE_BEHIND"})):
            await system.append("e1", "one")
            await system.outcome("e1")
            one.cut_off(silently=silently)
            began = time.monotonic()
            await system.append("e2", "two")
            await second.says("leading under epoch 2")
            await system.outcome("e2")
            assert time.monotonic() - began < 10
            await first.says("the lead is given up: Redis has not answered")
            one.restore()
            await wait_until(system.stream.standbys)
        assert await lead(system) == (str(second.pid), 2)
        assert await system.texts() == ["one", "two"]
        assert [await process.stop() for process in (first, second)] == [0, 0]


async def test_the_old_leader_leads_again_when_the_other_one_is_cut_off(
    system: SystemUnderTest,
) -> None:
    async with ways(system, 2) as (one, other):
        first = await worker(system, one, leads=True)
        second = await worker(system, other, leads=False)
        await second.says("standing by")
        one.cut_off(silently=True)
        await second.says("leading under epoch 2")
        one.restore()
        other.cut_off(silently=True)
        await first.says("leading under epoch 3")
        await system.append("e1", "one")
        await system.outcome("e1")
        assert (await lead(system))[0] == str(first.pid)


async def test_where_both_are_cut_off_nobody_leads_and_the_first_that_is_back_does(
    system: SystemUnderTest,
) -> None:
    async with ways(system, 2) as (one, other):
        first = await worker(system, one, leads=True)
        second = await worker(system, other, leads=False)
        await second.says("standing by")
        one.cut_off(silently=True)
        other.cut_off(silently=False)
        await first.says("the lead is given up")
        await second.says("nobody leads without Redis")
        assert (await lead(system))[0] is None
        await system.append("e1", "one")
        own = {"workspace": str(system.workspace), "redis_url": system.redis_url}
        async with opened(Settings.model_validate({"turnstream": own})) as app:
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
                ready = await http.get("/readyz")
        assert (ready.status_code, ready.json()["code"]) == (503, "no_leader")
        other.restore()
        await second.says("leading under epoch 2")
        one.restore()
        await system.outcome("e1")
        assert await lead(system) == (str(second.pid), 2)


async def test_a_worker_without_redis_does_not_take_a_lead_that_nobody_has(
    system: SystemUnderTest,
) -> None:
    async with ways(system, 2) as (one, other):
        first = await worker(system, one, leads=True)
        second = await worker(system, other, leads=False)
        await second.says("standing by")
        other.cut_off(silently=False)
        assert await first.stop() == 0
        await second.says("nobody leads without Redis")
        assert (await lead(system))[0] is None
        other.restore()
        await second.says("leading under epoch 2")
