"""What happens to the stream behind the worker's back is noticed, and nothing is applied twice."""

from __future__ import annotations

import shutil
import signal

import pytest

from harness.system import STREAM, SystemUnderTest
from harness.waiting import wait_until
from sessions.models import Event, EventType, StreamId
from sessions.store.jsonl.rebuild import rebuild_index


async def test_turns_published_after_flushall_are_applied_under_a_new_stream_epoch(
    system: SystemUnderTest,
) -> None:
    worker = await system.worker()
    await system.append("e1", "one")
    await system.outcome("e1")
    await system.redis_says("FLUSHALL")
    await system.append("e2", "two")
    await worker.says("stream epoch 2 begins: the stream's mark is gone")
    await system.outcome("e2")
    assert await system.texts() == ["one", "two"]
    await wait_until(lambda: _shows(system, "epoch", "2"))
    assert (await system.stream.facts()).store["regressed"].endswith("without its data")


async def test_ids_that_go_back_are_applied_all_the_same(system: SystemUnderTest) -> None:
    worker = await system.worker()
    await system.append("e1", "one")
    await system.outcome("e1")
    await system.redis_says("DEL", STREAM)
    fields = ("v", "1", "type", "append", "session", "s", "role", "user")
    await system.redis_says("XADD", STREAM, "5-1", *fields, "id", "e2", "content", "two")
    await worker.says("stream epoch 2 begins: the stream ends at 5-1")
    outcome = await system.outcome("e2")
    assert outcome.position.stream_id == StreamId(5, 1)
    assert await system.texts() == ["one", "two"]


async def test_a_stream_that_is_emptied_under_a_backlog_is_read_from_its_new_beginning(
    system: SystemUnderTest,
) -> None:
    worker = await system.worker()
    worker.freeze()
    backlog = [
        Event(f"old{number}", EventType.APPEND, "s", "user", "x" * 200) for number in range(5000)
    ]
    await system.stream.publish(backlog)
    worker.thaw()
    store = await system.store()
    await wait_until(lambda: store.outcome("old0"))
    # Whatever was read in advance by now is of a stream that is no more.
    worker.freeze()
    await system.redis_says("DEL", STREAM)
    fields = ("v", "1", "type", "append", "session", "new", "role", "user")
    for number in range(3):
        await system.redis_says(
            "XADD", STREAM, f"5-{number + 1}", *fields, "id", f"n{number}", "content", f"{number}"
        )
    worker.thaw()
    await system.outcome("n2")
    assert await system.texts("new") == ["0", "1", "2"]
    cursor = await store.cursor()
    assert (cursor.epoch, cursor.applied, cursor.resolved) == (2, StreamId(5, 3), 3)


async def test_what_a_restored_older_stream_still_holds_is_not_applied_twice(
    system: SystemUnderTest,
) -> None:
    worker = await system.worker()
    await system.append("e1", "one")
    await system.outcome("e1")
    dump = await system.redis_says("DUMP", STREAM)
    await system.append("e2", "two")
    await system.outcome("e2")
    await wait_until(lambda: _noted(system, 2))
    await system.redis_says("RESTORE", STREAM, 0, dump, "REPLACE")
    await worker.says("stream epoch 2 begins")
    await system.append("e3", "three")
    await system.outcome("e3")
    assert await system.texts() == ["one", "two", "three"]
    assert (await system.outcome("e1")).duplicates == 0


async def test_a_restored_older_stream_is_noticed_though_it_has_grown_since(
    system: SystemUnderTest,
) -> None:
    worker = await system.worker()
    await system.append("e1", "one")
    await system.outcome("e1")
    dump = await system.redis_says("DUMP", STREAM)
    await system.append("e2", "two")
    await system.outcome("e2")
    await worker.stop()
    await system.redis_says("RESTORE", STREAM, 0, dump, "REPLACE")
    await system.append("e3", "three")
    worker = await system.worker()
    await worker.says("stream epoch 2 begins: Redis counts 2 entries, fewer than the 3 seen")
    assert await system.texts() == ["one", "two", "three"]


async def test_a_store_that_comes_back_older_than_its_stream_catches_up_from_it(
    system: SystemUnderTest,
) -> None:
    worker = await system.worker()
    await system.append("e1", "one")
    await system.outcome("e1")
    await worker.stop()
    backup = system.workspace.with_name("backup")
    await system.close_store()
    shutil.copytree(system.workspace, backup)
    worker = await system.worker()
    await system.append("e2", "two")
    await system.outcome("e2")
    await worker.stop()
    await system.close_store()
    shutil.rmtree(system.workspace)
    backup.rename(system.workspace)
    await system.worker()
    await wait_until(lambda: _has(system, ["one", "two"]))


async def test_entries_that_vanish_unread_are_counted_and_reported(system: SystemUnderTest) -> None:
    worker = await system.worker()
    await system.append("e1")
    await system.outcome("e1")
    await worker.stop(signal.SIGKILL)
    for number in range(2, 7):
        await system.append(f"e{number}")
    await system.redis_says("XTRIM", STREAM, "MAXLEN", 2)
    worker = await system.worker()
    await worker.says("3 stream entries vanished before they were read")
    await wait_until(lambda: _shows(system, "vanished", "3"))


async def test_our_own_trimming_is_not_taken_for_a_loss(system: SystemUnderTest) -> None:
    worker = await system.worker()
    for number in range(5):
        await system.append(f"e{number}")
    await system.outcome("e4")
    cursor = await (await system.store()).cursor()
    assert await system.stream.trim(cursor.applied, applied=cursor.applied) == 4
    await system.append("e5")
    await system.outcome("e5")
    await worker.stop()
    assert "vanished" not in worker.log


@pytest.mark.parametrize("last", ["5-1", f"{2**64 - 2}-5", f"{2**64 - 1}-4"])
async def test_a_stream_that_is_younger_than_what_was_applied_is_not_trimmed(
    system: SystemUnderTest, last: str
) -> None:
    await system.redis_says("XADD", STREAM, last, "v", "1")
    applied = StreamId(2**64 - 1, 5)
    assert await system.stream.trim(applied, applied=applied) == 0
    assert await system.redis_says("XLEN", STREAM) == 1


async def test_a_stream_that_goes_beyond_what_was_applied_is_trimmed(
    system: SystemUnderTest,
) -> None:
    for last in ("9-5", "10-1", "10-2"):
        await system.redis_says("XADD", STREAM, last, "v", "1")
    assert await system.stream.trim(StreamId(10, 2), applied=StreamId(10, 1)) == 2


async def _shows(system: SystemUnderTest, name: str, value: str) -> bool:
    return (await system.stream.facts()).store.get(name) == value


async def _noted(system: SystemUnderTest, added: int) -> bool:
    return (await (await system.store()).cursor()).added == added


async def _has(system: SystemUnderTest, texts: list[str]) -> bool:
    return await system.texts() == texts


async def test_a_rebuilt_index_does_not_apply_again_what_its_files_show_as_applied(
    system: SystemUnderTest,
) -> None:
    system.backend = "jsonl"
    worker = await system.worker()
    await system.append("e1", "one")
    await system.stream.publish([Event("e2", EventType.RESET, "s")])
    await system.append("e3", "two")
    await system.outcome("e3")
    assert await worker.stop() == 0
    await system.close_store()
    for path in (system.workspace / "sessions").glob("index.db*"):
        path.unlink()
    refused = await system.worker(leads=False)
    assert await refused.ended() == 78
    assert "turnstream verify --rebuild-index" in refused.log
    await rebuild_index(system.workspace)
    worker = await system.worker("--adopt-stream")
    await worker.says("3 entries of the stream are known from the session files")
    await system.append("e4", "three")
    await system.outcome("e4")
    assert await system.texts() == ["two", "three"]
