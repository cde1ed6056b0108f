"""Trouble that passes is waited out; poison is set aside; neither stops the stream."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from harness.system import SystemUnderTest
from harness.waiting import wait_until
from sessions.errors import StreamFull
from sessions.models import Event, EventType, OutcomeKind

LARGE = 256 * 1024


async def test_turns_go_on_after_redis_was_killed_and_started_again(
    system: SystemUnderTest,
) -> None:
    worker = await system.worker()
    await system.append("e1", "one")
    await system.redis.kill()
    await worker.says("waiting: Redis at")
    await system.redis.start()
    await system.append("e2", "two")
    await system.outcome("e2")
    assert await system.texts() == ["one", "two"]
    assert await worker.stop() == 0


@pytest.mark.timeout(300)
async def test_a_full_redis_refuses_publishers_and_the_worker_drains_and_makes_room(
    system: SystemUnderTest,
) -> None:
    system.forks = False
    worker = await system.worker()
    worker.freeze()
    with pytest.raises(StreamFull):
        await _fill(system)
    worker.thaw()
    accepted = await system.redis_says("XLEN", "turnstream:turns")
    await wait_until(lambda: _resolved(system, accepted), within=120)
    await wait_until(lambda: _accepts(system, "again"), within=120)
    assert (await system.outcome("again")).outcome is OutcomeKind.APPLIED
    assert worker.peak_mb() < 150
    assert await worker.stop() == 0


async def test_a_full_disk_is_waited_out_without_losing_or_repeating_a_turn(
    system: SystemUnderTest,
) -> None:
    worker = await system.worker()
    await system.append("e0")
    await system.outcome("e0")
    worker.limit_file_size(1024)
    for number in range(1, 50):
        await system.append(f"e{number}", f"turn {number}")
    await worker.says("is the disk full?")
    assert (await (await system.store()).cursor()).resolved == 1
    worker.limit_file_size(-1)
    await system.outcome("e49")
    assert await system.texts() == ["hello", *(f"turn {number}" for number in range(1, 50))]
    assert await worker.stop() == 0


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (("v", "1", "id", "bad", "type", "append", "session", b"\xff\xfe"), "undecodable"),
        (("v", "2", "id", "bad", "type", "append", "session", "s"), "unknown_version"),
        (("v", "1", "id", "bad", "type", "explode", "session", "s"), "unknown_type"),
        (("v", "1", "id", "bad", "type", "state", "session", "k" * 600), "invalid_field"),
    ],
)
async def test_an_entry_that_cannot_be_applied_becomes_a_dead_letter_and_the_next_is_applied(
    system: SystemUnderTest, fields: tuple[str | bytes, ...], reason: str
) -> None:
    await system.worker()
    await system.xadd(*fields)
    await system.append("good")
    await system.outcome("good")
    bad = await system.outcome("bad")
    [letter] = (await (await system.store()).dead_letters()).items
    assert (bad.outcome, bad.reason) == (OutcomeKind.DEAD, reason)
    assert (letter.reason, letter.event_id) == (reason, "bad")


async def test_an_entry_of_ten_mebibytes_is_set_aside_with_its_size_and_its_beginning(
    system: SystemUnderTest,
) -> None:
    system.forks = False
    worker = await system.worker()
    size = 10 * 1024 * 1024
    fields = ("v", "1", "id", "big", "type", "append", "session", "s", "role", "user")
    await system.xadd(*fields, "content", b"x" * size)
    await system.append("good")
    await system.outcome("good")
    [letter] = (await (await system.store()).dead_letters()).items
    assert letter.reason == "too_large"
    assert letter.size == size + len("".join(fields)) + len("content")
    assert len(letter.payload) == 64 * 1024
    assert worker.peak_mb() < 150


async def test_a_replay_is_bound_by_the_same_size_as_the_entry_was(system: SystemUnderTest) -> None:
    fields = ("v", "1", "type", "append", "session", "s", "role", "user", "content", "x" * 200)
    worker = await system.worker(max_content_bytes="100")
    await system.xadd(*fields, "id", "long")
    await system.outcome("long")
    [letter] = (await (await system.store()).dead_letters()).items
    replay = ("v", "1", "type", "dead", "action", "replay", "target", letter.id)
    await system.xadd(*replay, "id", "once")
    assert (await system.outcome("once")).reason == "still_dead"
    await worker.stop()
    await system.worker(max_content_bytes="200")
    await system.xadd(*replay, "id", "again")
    assert (await system.outcome("again")).reason is None
    assert await system.texts() == ["x" * 200]


async def test_the_largest_entries_stream_through_without_filling_the_workers_memory(
    system: SystemUnderTest,
) -> None:
    await system.redis_says("CONFIG", "SET", "maxmemory", 512 * 1024 * 1024)
    system.forks = False
    worker = await system.worker()
    worker.freeze()
    for number in range(400):
        await system.append(f"e{number}", f"{number:06d}" + "x" * (LARGE - 6), f"s{number % 7}")
    worker.thaw()
    await wait_until(lambda: _resolved(system, 400), within=60)
    assert worker.peak_mb() < 150


async def test_a_workspace_that_is_a_file_is_an_error_that_names_it(
    system: SystemUnderTest,
) -> None:
    system.workspace.parent.mkdir(exist_ok=True)
    system.workspace.write_text("not a directory")
    worker = await system.worker(leads=False)
    assert await worker.ended() == 78
    assert str(system.workspace) in worker.log
    assert "Traceback" not in worker.log


async def test_an_unknown_backend_is_an_error_that_names_the_valid_ones(
    system: SystemUnderTest,
) -> None:
    worker = await system.worker(leads=False, session_backend="mysql")
    assert await worker.ended() == 78
    assert "'mysql' does not exist" in worker.log
    assert "sqlite, jsonl" in worker.log


async def test_a_worker_whose_store_is_damaged_ends_and_says_what_to_do(
    system: SystemUnderTest,
) -> None:
    worker = await system.worker()
    await system.append("e1")
    await system.outcome("e1")
    await system.close_store()
    assert await worker.stop(signal.SIGTERM) == 0
    _damage(system.workspace / "sessions" / "turnstream.db")
    worker = await system.worker(leads=False)
    assert await worker.ended() == 65
    assert "restore the workspace from a backup" in worker.log
    assert "Traceback" not in worker.log


async def _fill(system: SystemUnderTest) -> None:
    for number in range(10_000):
        await system.append(f"e{number:05d}", "x" * LARGE)


def _damage(database: Path) -> None:
    content = bytearray(database.read_bytes())
    content[0:4096] = b"\x00" * 4096
    database.write_bytes(content)


async def _resolved(system: SystemUnderTest, count: int) -> bool:
    return (await (await system.store()).cursor()).resolved >= count


async def _accepts(system: SystemUnderTest, event_id: str) -> bool:
    try:
        await system.stream.publish([Event(event_id, EventType.APPEND, "s", "user", "hello")])
    except StreamFull:
        return False
    return True
