"""How long ids are known, and what retention leaves."""

from __future__ import annotations

import pytest

from sessions.times import DAY
from tests.events import (
    Fields,
    context,
    dead,
    delete,
    poison,
    rename,
    reply,
    reset,
    rollback,
    state,
    user,
)
from tests.stores import LeadingBackend


async def forget(store: LeadingBackend) -> int:
    """Forget everything whose time is up now, in small steps."""
    forgotten = 0
    while step := await store.backend.forget_ids(before=store.clock.now, limit=2):
        assert step <= 2
        forgotten += step
    return forgotten


async def test_the_id_of_a_message_is_known_as_long_as_the_message(store: LeadingBackend) -> None:
    await store.apply(user("u1"), reply("a1"))
    store.clock.pass_days(10_000)
    assert await forget(store) == 0
    await store.apply(user("u1"), reply("a1"))
    assert await store.texts() == ["hello", "hi"]


GONE = {
    "rollback": [rollback("x", target="u1")],
    "rollback by content": [rollback("x", expect="hello")],
    "reset": [reset("x")],
    "delete": [delete("x")],
}


@pytest.mark.parametrize("end", GONE.values(), ids=GONE)
async def test_an_id_is_known_for_30_days_after_its_message_went(
    store: LeadingBackend, end: list[Fields]
) -> None:
    await store.apply(user("u1"))
    store.clock.pass_days(100)
    await store.apply(*end)
    store.clock.pass_days(29.9)
    await forget(store)
    await store.apply(user("u1"))
    assert await store.texts() == []
    assert (await store.outcome("u1")).duplicates == 1


@pytest.mark.parametrize("end", GONE.values(), ids=GONE)
async def test_then_it_is_an_id_like_any_other(store: LeadingBackend, end: list[Fields]) -> None:
    await store.apply(user("u1"), *end)
    store.clock.pass_days(30.1)
    await forget(store)
    assert await store.backend.outcome("u1") is None
    await store.apply(user("u1", "new"))
    assert await store.texts() == ["new"]


async def test_forgetting_waits_for_the_moment_that_it_is_told(store: LeadingBackend) -> None:
    await store.apply(user("u1"), rollback("r", target="u1"))
    assert await store.backend.forget_ids(before=store.clock.now + 30 * DAY, limit=10) == 0
    assert await store.backend.forget_ids(before=store.clock.now + 30 * DAY + 1, limit=10) == 2


async def test_not_more_is_forgotten_than_asked(store: LeadingBackend) -> None:
    await store.apply(context("c"), *(rename(f"n{n}", "x") for n in range(5)))
    store.clock.pass_days(31)
    counts = [await store.backend.forget_ids(before=store.clock.now, limit=4) for _ in range(3)]
    assert counts == [4, 2, 0]


@pytest.mark.parametrize(
    "fields",
    [
        rename("e", "n"),
        state("e", "idle"),
        context("e"),
        user("e", if_exists="1", session="t"),
        poison("e"),
        dead("e", "purge", "nothing"),
    ],
    ids=["rename", "state", "context", "without effect", "poison", "dead"],
)
async def test_an_id_that_made_no_message_is_known_for_30_days(
    store: LeadingBackend, fields: Fields
) -> None:
    await store.apply(user("u1"), fields)
    store.clock.pass_days(29.9)
    await forget(store)
    assert await store.backend.outcome("e") is not None
    store.clock.pass_days(0.2)
    await forget(store)
    assert await store.backend.outcome("e") is None


async def test_the_id_of_a_rollback_that_closed_is_known_as_long_as_its_message(
    store: LeadingBackend,
) -> None:
    closing = rollback("r", target="u1", close_with="closed")
    await store.apply(user("u1"), reply("a1", turn="u1"), closing)
    store.clock.pass_days(100)
    await forget(store)
    await store.apply(closing)
    assert await store.texts() == ["hello", "hi", "closed"]


async def test_a_suppressed_target_is_awaited_for_30_days(store: LeadingBackend) -> None:
    await store.apply(rollback("r1", target="u1"), rollback("r2", target="u2"))
    store.clock.pass_days(29.9)
    await forget(store)
    await store.apply(user("u1"))
    assert await store.result("u1") == "already_rolled_back"
    store.clock.pass_days(0.2)
    await forget(store)
    await store.apply(user("u2"))
    assert await store.result("u2") == "applied"


async def test_a_conflict_can_be_replayed_once_its_id_is_forgotten(store: LeadingBackend) -> None:
    await store.apply(context("c"), rename("e1", "first"), user("e1", "second"))
    [letter] = await store.letters()
    store.clock.pass_days(31)
    await forget(store)
    await store.apply(dead("d", "replay", letter.id))
    assert await store.texts() == ["second"]
    assert await store.result("e1") == "applied"


async def test_a_tombstone_lasts_as_long_as_the_ids(store: LeadingBackend) -> None:
    await store.apply(user("u1"), delete("x"))
    store.clock.pass_days(29.9)
    await forget(store)
    await store.apply(rename("late", "n"))
    assert await store.result("late") == "session_deleted"
    store.clock.pass_days(0.2)
    await forget(store)
    await store.apply(rename("later", "n"))
    assert await store.result("later") == "no_session"


async def test_a_session_after_its_tombstone_is_a_new_one(store: LeadingBackend) -> None:
    await store.apply(user("u1"), user("t1", session="t"), reset("y"), delete("x"))
    store.clock.pass_days(31)
    await forget(store)
    await store.apply(user("u1", "again"), user("w1", session="w"))
    session = await store.session()
    assert (session.generation, session.message_count) == (1, 1)
    assert await store.texts("w") == ["hello"]
    assert await store.texts("t") == ["hello"]


# -- retention -----------------------------------------------------------------------------------


async def aged(store: LeadingBackend) -> None:
    """Sessions that were last active 1, 2, 3 and 4 days ago."""
    await store.apply(
        *(user(f"e{n}", session=f"s{n}", at=store.clock.text(days=-n)) for n in range(1, 5))
    )


async def expire(store: LeadingBackend, *, days: float, limit: int = 10) -> int:
    """Delete what was last active longer ago than so many days."""
    older_than = store.clock.now - int(days * DAY)
    return await store.backend.expire_sessions(older_than=older_than, limit=limit)


async def test_retention_deletes_what_was_last_active_before(store: LeadingBackend) -> None:
    await aged(store)
    assert await expire(store, days=2) == 2
    assert await store.keys() == {"s1", "s2"}
    assert await expire(store, days=2) == 0


async def test_retention_deletes_no_more_than_asked_oldest_first(store: LeadingBackend) -> None:
    await aged(store)
    assert await expire(store, days=0, limit=3) == 3
    assert await store.keys() == {"s1"}


async def test_retention_spares_what_runs(store: LeadingBackend) -> None:
    await aged(store)
    await store.apply(state("x", "running", session="s4"), state("y", "error", session="s3"))
    assert await expire(store, days=0) == 3
    assert await store.keys() == {"s4"}


async def test_retention_leaves_a_tombstone_like_delete(store: LeadingBackend) -> None:
    await store.apply(user("u1"))
    store.clock.pass_days(2)
    await expire(store, days=1)
    await store.apply(reply("a1", turn="u1"), user("u1"), user("u2", turn="u1"))
    assert await store.result("a1") == "session_deleted"
    assert await store.result("u2") == "stale_turn"
    assert await store.backend.session("s") is None
    await store.apply(user("u3"), rollback("r", target="u1"))
    assert (await store.session()).generation == 2
    assert await store.result("r") == "deleted"


async def test_retention_forgets_ids_30_days_later(store: LeadingBackend) -> None:
    await store.apply(user("u1"))
    store.clock.pass_days(2)
    await expire(store, days=1)
    store.clock.pass_days(29.9)
    await forget(store)
    assert await store.backend.outcome("u1") is not None
    store.clock.pass_days(0.2)
    await forget(store)
    assert await store.backend.outcome("u1") is None


async def test_retention_of_nothing_is_nothing(store: LeadingBackend) -> None:
    assert await expire(store, days=0) == 0
