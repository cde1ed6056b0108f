"""The leader says how far the store is; publishers of agents lean on it."""

from __future__ import annotations

from harness.system import SystemUnderTest
from harness.waiting import wait_until


async def announced(system: SystemUnderTest) -> bool:
    """Whether all that is on the stream is announced as applied."""
    facts = await system.stream.facts()
    applied = await system.stream.applied()
    return applied is not None and (applied.epoch, applied.stream_id) == (
        facts.epoch,
        facts.last_id,
    )


async def test_what_is_applied_is_announced_soon(system: SystemUnderTest) -> None:
    await system.worker()
    for number in range(3):
        await system.append(f"e{number}")
        await system.outcome(f"e{number}")

        assert await wait_until(lambda: announced(system), within=5)


async def test_a_redis_that_has_no_room_for_it_stops_nothing(system: SystemUnderTest) -> None:
    worker = await system.worker()
    worker.freeze()
    await system.append("e1")
    await system.redis_says("CONFIG", "SET", "maxmemory", 1)
    worker.thaw()

    await system.outcome("e1")
    assert not await announced(system)
    await system.redis_says("CONFIG", "SET", "maxmemory", 64 * 1024 * 1024)

    assert await wait_until(lambda: announced(system))
    assert worker.log.count("leading under epoch") == 1
