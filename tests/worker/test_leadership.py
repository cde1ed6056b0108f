"""One worker leads; another stands by, takes over, and is kept out when it comes back late."""

from __future__ import annotations

import signal
import time

from tests.helpers import wait_until
from tests.worker.plant import Plant


async def test_a_second_worker_stands_by_and_says_who_leads(plant: Plant) -> None:
    leader = await plant.worker()
    standby = await plant.worker(leads=False)
    await standby.says(f":{leader.pid} leads under epoch 1")
    [shown] = await wait_until(plant.stream.standbys)
    assert shown.endswith(f":{standby.pid}")


async def test_a_standby_leads_at_once_when_the_leader_is_killed(plant: Plant) -> None:
    leader = await plant.worker()
    standby = await plant.worker(leads=False)
    await standby.says("standing by")
    await leader.stop(signal.SIGKILL)
    began = time.monotonic()
    await standby.says("leading under epoch 2")
    assert time.monotonic() - began < 2


async def test_a_standby_leads_when_the_leader_stops_cleanly(plant: Plant) -> None:
    leader = await plant.worker()
    standby = await plant.worker(leads=False)
    await standby.says("standing by")
    assert await leader.stop() == 0
    await standby.says("leading under epoch 2")


async def test_a_leader_that_was_frozen_past_its_lease_writes_nothing_more(plant: Plant) -> None:
    leader = await plant.worker()
    standby = await plant.worker(leads=False)
    await plant.append("e1")
    await plant.outcome("e1")
    leader.freeze()
    await standby.says("leading under epoch 2")
    await plant.append("e2")
    await plant.outcome("e2")
    leader.thaw()
    await leader.says("the lead is lost")
    await plant.append("e3")
    await plant.outcome("e3")
    assert (await (await plant.store()).lease()).epoch == 2
    assert await plant.texts() == ["hello"] * 3


async def test_a_worker_that_starts_again_after_a_kill_goes_on_where_the_store_stands(
    plant: Plant,
) -> None:
    worker = await plant.worker()
    await plant.append("e1", "one")
    await plant.outcome("e1")
    await worker.stop(signal.SIGKILL)
    await plant.append("e2", "two")
    await plant.worker()
    await plant.outcome("e2")
    assert await plant.texts() == ["one", "two"]
    assert (await (await plant.store()).cursor()).resolved == 2


async def test_sigterm_ends_a_worker_with_exit_code_0_and_frees_the_lease(plant: Plant) -> None:
    worker = await plant.worker()
    assert await worker.stop(signal.SIGTERM) == 0
    assert (await (await plant.store()).lease()).holder is None


async def test_a_worker_that_waits_for_redis_can_be_stopped(plant: Plant) -> None:
    await plant.redis.kill()
    worker = await plant.worker(leads=False)
    await worker.says("is it running, and is the URL right?")
    assert await worker.stop(signal.SIGINT) == 0


async def test_a_worker_with_another_store_refuses_and_says_what_is_where(plant: Plant) -> None:
    await plant.worker()
    await wait_until(lambda: plant.redis_says("EXISTS", "turnstream:store"))
    ours = plant.workspace
    plant.workspace = ours.with_name("elsewhere")
    other = await plant.worker(leads=False)
    assert await other.ended() == 78
    assert f"in {ours}" in other.log
    assert f"in {plant.workspace}" in other.log
    assert "--adopt-stream" in other.log


async def test_a_worker_that_is_told_to_adopts_the_stream_of_another_store(plant: Plant) -> None:
    first = await plant.worker()
    await plant.append("e1", "one")
    await plant.outcome("e1")
    await first.stop()
    await (await plant.store()).cursor()
    plant.workspace = plant.workspace.with_name("elsewhere")
    second = await plant.worker("--adopt-stream")
    await second.says("leading")
    assert await second.stop() == 0
