"""How the worker reads the stream: in few calls, and never more than its memory has room for."""

from __future__ import annotations

from harness.system import SystemUnderTest
from sessions.models import Entry, Event, EventType, StreamId

# Bytes in one batch, as the worker asks for them.
SIZE = 4 * 1024 * 1024


async def calls_to_read(system: SystemUnderTest, place: StreamId) -> tuple[list[Entry], int]:
    """A thousand entries behind that place, and how many XREADs they took."""
    await system.redis_says("CONFIG", "RESETSTAT")
    entries = await system.stream.read(place, count=1000, size=SIZE)
    statistics = await system.redis_says("INFO", "commandstats")
    return entries, statistics["cmdstat_xread"]["calls"]


async def publish(system: SystemUnderTest, number: int, content: str) -> StreamId:
    """Put that many turns on the stream; the id of the last one."""
    event = Event("e", EventType.APPEND, "s", "user", content)
    positions = [
        await system.stream.publish(
            [event._replace(id=f"{content[:5]}{n}") for n in range(start, start + 50)]
        )
        for start in range(0, number, 50)
    ]
    return positions[-1][-1].stream_id


async def test_a_stream_that_fits_into_memory_is_read_by_500_entries(
    system: SystemUnderTest,
) -> None:
    await publish(system, 1500, "small")
    await system.stream.memory()
    entries, calls = await calls_to_read(system, StreamId(0, 0))
    assert (len(entries), calls) == (1000, 2)


async def test_before_the_size_of_a_stream_is_known_it_is_read_by_128(
    system: SystemUnderTest,
) -> None:
    await publish(system, 1500, "small")
    entries, calls = await calls_to_read(system, StreamId(0, 0))
    assert (len(entries), calls) == (1000, 8)


async def test_a_stream_that_could_hold_a_run_of_the_largest_is_read_by_128(
    system: SystemUnderTest,
) -> None:
    place = await publish(system, 150, "large" * 50_000)
    await publish(system, 1500, "small")
    await system.stream.memory()
    entries, calls = await calls_to_read(system, place)
    assert (len(entries), calls) == (1000, 8)


async def test_of_large_entries_a_batch_holds_as_many_as_it_has_room_for(
    system: SystemUnderTest,
) -> None:
    await publish(system, 50, "large" * 50_000)
    entries, _ = await calls_to_read(system, StreamId(0, 0))
    # It ends with the entry that fills it.
    assert len(entries) == 17
