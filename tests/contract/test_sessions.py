"""What makes a session, who owns it, and what it shows of itself."""

from __future__ import annotations

import pytest

from tests.events import (
    Fields,
    context,
    delete,
    event,
    poison,
    rename,
    reply,
    reset,
    rollback,
    state,
    user,
)
from tests.stores import LeadingBackend

ROUTING = {"channel": "telegram.home", "room": "kitchen", "sender": "ann"}


# -- what makes one ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "first",
    [user("e1"), reply("e1"), event("append", "e1", role="tool", content=""), context("e1")],
    ids=["user append", "assistant append", "tool append", "context"],
)
async def test_appends_and_context_make_a_session(store: LeadingBackend, first: Fields) -> None:
    await store.apply(first)
    assert await store.result("e1") == "applied"
    assert await store.keys() == {"s"}


@pytest.mark.parametrize(
    "first",
    [
        rename("e1", "n"),
        state("e1", "idle"),
        reset("e1"),
        delete("e1"),
        rollback("e1", expect="hello"),
        rollback("e1", target="u1", if_exists="1"),
        user("e1", if_exists="1"),
        context("e1", if_exists="1"),
    ],
    ids=[
        *("rename", "state", "reset", "delete", "rollback by content"),
        *("rollback if it exists", "append if it exists", "context if it exists"),
    ],
)
async def test_nothing_else_makes_one(store: LeadingBackend, first: Fields) -> None:
    await store.apply(first)
    assert await store.result("e1") == "no_session"
    assert await store.keys() == set()


async def test_a_rollback_before_its_target_makes_none(store: LeadingBackend) -> None:
    await store.apply(rollback("e1", target="u1", agent="main"))
    assert await store.keys() == set()


async def test_if_exists_does_nothing_where_the_session_exists(store: LeadingBackend) -> None:
    await store.apply(user("e1"), user("e2", if_exists="1"))
    assert len(await store.texts()) == 2


async def test_a_new_session_is_idle_and_without_name(store: LeadingBackend) -> None:
    await store.apply(user("e1"))
    session = await store.session()
    assert (session.state, session.turn, session.state_since) == ("idle", None, None)
    assert (session.name, session.agent, session.channel) == (None, None, None)
    assert (session.generation, session.message_count) == (1, 1)


async def test_a_context_makes_a_session_without_messages(store: LeadingBackend) -> None:
    await store.apply(context("e1", **ROUTING))
    assert (await store.session()).message_count == 0
    assert await store.texts() == []


async def test_keys_are_compared_to_the_letter(store: LeadingBackend) -> None:
    keys = ["a", "A", "a ", "a_b", "a/b", "a.b", "\u00e9", "e\u0301", "a\0", "a\0b", "k" * 512]
    await store.apply(*(user(f"e{n}", key, session=key) for n, key in enumerate(keys)))
    await store.apply(*(reply(f"r{n}", key, session=key) for n, key in enumerate(keys)))
    assert await store.keys() == set(keys)
    for key in keys:
        assert await store.texts(key) == [key, key]


@pytest.mark.parametrize(
    "text",
    ["", "\0", "a\0b", "\u2028\u0085\r\n", "\U0001f600", "\u05e9\u05dc\u05d5\u05dd", "\ufeff "],
)
async def test_text_comes_out_as_it_went_in(store: LeadingBackend, text: str) -> None:
    await store.apply(user("e1", text))
    assert await store.texts() == [text]


async def test_a_text_of_the_greatest_size_comes_out_as_it_went_in(store: LeadingBackend) -> None:
    text = "\u00e9" * (128 * 1024)
    await store.apply(user("e1", text))
    assert await store.texts() == [text]


async def test_the_message_shows_what_the_event_said(store: LeadingBackend) -> None:
    await store.apply(
        user("u1", "hello"), event("append", "t1", role="tool", content="42", turn="u1")
    )
    message = (await store.messages())[1]
    assert (message.id, message.role, message.content, message.turn) == ("t1", "tool", "42", "u1")


# -- name ----------------------------------------------------------------------------------------


async def test_a_rename_names_the_session(store: LeadingBackend) -> None:
    await store.apply(user("e1"), rename("n1", "Groceries"))
    assert (await store.session()).name == "Groceries"


async def test_an_empty_name_clears_it(store: LeadingBackend) -> None:
    await store.apply(user("e1"), rename("n1", "Groceries"), rename("n2", ""))
    assert (await store.session()).name is None


# -- owner ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "claim",
    [user("c", agent="main"), context("c", agent="main"), rename("c", "n", agent="main")],
    ids=["append", "context", "rename"],
)
async def test_the_first_claim_makes_the_owner(store: LeadingBackend, claim: Fields) -> None:
    await store.apply(user("e1"), claim)
    assert (await store.session()).agent == "main"


@pytest.mark.parametrize(
    "late",
    [
        user("x", agent="b"),
        reply("x", agent="b"),
        rollback("x", target="e1", agent="b"),
        rollback("x", target="unseen", agent="b"),
        rollback("x", expect="hello", agent="b"),
        reset("x", agent="b"),
        delete("x", agent="b"),
        rename("x", "n", agent="b"),
        state("x", "error", agent="b"),
        context("x", agent="b", **ROUTING),
    ],
    ids=[
        *("append", "reply", "rollback", "early rollback", "rollback by content"),
        *("reset", "delete", "rename", "state", "context"),
    ],
)
async def test_another_agents_event_has_no_effect_at_all(
    store: LeadingBackend, late: Fields
) -> None:
    await store.apply(user("e1", agent="a"))
    before = await store.session(), await store.messages()
    await store.apply(late)
    assert await store.result("x") == "not_owner"
    assert (await store.session(), await store.messages()) == before


async def test_the_owner_and_events_without_claim_have_effect(store: LeadingBackend) -> None:
    await store.apply(user("e1", agent="a"), user("e2", agent="a"), user("e3"))
    assert len(await store.texts()) == 3


async def test_a_rollback_of_a_stranger_suppresses_nothing(store: LeadingBackend) -> None:
    await store.apply(user("e1", agent="a"), rollback("r", target="u1", agent="b"), user("u1"))
    assert await store.result("u1") == "applied"


async def test_a_deleted_session_can_have_another_owner(store: LeadingBackend) -> None:
    await store.apply(user("e1", agent="a"), delete("x"), user("e2", agent="b"))
    assert (await store.session()).agent == "b"


# -- routing -------------------------------------------------------------------------------------


async def test_routing_may_come_with_every_event(store: LeadingBackend) -> None:
    events = [
        user("e1", room="0"),
        rename("n", "x", room="1"),
        state("s", "idle", room="2"),
        context("c", room="3"),
        reset("x", room="4"),
        rollback("r", target="z", room="5"),
    ]
    for number, fields in enumerate(events):
        await store.apply(fields)
        assert (await store.session()).room == str(number)


async def test_the_last_routing_wins_and_absent_keeps_what_is_stored(store: LeadingBackend) -> None:
    await store.apply(user("e1", **ROUTING), user("e2", room="garden"), user("e3"))
    session = await store.session()
    assert (session.channel, session.room, session.sender) == ("telegram.home", "garden", "ann")


async def test_empty_routing_counts_as_absent(store: LeadingBackend) -> None:
    await store.apply(user("e1", **ROUTING), user("e2", room="", channel="", sender=""))
    assert (await store.session()).room == "kitchen"


async def test_routing_has_no_blanks_at_its_ends_and_blanks_alone_say_nothing(
    store: LeadingBackend,
):
    await store.apply(
        user("e1", channel=" telegram.home\n", room="\u2003the  kitchen\u00a0", sender="\x1fann"),
        user("e2", room=" \t\u3000", sender="\u2028"),
    )
    session = await store.session()
    assert (session.channel, session.room, session.sender) == (
        *("telegram.home", "the  kitchen", "\x1fann"),
    )


@pytest.mark.parametrize(
    "vain",
    [
        rollback("x", target="u1", channel="other", agent="a"),
        rollback("x", expect="nothing", channel="other", agent="a", close_with="closed"),
        user("x", turn="u1", channel="other", agent="a"),
    ],
    ids=["rollback of a reset message", "rollback of nothing", "stale turn"],
)
async def test_an_event_without_effect_leaves_owner_and_routing(
    store: LeadingBackend, vain: Fields
) -> None:
    await store.apply(user("u1", **ROUTING), reset("r"), vain)
    assert (await store.outcome("x")).outcome == "noop"
    session = await store.session()
    assert (session.agent, session.channel) == (None, "telegram.home")


# -- state ---------------------------------------------------------------------------------------


async def test_an_append_sets_the_state_in_the_same_transaction(store: LeadingBackend) -> None:
    await store.apply(user("u1", state="running"))
    session = await store.session()
    assert (session.state, session.turn, session.state_since) == ("running", "u1", store.clock.now)


async def test_the_turn_that_runs_is_shown_until_it_ends(store: LeadingBackend) -> None:
    await store.apply(user("u1", state="running", turn="u1"), reply("t", "…", turn="u1"))
    assert (await store.session()).turn == "u1"
    await store.apply(reply("a1", turn="u1", state="idle"))
    session = await store.session()
    assert (session.state, session.turn, session.state_since) == ("idle", None, None)


async def test_a_state_event_may_name_its_turn(store: LeadingBackend) -> None:
    await store.apply(user("u1"), state("s1", "running", turn="u1"))
    assert (await store.session()).turn == "u1"


async def test_an_error_keeps_the_turn_and_stops_the_clock(store: LeadingBackend) -> None:
    await store.apply(user("u1", state="running"), state("s1", "error"))
    session = await store.session()
    assert (session.state, session.turn, session.state_since) == ("error", "u1", None)


async def test_only_a_user_append_opens_a_turn(store: LeadingBackend) -> None:
    await store.apply(reply("a1", state="running"))
    assert (await store.session()).turn is None


async def test_an_append_without_state_leaves_it(store: LeadingBackend) -> None:
    await store.apply(user("u1", state="running"), user("u2"))
    session = await store.session()
    assert (session.state, session.turn) == ("running", "u1")


@pytest.mark.parametrize(
    "other",
    [
        rename("x", "n", state="error"),
        context("x", state="error"),
        rollback("x", target="unseen", state="error"),
    ],
    ids=["rename", "context", "rollback"],
)
async def test_state_means_nothing_on_other_types(store: LeadingBackend, other: Fields) -> None:
    await store.apply(user("u1", state="running"), other)
    assert await store.result("x") in ("applied", "target_not_seen")
    assert (await store.session()).state == "running"


async def test_a_state_is_shown_again_from_when_it_was_set(store: LeadingBackend) -> None:
    await store.apply(user("u1", state="running"))
    store.clock.pass_days(1)
    await store.apply(state("s1", "running", turn="u1"))
    assert (await store.session()).state_since == store.clock.now


async def test_a_dead_event_changes_nothing(store: LeadingBackend) -> None:
    await store.apply(user("u1"))
    before = await store.session()
    await store.apply(poison("x", agent="b", state="error", **ROUTING))
    assert await store.session() == before
