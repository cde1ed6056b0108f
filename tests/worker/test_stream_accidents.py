"""What happens to the stream behind the worker's back is noticed, and nothing is applied twice."""

from __future__ import annotations

import shutil
import signal

import pytest

from sessions.models import Event, EventType, StreamId
from sessions.store.jsonl.rebuild import rebuild_index
from tests.helpers import wait_until
from tests.worker.plant import STREAM, Plant


async def test_turns_published_after_flushall_are_applied_under_a_new_stream_epoch(
    plant: Plant,
) -> None:
    worker = await plant.worker()
    await plant.append("e1", "one")
    await plant.outcome("e1")
    await plant.redis_says("FLUSHALL")
    await plant.append("e2", "two")
    await worker.says("stream epoch 2 begins: the stream's mark is gone")
    await plant.outcome("e2")
    assert await plant.texts() == ["one", "two"]
    await wait_until(lambda: _shows(plant, "epoch", "2"))
    assert (await plant.stream.facts()).store["regressed"].endswith("without its data")


async def test_ids_that_go_back_are_applied_all_the_same(plant: Plant) -> None:
    worker = await plant.worker()
    await plant.append("e1", "one")
    await plant.outcome("e1")
    await plant.redis_says("DEL", STREAM)
    fields = ("v", "1", "type", "append", "session", "s", "role", "user")
    await plant.redis_says("XADD", STREAM, "5-1", *fields, "id", "e2", "content", "two")
    await worker.says("stream epoch 2 begins: the stream ends at 5-1")
    outcome = await plant.outcome("e2")
    assert outcome.position.stream_id == StreamId(5, 1)
    assert await plant.texts() == ["one", "two"]


async def test_a_stream_that_is_emptied_under_a_backlog_is_read_from_its_new_beginning(
    plant: Plant,
) -> None:
    worker = await plant.worker()
    worker.freeze()
    backlog = [
        Event(f"old{number}", EventType.APPEND, "s", "user", "x" * 200) for number in range(5000)
    ]
    await plant.stream.publish(backlog)
    worker.thaw()
    store = await plant.store()
    await wait_until(lambda: store.outcome("old0"))
    # Whatever was read in advance by now is of a stream that is no more.
    worker.freeze()
    await plant.redis_says("DEL", STREAM)
    fields = ("v", "1", "type", "append", "session", "new", "role", "user")
    for number in range(3):
        await plant.redis_says(
            "XADD", STREAM, f"5-{number + 1}", *fields, "id", f"n{number}", "content", f"{number}"
        )
    worker.thaw()
    await plant.outcome("n2")
    assert await plant.texts("new") == ["0", "1", "2"]
    cursor = await store.cursor()
    assert (cursor.epoch, cursor.applied, cursor.resolved) == (2, StreamId(5, 3), 3)


async def test_what_a_restored_older_stream_still_holds_is_not_applied_twice(plant: Plant) -> None:
    worker = await plant.worker()
    await plant.append("e1", "one")
    await plant.outcome("e1")
    dump = await plant.redis_says("DUMP", STREAM)
    await plant.append("e2", "two")
    await plant.outcome("e2")
    await wait_until(lambda: _noted(plant, 2))
    await plant.redis_says("RESTORE", STREAM, 0, dump, "REPLACE")
    await worker.says("stream epoch 2 begins")
    await plant.append("e3", "three")
    await plant.outcome("e3")
    assert await plant.texts() == ["one", "two", "three"]
    assert (await plant.outcome("e1")).duplicates == 0


async def test_a_restored_older_stream_is_noticed_though_it_has_grown_since(plant: Plant) -> None:
    worker = await plant.worker()
    await plant.append("e1", "one")
    await plant.outcome("e1")
    dump = await plant.redis_says("DUMP", STREAM)
    await plant.append("e2", "two")
    await plant.outcome("e2")
    await worker.stop()
    await plant.redis_says("RESTORE", STREAM, 0, dump, "REPLACE")
    await plant.append("e3", "three")
    worker = await plant.worker()
    await worker.says("stream epoch 2 begins: Redis counts 2 entries, fewer than the 3 seen")
    assert await plant.texts() == ["one", "two", "three"]


async def test_a_store_that_comes_back_older_than_its_stream_catches_up_from_it(
    plant: Plant,
) -> None:
    worker = await plant.worker()
    await plant.append("e1", "one")
    await plant.outcome("e1")
    await worker.stop()
    backup = plant.workspace.with_name("backup")
    await plant.close_store()
    shutil.copytree(plant.workspace, backup)
    worker = await plant.worker()
    await plant.append("e2", "two")
    await plant.outcome("e2")
    await worker.stop()
    await plant.close_store()
    shutil.rmtree(plant.workspace)
    backup.rename(plant.workspace)
    await plant.worker()
    await wait_until(lambda: _has(plant, ["one", "two"]))


async def test_entries_that_vanish_unread_are_counted_and_reported(plant: Plant) -> None:
    worker = await plant.worker()
    await plant.append("e1")
    await plant.outcome("e1")
    await worker.stop(signal.SIGKILL)
    for number in range(2, 7):
        await plant.append(f"e{number}")
    await plant.redis_says("XTRIM", STREAM, "MAXLEN", 2)
    worker = await plant.worker()
    await worker.says("3 stream entries vanished before they were read")
    await wait_until(lambda: _shows(plant, "vanished", "3"))


async def test_our_own_trimming_is_not_taken_for_a_loss(plant: Plant) -> None:
    worker = await plant.worker()
    for number in range(5):
        await plant.append(f"e{number}")
    await plant.outcome("e4")
    cursor = await (await plant.store()).cursor()
    assert await plant.stream.trim(cursor.applied, applied=cursor.applied) == 4
    await plant.append("e5")
    await plant.outcome("e5")
    await worker.stop()
    assert "vanished" not in worker.log


@pytest.mark.parametrize("last", ["5-1", f"{2**64 - 2}-5", f"{2**64 - 1}-4"])
async def test_a_stream_that_is_younger_than_what_was_applied_is_not_trimmed(
    plant: Plant, last: str
) -> None:
    await plant.redis_says("XADD", STREAM, last, "v", "1")
    applied = StreamId(2**64 - 1, 5)
    assert await plant.stream.trim(applied, applied=applied) == 0
    assert await plant.redis_says("XLEN", STREAM) == 1


async def test_a_stream_that_goes_beyond_what_was_applied_is_trimmed(plant: Plant) -> None:
    for last in ("9-5", "10-1", "10-2"):
        await plant.redis_says("XADD", STREAM, last, "v", "1")
    assert await plant.stream.trim(StreamId(10, 2), applied=StreamId(10, 1)) == 2


async def _shows(plant: Plant, name: str, value: str) -> bool:
    return (await plant.stream.facts()).store.get(name) == value


async def _noted(plant: Plant, added: int) -> bool:
    return (await (await plant.store()).cursor()).added == added


async def _has(plant: Plant, texts: list[str]) -> bool:
    return await plant.texts() == texts


async def test_a_rebuilt_index_does_not_apply_again_what_its_files_show_as_applied(
    plant: Plant,
) -> None:
    plant.backend = "jsonl"
    worker = await plant.worker()
    await plant.append("e1", "one")
    await plant.stream.publish([Event("e2", EventType.RESET, "s")])
    await plant.append("e3", "two")
    await plant.outcome("e3")
    assert await worker.stop() == 0
    await plant.close_store()
    for path in (plant.workspace / "sessions").glob("index.db*"):
        path.unlink()
    refused = await plant.worker(leads=False)
    assert await refused.ended() == 78
    assert "turnstream verify --rebuild-index" in refused.log
    await rebuild_index(plant.workspace)
    worker = await plant.worker("--adopt-stream")
    await worker.says("3 entries of the stream are known from the session files")
    await plant.append("e4", "three")
    await plant.outcome("e4")
    assert await plant.texts() == ["two", "three"]
