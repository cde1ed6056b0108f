"""Rule 4: reset and delete end a generation, and late events cannot bring it back."""

from __future__ import annotations

import pytest

from tests.events import Fields, context, delete, event, rename, reply, reset, rollback, state, user
from tests.stores import LeadingBackend

ROUTING = {"channel": "telegram.home", "room": "kitchen", "sender": "ann"}


async def test_a_reset_clears_the_messages_and_keeps_the_session(store: LeadingBackend) -> None:
    await store.apply(user("u1", agent="main", **ROUTING), rename("n", "Home"), reset("x"))
    session = await store.session()
    assert await store.texts() == []
    assert session.message_count == 0
    assert (session.name, session.agent, session.channel, session.room, session.sender) == (
        *("Home", "main", "telegram.home", "kitchen", "ann"),
    )


async def test_a_reset_ends_the_running_turn(store: LeadingBackend) -> None:
    await store.apply(user("u1", state="running"), reset("x"))
    session = await store.session()
    assert (session.state, session.turn, session.state_since) == ("idle", None, None)


async def test_a_reset_keeps_the_times_of_the_session(store: LeadingBackend) -> None:
    await store.apply(user("u1"))
    before = await store.session()
    store.clock.pass_days(1)
    await store.apply(reset("x"))
    after = await store.session()
    assert (after.created_at, after.last_activity) == (before.created_at, before.last_activity)


async def test_a_reset_and_a_delete_each_raise_the_generation(store: LeadingBackend) -> None:
    await store.apply(user("u1"), reset("x1"))
    assert (await store.session()).generation == 2
    await store.apply(reset("x2"))
    assert (await store.session()).generation == 3
    await store.apply(delete("x3"), user("u2"))
    assert (await store.session()).generation == 4


async def test_a_delete_removes_all(store: LeadingBackend) -> None:
    await store.apply(user("u1", agent="main", **ROUTING), rename("n", "Home"), delete("x"))
    assert await store.backend.session("s") is None
    assert await store.keys() == set()
    assert await store.messages() == []
    assert await store.found("hello") == []


@pytest.mark.parametrize("first", [user("e2"), context("e2")], ids=["user append", "context"])
async def test_a_session_that_comes_again_has_nothing_of_the_old(
    store: LeadingBackend, first: Fields
) -> None:
    await store.apply(user("u1", agent="main", state="running", **ROUTING), rename("n", "Home"))
    store.clock.pass_days(1)
    await store.apply(delete("x"), first)
    session = await store.session()
    assert (session.name, session.agent, session.channel, session.room, session.sender) == (
        *(None, None, None, None, None),
    )
    assert (session.state, session.turn) == ("idle", None)
    assert session.created_at == session.last_activity == store.clock.now


@pytest.mark.parametrize(
    "late",
    [
        reply("e"),
        reply("e", turn="u1"),
        event("append", "e", role="tool", content="42"),
        rollback("e", target="u1"),
        rollback("e", target="unseen"),
        rollback("e", expect="hello"),
        reset("e"),
        delete("e"),
        rename("e", "n"),
        state("e", "idle"),
        rename("e", "n", if_exists="1"),
    ],
    ids=[
        *("assistant append", "answer", "tool append", "rollback", "early rollback"),
        *("rollback by content", "reset", "delete", "rename", "state", "rename if it exists"),
    ],
)
async def test_after_a_delete_other_events_have_no_effect(
    store: LeadingBackend, late: Fields
) -> None:
    await store.apply(user("u1"), delete("x"))
    await store.apply(late)
    assert await store.result("e") == "session_deleted"
    assert await store.backend.session("s") is None


async def test_a_rollback_after_a_delete_does_not_suppress(store: LeadingBackend) -> None:
    await store.apply(user("u1"), delete("x"), rollback("r", target="u2"), user("u2"))
    assert await store.result("u2") == "applied"


async def test_if_exists_does_not_open_a_deleted_session(store: LeadingBackend) -> None:
    await store.apply(user("u1"), delete("x"), user("u2", if_exists="1"))
    assert await store.result("u2") == "no_session"
    assert await store.backend.session("s") is None


async def test_once_it_is_open_again_everything_has_effect(store: LeadingBackend) -> None:
    await store.apply(user("u1"), delete("x"), user("u2"), reply("a2", turn="u2"))
    await store.apply(rename("n", "again"))
    assert await store.texts() == ["hello", "hi"]
    assert (await store.session()).name == "again"


@pytest.mark.parametrize("end", [reset("x"), delete("x")], ids=["reset", "delete"])
@pytest.mark.parametrize(
    "late",
    [
        reply("e", "late", turn="u1"),
        user("e", "late", turn="u1"),
        state("e", "error", turn="u1"),
        rename("e", "late", turn="u1"),
        context("e", turn="u1", channel="late"),
        rollback("e", target="unseen", turn="u1"),
    ],
    ids=["answer", "user append", "state", "rename", "context", "rollback"],
)
async def test_an_event_of_an_earlier_turn_has_no_effect(
    store: LeadingBackend, end: Fields, late: Fields
) -> None:
    await store.apply(user("u1"), end, user("u2"))
    before = await store.session()
    await store.apply(late)
    assert await store.result("e") == "stale_turn"
    assert await store.session() == before
    assert await store.texts() == ["hello"]


async def test_a_stale_turn_does_not_open_a_deleted_session(store: LeadingBackend) -> None:
    await store.apply(user("u1"), delete("x"), user("u2", turn="u1"))
    assert await store.result("u2") == "stale_turn"
    assert await store.backend.session("s") is None


async def test_a_turn_of_this_generation_is_not_stale(store: LeadingBackend) -> None:
    await store.apply(user("u1"), reset("x"), user("u2"), reply("a2", turn="u2"))
    assert await store.result("a2") == "applied"


async def test_a_turn_that_nobody_opened_is_not_stale(store: LeadingBackend) -> None:
    await store.apply(user("u1"), reset("x"), reply("a", turn="unknown"))
    assert await store.result("a") == "applied"


async def test_a_turn_named_like_an_event_before_the_session_is_not_stale(
    store: LeadingBackend,
) -> None:
    await store.apply(rollback("r", target="unseen"), user("u1"), reply("a", turn="r"))
    assert await store.result("a") == "applied"


async def test_a_turn_of_another_session_is_not_stale(store: LeadingBackend) -> None:
    await store.apply(user("t1", session="t"), reset("x", session="t"), user("u1"))
    await store.apply(reply("a", turn="t1"))
    assert await store.result("a") == "applied"


async def test_a_turn_that_was_rolled_back_is_not_stale_in_its_generation(
    store: LeadingBackend,
) -> None:
    await store.apply(user("u1"), rollback("r", target="u1"), reply("a", turn="u1"))
    assert await store.result("a") == "applied"


async def test_a_turn_that_was_rolled_back_before_a_reset_is_stale(store: LeadingBackend) -> None:
    await store.apply(user("u1"), rollback("r", target="u1"), reset("x"), reply("a", turn="u1"))
    assert await store.result("a") == "stale_turn"


async def test_a_reset_within_a_batch_divides_it(store: LeadingBackend) -> None:
    await store.apply(
        user("u1", "old"),
        reset("x"),
        reply("a1", "late", turn="u1"),
        user("u2", "new"),
        reply("a2", "answer", turn="u2"),
    )
    assert await store.texts() == ["new", "answer"]


async def test_other_sessions_are_left_alone(store: LeadingBackend) -> None:
    await store.apply(user("u1"), user("t1", session="t"), user("w1", session="w"))
    await store.apply(reset("x"), delete("y", session="w"))
    assert await store.texts("t") == ["hello"]


async def test_a_long_session_is_emptied_wholly(store: LeadingBackend) -> None:
    await store.apply(*(user(f"e{n}", f"word{n}") for n in range(1200)))
    await store.apply(delete("x"), user("again"))
    assert await store.texts() == ["hello"]
    assert await store.found("word7") == []
    await store.apply(user("e3", "word3"), user("e1199", "word1199"))
    assert await store.texts() == ["hello"]
