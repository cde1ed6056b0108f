"""What is applied is there for every reader, for the next process, and after a crash."""

from __future__ import annotations

import asyncio

import pytest

from sessions.models import STREAM_START, Lease, StreamCursor
from sessions.store.backend import SessionBackend
from tests.events import delete, poison, rename, reply, reset, rollback, state, user
from tests.stores import Clock, LeadingBackend, Open, lead

EVERYTHING = [
    user("u1", "one", agent="main", channel="telegram.home"),
    reply("a1", "answer", turn="u1"),
    user("u2", "two", state="running"),
    rename("n", "Home"),
    rollback("r", target="later"),
    poison("p"),
    user("t1", "gone", session="t"),
    reset("x", session="t"),
    user("w1", "gone", session="w"),
    delete("y", session="w"),
]


async def seen(backend: SessionBackend) -> list[object]:
    """All that a reader may ask for."""
    return [
        await backend.store_id(),
        await backend.cursor(),
        await backend.lease(),
        await backend.sessions(),
        await backend.history("s"),
        await backend.search("answer"),
        await backend.dead_letters(),
        await backend.counts(),
        [await backend.outcome(event_id) for event_id in ("u1", "later", "p", "r", "x")],
    ]


async def test_a_reader_sees_what_the_writer_has_applied(
    store: LeadingBackend, open_store: Open
) -> None:
    async with open_store("read") as reader:
        await store.apply(*EVERYTHING)
        assert await seen(reader) == await seen(store.backend)
        await store.apply(user("u3", "three"))
        assert len((await reader.history("s")).items) == 4


async def test_everything_is_there_after_closing_and_opening(
    open_store: Open, clock: Clock
) -> None:
    async with open_store("write") as opened:
        store = await lead(opened, clock)
        await store.apply(*EVERYTHING)
        before = await seen(opened)
    async with open_store("read") as again:
        assert await seen(again) == before
    async with open_store("write") as again:
        assert await seen(again) == before


async def test_rules_hold_over_closing_and_opening(open_store: Open, clock: Clock) -> None:
    async with open_store("write") as opened:
        store = await lead(opened, clock)
        await store.apply(*EVERYTHING)
    async with open_store("write") as opened:
        again = await lead(opened, clock, store.stream)
        await again.apply(
            user("u1", "one"),
            user("later"),
            reply("late", turn="t1", session="t"),
            reply("later still", session="w"),
            reply("late answer", session="w"),
            rollback("r2", target="u1"),
            state("s1", "idle"),
        )
        assert await again.texts() == ["one", "answer", "two"]
        assert await again.result("later") == "already_rolled_back"
        assert await again.result("late") == "stale_turn"
        assert await again.result("r2") == "answered"
        assert (await again.session()).state == "idle"


async def test_a_crash_loses_nothing_that_was_applied(
    store: LeadingBackend, open_store: Open, clock: Clock
) -> None:
    await store.apply(*EVERYTHING)
    before = (await seen(store.backend))[3:]
    async with open_store("write") as opened:
        successor = await lead(opened, clock, store.stream)
        assert (await seen(opened))[3:] == before
        await successor.apply(user("u3", "three"))
        assert await successor.texts() == ["one", "answer", "two", "three"]


async def test_numbers_go_on_after_opening(open_store: Open, clock: Clock) -> None:
    async with open_store("write") as opened:
        store = await lead(opened, clock)
        await store.apply(user("e1"), user("e2"), rollback("r", target="e2"))
    async with open_store("write") as opened:
        again = await lead(opened, clock, store.stream)
        await again.apply(user("e3"))
        assert [message.seq for message in await again.messages()] == [1, 3]


async def test_a_store_keeps_its_random_id(open_store: Open) -> None:
    async with open_store("write") as opened:
        store_id = await opened.store_id()
    assert store_id
    async with open_store("write") as opened:
        assert await opened.store_id() == store_id


async def test_a_store_that_was_not_made_yet_reads_as_empty(open_store: Open) -> None:
    async with open_store("read") as reader:
        assert await reader.store_id() is None
        assert await reader.cursor() == StreamCursor(0, STREAM_START, 0, 0, 0)
        assert await reader.lease() == Lease(0, None, 0)
        assert (await reader.sessions()).items == []
        assert (await reader.history("s")).items == []
        assert (await reader.search("word")).items == []
        assert (await reader.dead_letters()).items == []
        assert await reader.outcome("e1") is None
        assert set((await reader.counts()).values()) == {0}


async def test_a_reader_that_came_first_sees_the_store_when_it_is_made(
    open_store: Open, clock: Clock
) -> None:
    async with open_store("read") as reader:
        assert await reader.session("s") is None
        async with open_store("write") as opened:
            store = await lead(opened, clock)
            await store.apply(user("e1"))
            assert await reader.session("s") is not None
            assert await reader.store_id() == await opened.store_id()


async def test_reading_goes_on_when_the_writer_has_closed(open_store: Open, clock: Clock) -> None:
    async with open_store("read") as reader:
        async with open_store("write") as opened:
            store = await lead(opened, clock)
            await store.apply(user("e1"))
            assert len((await reader.history("s")).items) == 1
        assert len((await reader.history("s")).items) == 1


async def test_a_backend_says_its_name(backend: SessionBackend) -> None:
    assert backend.name


@pytest.mark.parametrize("step", range(16))
async def test_a_batch_that_was_broken_off_is_applied_whole_when_it_comes_again(
    store: LeadingBackend, step: int
) -> None:
    await store.apply(user("e0", "zero"), user("gone", session="t"))
    batch = [user("e1", "one"), rollback("r", target="e0"), delete("x", session="t"), {"v": "1"}]
    entries = [store.stream.entry(fields) for fields in batch]
    started = store.backend.steps
    task = asyncio.create_task(store.apply_entries(entries))
    while store.backend.steps <= started + step and not task.done():  # noqa: ASYNC110 - finer than any event
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    cursor = await store.apply_entries(entries)
    assert cursor.resolved == 6
    assert await store.texts() == ["one"]
    assert await store.keys() == {"s"}
    assert (await store.outcome("e1")).duplicates == 0
    assert len(await store.letters()) == 1
