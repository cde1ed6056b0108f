"""One worker leads; another stands by, takes over, and is kept out when it comes back late."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from harness.system import SystemUnderTest
from harness.waiting import wait_until
from sessions.store.sqlite.library import sqlite3


async def test_a_second_worker_stands_by_and_says_who_leads(system: SystemUnderTest) -> None:
    leader = await system.worker()
    standby = await system.worker(leads=False)
    await standby.says(f":{leader.pid} leads under epoch 1")
    [shown] = await wait_until(system.stream.standbys)
    assert shown.endswith(f":{standby.pid}")


async def test_a_standby_leads_at_once_when_the_leader_is_killed(system: SystemUnderTest) -> None:
    leader = await system.worker()
    standby = await system.worker(leads=False)
    await standby.says("standing by")
    await leader.stop(signal.SIGKILL)
    began = time.monotonic()
    await standby.says("leading under epoch 2")
    assert time.monotonic() - began < 2


async def test_a_standby_leads_when_the_leader_stops_cleanly(system: SystemUnderTest) -> None:
    leader = await system.worker()
    standby = await system.worker(leads=False)
    await standby.says("standing by")
    assert await leader.stop() == 0
    await standby.says("leading under epoch 2")


async def test_a_leader_that_was_frozen_past_its_lease_writes_nothing_more(
    system: SystemUnderTest,
) -> None:
    leader = await system.worker()
    standby = await system.worker(leads=False)
    await system.append("e1")
    await system.outcome("e1")
    leader.freeze()
    await standby.says("leading under epoch 2")
    await system.append("e2")
    await system.outcome("e2")
    leader.thaw()
    await leader.says("the lead is lost")
    await system.append("e3")
    await system.outcome("e3")
    assert (await (await system.store()).lease()).epoch == 2
    assert await system.texts() == ["hello"] * 3


async def test_a_worker_that_starts_again_after_a_kill_goes_on_where_the_store_stands(
    system: SystemUnderTest,
) -> None:
    worker = await system.worker()
    await system.append("e1", "one")
    await system.outcome("e1")
    await worker.stop(signal.SIGKILL)
    await system.append("e2", "two")
    await system.worker()
    await system.outcome("e2")
    assert await system.texts() == ["one", "two"]
    assert (await (await system.store()).cursor()).resolved == 2


async def test_sigterm_ends_a_worker_with_exit_code_0_and_frees_the_lease(
    system: SystemUnderTest,
) -> None:
    worker = await system.worker()
    assert await worker.stop(signal.SIGTERM) == 0
    assert (await (await system.store()).lease()).holder is None


async def test_a_worker_that_waits_for_redis_can_be_stopped(system: SystemUnderTest) -> None:
    await system.redis.kill()
    worker = await system.worker(leads=False)
    await worker.says("is it running, and is the URL right?")
    assert await worker.stop(signal.SIGINT) == 0


async def test_a_worker_with_another_store_refuses_and_says_what_is_where(
    system: SystemUnderTest,
) -> None:
    await system.worker()
    await wait_until(lambda: system.redis_says("EXISTS", "turnstream:store"))
    ours = system.workspace
    system.workspace = ours.with_name("elsewhere")
    other = await system.worker(leads=False)
    assert await other.ended() == 78
    assert f"in {ours}" in other.log
    assert f"in {system.workspace}" in other.log
    assert "--adopt-stream" in other.log


async def test_a_worker_that_is_told_to_adopts_the_stream_of_another_store(
    system: SystemUnderTest,
) -> None:
    first = await system.worker()
    await system.append("e1", "one")
    await system.outcome("e1")
    await first.stop()
    await (await system.store()).cursor()
    system.workspace = system.workspace.with_name("elsewhere")
    second = await system.worker("--adopt-stream")
    await second.says("leading")
    assert await second.stop() == 0


@pytest.mark.parametrize("name", ["sqlite", "jsonl"])
async def test_a_worker_that_comes_while_another_makes_the_store_waits_and_leads_or_stands_by(
    system: SystemUnderTest, name: str
) -> None:
    system.backend = name
    with store_in_the_making(system):
        workers = [await system.worker(leads=False) for _ in range(2)]
        for worker in workers:
            await worker.says("waiting: ")
    await wait_until(lambda: any("leading under epoch 1" in one.log for one in workers))
    await wait_until(lambda: any("standing by" in one.log for one in workers))
    assert [await worker.stop() for worker in workers] == [0, 0]


async def test_a_worker_that_waits_for_a_store_in_the_making_can_be_stopped(
    system: SystemUnderTest,
) -> None:
    with store_in_the_making(system):
        worker = await system.worker(leads=False)
        await worker.says("waiting: ")
        assert await worker.stop() == 0


@contextmanager
def store_in_the_making(system: SystemUnderTest) -> Iterator[None]:
    """Hold the lock that a worker holds while it makes a new store, for longer than they do."""
    folder = system.workspace / "sessions"
    folder.mkdir(parents=True)
    path = folder / {"sqlite": "turnstream.db", "jsonl": "index.db"}[system.backend]
    with closing(sqlite3.connect(path, isolation_level=None)) as maker:
        maker.execute("BEGIN EXCLUSIVE")
        yield
