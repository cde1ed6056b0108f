"""Rule 1: the same id with the same payload has one effect; with another it is a dead letter."""

from __future__ import annotations

import pytest

from tests.events import (
    EntrySequence,
    Fields,
    context,
    dead,
    delete,
    rename,
    reply,
    reset,
    rollback,
    state,
    user,
)
from tests.stores import LeadingBackend


async def test_an_event_that_comes_twice_has_one_effect(store: LeadingBackend) -> None:
    await store.apply(user("e1", "hello"), user("e1", "hello"))
    assert await store.texts() == ["hello"]
    assert await store.result("e1") == "applied"
    assert (await store.outcome("e1")).duplicates == 1
    assert await store.letters() == []


async def test_a_duplicate_in_a_later_batch_has_no_effect(store: LeadingBackend) -> None:
    await store.apply(user("e1"))
    await store.apply(user("e1"), user("e2"), user("e1"))
    assert [message.id for message in await store.messages()] == ["e1", "e2"]
    assert (await store.outcome("e1")).duplicates == 2


async def test_time_routing_owner_and_if_exists_are_not_compared(store: LeadingBackend) -> None:
    await store.apply(user("e1", channel="telegram.home", at=store.clock.text(days=-1)))
    again = {"agent": "main", "channel": "discord.x", "room": "r", "sender": "s"}
    await store.apply(user("e1", at=store.clock.text(), if_exists="1", **again))
    assert await store.letters() == []
    assert (await store.outcome("e1")).duplicates == 1


async def test_a_duplicate_changes_neither_routing_nor_owner_nor_time(
    store: LeadingBackend,
) -> None:
    await store.apply(user("e1", channel="telegram.home", at=store.clock.text(days=-1)))
    before = await store.session(), await store.messages()
    await store.apply(user("e1", agent="main", channel="discord.x", at=store.clock.text()))
    assert (await store.session(), await store.messages()) == before


FIRST = user("e1", "hello", turn="e1")
OTHERS = {
    "type": rename("e1", "n", role="user", content="hello", turn="e1"),
    "session": user("e1", "hello", turn="e1", session="other"),
    "role": reply("e1", "hello", turn="e1"),
    "content": user("e1", "hello!", turn="e1"),
    "turn": user("e1", "hello", turn="e2"),
    "no turn": user("e1", "hello"),
    "name": user("e1", "hello", turn="e1", name="n"),
    "state": user("e1", "hello", turn="e1", state="idle"),
    "target": user("e1", "hello", turn="e1", target="e0"),
    "expect": user("e1", "hello", turn="e1", expect="x"),
    "close_with": user("e1", "hello", turn="e1", close_with="x"),
    "action": user("e1", "hello", turn="e1", action="purge"),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
async def test_every_field_of_the_payload_is_compared(store: LeadingBackend, other: Fields) -> None:
    await store.apply(FIRST, other)
    [letter] = await store.letters()
    assert letter.reason == "id_conflict"


PAIRS = {
    "rollback": (rollback("e1", target="a"), rollback("e1", target="b")),
    "rollback expect": (rollback("e1", expect="a"), rollback("e1", expect="b")),
    "rollback close": (rollback("e1", target="a"), rollback("e1", target="a", close_with="")),
    "reset": (reset("e1"), reset("e1", session="other")),
    "delete": (delete("e1"), reset("e1")),
    "rename": (rename("e1", "a"), rename("e1", "")),
    "state": (state("e1", "idle"), state("e1", "running")),
    "context": (context("e1"), context("e1", turn="t")),
    "dead": (dead("e1", "purge", "a"), dead("e1", "replay", "a")),
}


@pytest.mark.parametrize(("first", "second"), PAIRS.values(), ids=PAIRS)
async def test_a_conflict_is_a_dead_letter_for_every_type(
    store: LeadingBackend, first: Fields, second: Fields
) -> None:
    await store.apply(first, first)
    outcome = await store.outcome("e1")
    await store.apply(second)
    [letter] = await store.letters()
    assert letter.reason == "id_conflict"
    assert (await store.outcome("e1")).outcome == outcome.outcome
    assert (await store.outcome("e1")).duplicates == 2


async def test_a_conflict_leaves_the_first_effect_and_the_first_outcome(
    store: LeadingBackend,
) -> None:
    await store.apply(user("e1", "first"))
    first = await store.outcome("e1")
    await store.apply(user("e1", "second", session="other"))
    assert await store.texts() == ["first"]
    assert await store.keys() == {"s"}
    after = await store.outcome("e1")
    assert (after.outcome, after.reason, after.position) == (
        first.outcome,
        first.reason,
        first.position,
    )


async def test_a_conflicts_dead_letter_has_an_id_of_its_own(store: LeadingBackend) -> None:
    await store.apply(user("e1", "first"), user("e1", "second"), user("e1", "third"))
    letters = await store.letters()
    assert len({letter.id for letter in letters} | {"e1"}) == 3
    assert [letter.event_id for letter in letters] == ["e1", "e1"]
    assert b"third" in letters[0].payload


async def test_an_event_without_effect_stays_so_when_it_comes_again(store: LeadingBackend) -> None:
    await store.apply(rename("e1", "early"), user("e2"), rename("e1", "early"))
    assert await store.result("e1") == "no_session"
    assert (await store.session()).name is None


@pytest.mark.parametrize(
    "end",
    [rollback("x", target="e1"), reset("x"), delete("x")],
    ids=["rollback", "reset", "delete"],
)
async def test_a_redelivery_brings_nothing_back(store: LeadingBackend, end: Fields) -> None:
    await store.apply(user("e1", "gone"), end)
    await store.apply(user("e1", "gone"))
    assert await store.texts() == []
    assert await store.result("e1") == "applied"
    assert (await store.outcome("e1")).duplicates == 1


async def test_a_redelivery_does_not_open_a_deleted_session_again(store: LeadingBackend) -> None:
    await store.apply(user("e1"), delete("x"), user("e1"))
    assert await store.backend.session("s") is None


async def test_an_entry_that_is_read_again_under_a_new_stream_epoch_is_no_duplicate(
    store: LeadingBackend,
) -> None:
    entries = [EntrySequence().entry(user("e1"))]
    await store.apply_entries(entries)
    await store.backend.begin_epoch(skipped=0)
    await store.apply_entries(entries)
    assert await store.texts() == ["hello"]
    assert (await store.outcome("e1")).duplicates == 0


async def test_reading_the_whole_stream_again_changes_nothing_that_is_visible(
    store: LeadingBackend,
) -> None:
    events = [
        user("u1", "one"),
        reply("a1", "answer", turn="u1"),
        user("u2", "two"),
        rollback("r1", target="u2"),
        rollback("r2", target="u1", close_with="closed"),
        rename("n1", "name"),
        user("u3", "three", session="t"),
        reset("x1", session="t"),
        user("u4", "four", session="w"),
        delete("x2", session="w"),
    ]
    entries = [store.stream.entry(fields) for fields in events]
    await store.apply_entries(entries)
    before = [await store.messages(key) for key in "stw"], await store.session()
    await store.backend.begin_epoch(skipped=0)
    await store.apply_entries(entries)
    assert ([await store.messages(key) for key in "stw"], await store.session()) == before
    assert await store.letters() == []
