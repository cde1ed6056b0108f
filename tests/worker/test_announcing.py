"""The leader says how far the store is; publishers of agents lean on it."""

from __future__ import annotations

from tests.helpers import wait_until
from tests.worker.plant import Plant


async def announced(plant: Plant) -> bool:
    """Whether all that is on the stream is announced as applied."""
    facts = await plant.stream.facts()
    applied = await plant.stream.applied()
    return applied is not None and (applied.epoch, applied.stream_id) == (
        facts.epoch,
        facts.last_id,
    )


async def test_what_is_applied_is_announced_soon(plant: Plant) -> None:
    await plant.worker()
    for number in range(3):
        await plant.append(f"e{number}")
        await plant.outcome(f"e{number}")

        assert await wait_until(lambda: announced(plant), within=5)


async def test_a_redis_that_has_no_room_for_it_stops_nothing(plant: Plant) -> None:
    worker = await plant.worker()
    worker.freeze()
    await plant.append("e1")
    await plant.redis_says("CONFIG", "SET", "maxmemory", 1)
    worker.thaw()

    await plant.outcome("e1")
    assert not await announced(plant)
    await plant.redis_says("CONFIG", "SET", "maxmemory", 64 * 1024 * 1024)

    assert await wait_until(lambda: announced(plant))
    assert worker.log.count("leading under epoch") == 1
