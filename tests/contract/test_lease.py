"""The lease, the fence, the cursor and its epochs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from sessions.errors import Fenced
from sessions.models import STREAM_START, Lease, StreamCursor
from sessions.store.backend import SessionBackend
from tests.events import EntrySequence, context, rename, state, user
from tests.stores import Clock, LeadingBackend, Open, lead

WRITES: dict[str, Callable[[SessionBackend], Awaitable[object]]] = {
    "renew": lambda backend: backend.renew(),
    "release": lambda backend: backend.release(),
    "begin_epoch": lambda backend: backend.begin_epoch(skipped=0),
    "apply": lambda backend: backend.apply([EntrySequence().entry(user("late"))]),
    "apply nothing": lambda backend: backend.apply([]),
    "expire_sessions": lambda backend: backend.expire_sessions(older_than=2**60, limit=10),
    "forget_ids": lambda backend: backend.forget_ids(before=2**60, limit=10),
    "tidy": lambda backend: backend.tidy(),
}
EVERY_WRITE = pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)


async def test_at_first_nobody_leads(backend: SessionBackend) -> None:
    assert await backend.lease() == Lease(0, None, 0)


async def test_a_lease_that_was_not_seen_before_is_taken(backend: SessionBackend) -> None:
    lease = await backend.acquire("w1", seen=None)
    assert lease is not None
    assert (lease.epoch, lease.holder) == (1, "w1")
    assert await backend.lease() == lease


async def test_a_lease_that_stands_still_is_taken_over(
    backend: SessionBackend, open_store: Open
) -> None:
    first = await backend.acquire("w1", seen=None)
    async with open_store("write") as standby:
        second = await standby.acquire("w2", seen=await standby.lease())
    assert first is not None
    assert second is not None
    assert (second.epoch, second.holder) == (first.epoch + 1, "w2")


@pytest.mark.parametrize("sign", ["renew", "apply", "release", "begin_epoch", "tidy later"])
async def test_a_lease_that_moved_is_not_taken(
    backend: SessionBackend, open_store: Open, sign: str
) -> None:
    await backend.acquire("w1", seen=None)
    async with open_store("write") as standby:
        seen = await standby.lease()
        await WRITES.get(sign, WRITES["renew"])(backend)
        assert await standby.acquire("w2", seen=seen) is None
        with pytest.raises(Fenced):
            await standby.renew()
        assert (await standby.lease()).epoch == 1


async def test_of_two_that_saw_the_same_lease_one_gets_it(
    backend: SessionBackend, open_store: Open
) -> None:
    await backend.acquire("w1", seen=None)
    async with open_store("write") as one, open_store("write") as other:
        seen = await one.lease()
        assert await one.acquire("w2", seen=seen) is not None
        assert await other.acquire("w3", seen=seen) is None
        await one.renew()
        assert (await other.lease()).holder == "w2"


async def test_the_beat_grows_with_every_renewal_and_every_batch(store: LeadingBackend) -> None:
    beats = [(await store.backend.lease()).beat]
    for write in (WRITES["renew"], WRITES["apply"], WRITES["apply nothing"]):
        await write(store.backend)
        beats.append((await store.backend.lease()).beat)
    assert beats == sorted(set(beats))


async def test_a_clean_stop_leaves_the_lease_without_a_holder(store: LeadingBackend) -> None:
    epoch = (await store.backend.lease()).epoch
    await store.backend.release()
    lease = await store.backend.lease()
    assert (lease.epoch, lease.holder) == (epoch, None)


async def test_a_released_lease_can_be_taken_again(store: LeadingBackend) -> None:
    await store.backend.release()
    lease = await store.backend.acquire("again", seen=await store.backend.lease())
    assert lease is not None
    await store.apply(user("e1"))
    assert await store.texts() == ["hello"]


@EVERY_WRITE
async def test_nothing_is_written_before_the_lease_is_taken(
    backend: SessionBackend, write: Callable[[SessionBackend], Awaitable[object]]
) -> None:
    with pytest.raises(Fenced):
        await write(backend)


@EVERY_WRITE
async def test_nothing_is_written_after_the_release(
    store: LeadingBackend, write: Callable[[SessionBackend], Awaitable[object]]
) -> None:
    await store.backend.release()
    with pytest.raises(Fenced):
        await write(store.backend)


@EVERY_WRITE
async def test_nothing_is_written_after_closing(
    open_store: Open, clock: Clock, write: Callable[[SessionBackend], Awaitable[object]]
) -> None:
    async with open_store("write") as closed:
        await lead(closed, clock)
    with pytest.raises(Fenced):
        await write(closed)


@EVERY_WRITE
async def test_a_leader_that_was_replaced_writes_nothing_more(
    store: LeadingBackend,
    open_store: Open,
    clock: Clock,
    write: Callable[[SessionBackend], Awaitable[object]],
) -> None:
    await store.apply(user("e1"))
    async with open_store("write") as opened:
        successor = await lead(opened, clock)
        await successor.apply(user("e2"))
        before = await opened.lease(), await opened.cursor(), await opened.counts()
        with pytest.raises(Fenced):
            await write(store.backend)
        assert (await opened.lease(), await opened.cursor(), await opened.counts()) == before
        assert await opened.outcome("late") is None
        assert await successor.texts() == ["hello", "hello"]


async def test_a_leader_that_was_replaced_can_lead_again(
    store: LeadingBackend, open_store: Open, clock: Clock
) -> None:
    await store.apply(user("e1", "one"))
    async with open_store("write") as opened:
        await (await lead(opened, clock)).apply(user("e2", "two"))
    lease = await store.backend.acquire("back", seen=None)
    assert lease is not None
    assert lease.epoch == 3
    await store.apply(user("e3", "three"), user("e2", "two"))
    assert await store.texts() == ["one", "two", "three"]
    assert [message.seq for message in await store.messages()] == [1, 2, 3]


async def test_a_leader_that_comes_back_remembers_nothing_of_its_own(
    store: LeadingBackend, open_store: Open, clock: Clock
) -> None:
    await store.apply(user("e1"))
    async with open_store("write") as opened:
        successor = await lead(opened, clock)
        await successor.apply(context("c", agent="main", room="kitchen"), state("x", "error"))
    await store.backend.acquire("back", seen=None)
    await store.apply(rename("n", "Home"))
    session = await store.session()
    assert (session.name, session.agent, session.room, session.state) == (
        *("Home", "main", "kitchen", "error"),
    )


async def test_a_successor_goes_on_from_what_it_finds(
    store: LeadingBackend, open_store: Open, clock: Clock
) -> None:
    await store.apply(user("e1", "one"), user("t1", session="t"))
    async with open_store("write") as opened:
        successor = await lead(opened, clock, store.stream)
        assert await opened.cursor() == await store.backend.cursor()
        cursor = await successor.apply(user("e1", "one"), user("e2", "two"))
        assert cursor.resolved == 4
        assert await successor.texts() == ["one", "two"]


async def test_a_backend_for_reading_cannot_lead(backend: SessionBackend, open_store: Open) -> None:
    async with open_store("read") as reader:
        with pytest.raises(RuntimeError):
            await reader.acquire("w1", seen=None)
        with pytest.raises(Fenced):
            await reader.renew()


async def test_the_steps_grow_while_the_writer_works(store: LeadingBackend) -> None:
    before = store.backend.steps
    await store.apply(user("e1"))
    between = store.backend.steps
    await store.backend.renew()
    assert before < between < store.backend.steps


# -- the cursor ----------------------------------------------------------------------------------


async def test_at_first_nothing_is_applied(backend: SessionBackend) -> None:
    assert await backend.cursor() == StreamCursor(0, STREAM_START, 0, 0, 0)


async def test_the_cursor_moves_with_the_rows(store: LeadingBackend) -> None:
    entries = [store.stream.entry(user(f"e{n}")) for n in range(3)]
    cursor = await store.apply_entries(entries)
    assert cursor == StreamCursor(1, entries[-1].raw.stream_id, 3, 0, 0)
    assert await store.backend.cursor() == cursor


async def test_duplicates_and_poison_are_resolved_too(store: LeadingBackend) -> None:
    cursor = await store.apply(user("e1"), user("e1"), {"v": "1"}, user("e1", "other"))
    assert cursor.resolved == 4


async def test_an_empty_batch_moves_nothing(store: LeadingBackend) -> None:
    before = await store.apply(user("e1"))
    assert await store.backend.apply([]) == before


async def test_entries_that_were_applied_before_have_no_effect(store: LeadingBackend) -> None:
    entries = [store.stream.entry(user(f"e{n}", str(n))) for n in range(4)]
    await store.apply_entries([*entries[:2], store.stream.entry({"v": "1"})])
    cursor = await store.apply_entries([*entries[:2], *entries[2:]])
    assert await store.texts() == ["0", "1", "2", "3"]
    assert (await store.outcome("e1")).duplicates == 0
    assert await store.apply_entries(entries) == cursor
    assert await store.texts() == ["0", "1", "2", "3"]


async def test_an_entry_that_comes_too_late_takes_effect_and_moves_no_cursor(
    store: LeadingBackend,
) -> None:
    early, late = store.stream.entry(user("e1", "early")), store.stream.entry(user("e2", "late"))
    cursor = await store.apply_entries([late])
    assert await store.apply_entries([early]) == cursor
    assert await store.texts() == ["late", "early"]


async def test_a_new_epoch_begins_at_the_streams_beginning(store: LeadingBackend) -> None:
    await store.apply(user("e1"))
    await store.backend.renew(added=7)
    cursor = await store.backend.begin_epoch(skipped=5)
    assert cursor == StreamCursor(2, STREAM_START, 0, 5, 0)
    assert await store.backend.cursor() == cursor
    assert (await store.apply(user("e2"))).skipped == 5


async def test_a_new_epoch_is_above_the_streams_own(store: LeadingBackend) -> None:
    assert (await store.backend.begin_epoch(skipped=0, above=7)).epoch == 8
    assert (await store.backend.begin_epoch(skipped=0, above=3)).epoch == 9


async def test_the_count_of_redis_is_kept_until_it_is_renewed(store: LeadingBackend) -> None:
    await store.backend.renew(added=11)
    assert (await store.backend.cursor()).added == 11
    assert (await store.apply(user("e1"))).added == 11
    await store.backend.renew()
    assert (await store.backend.cursor()).added == 11
    await store.backend.renew(added=12)
    assert (await store.apply(user("e2"))).added == 12


async def test_ids_that_go_back_are_applied_all_the_same(store: LeadingBackend) -> None:
    entries = [store.stream.entry(user(f"e{n}", str(n))) for n in range(4)]
    await store.apply_entries(entries[2:])
    await store.backend.begin_epoch(skipped=0)
    await store.apply_entries(entries[:2])
    assert await store.texts() == ["2", "3", "0", "1"]
