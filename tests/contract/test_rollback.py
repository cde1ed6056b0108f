"""Rule 3: what a rollback takes back, and what it leaves."""

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


async def test_a_rollback_removes_exactly_its_target(store: LeadingBackend) -> None:
    await store.apply(user("u1", "one"), user("u2", "two"), user("u3", "three"))
    await store.apply(rollback("r", target="u2"))
    assert await store.texts() == ["one", "three"]
    assert await store.result("r") == "applied"
    assert (await store.session()).message_count == 2


async def test_messages_after_the_target_stay(store: LeadingBackend) -> None:
    await store.apply(user("u1", "mine"), user("m", "from another agent", sender="other", turn="m"))
    await store.apply(rollback("r", target="u1"))
    assert await store.texts() == ["from another agent"]


async def test_of_two_equal_texts_the_target_goes(store: LeadingBackend) -> None:
    await store.apply(user("u1", "ok"), user("u2", "ok"), rollback("r", target="u1"))
    assert [message.id for message in await store.messages()] == ["u2"]


async def test_a_rollback_in_the_same_batch_sees_its_target(store: LeadingBackend) -> None:
    await store.apply(user("u1"), rollback("r", target="u1"))
    assert await store.texts() == []
    assert await store.result("r") == "applied"


async def test_a_session_that_was_emptied_by_rollback_is_still_there(store: LeadingBackend) -> None:
    await store.apply(user("u1"), rollback("r", target="u1"))
    assert (await store.session()).message_count == 0


async def test_a_target_that_was_rolled_back_is_no_longer_found(store: LeadingBackend) -> None:
    await store.apply(user("u1", "needle"), rollback("r", target="u1"))
    assert await store.found("needle") == []


async def test_an_outcome_of_a_target_stays_applied(store: LeadingBackend) -> None:
    await store.apply(user("u1"), rollback("r", target="u1"))
    assert await store.result("u1") == "applied"


# -- answered ------------------------------------------------------------------------------------


@pytest.mark.parametrize("turn", ["u1", None], ids=["with its turn", "without any turn"])
async def test_an_answered_message_stays(store: LeadingBackend, turn: str | None) -> None:
    answer = reply("a1", turn=turn) if turn else reply("a1")
    await store.apply(user("u1", "asked"), answer, rollback("r", target="u1"))
    assert await store.texts() == ["asked", "hi"]
    assert await store.result("r") == "answered"


async def test_an_answer_counts_however_late_it_comes(store: LeadingBackend) -> None:
    await store.apply(user("u1"), user("u2"), reply("a2", turn="u2"), reply("a1", turn="u1"))
    await store.apply(rollback("r", target="u1"))
    assert await store.result("r") == "answered"


async def test_a_message_with_its_own_turn_is_answered_by_that_turn(store: LeadingBackend) -> None:
    await store.apply(user("u1", turn="u1"), reply("a1", turn="u1"), rollback("r", target="u1"))
    assert await store.result("r") == "answered"


async def test_a_message_inside_a_turn_is_answered_with_that_turn(store: LeadingBackend) -> None:
    await store.apply(user("u1", turn="u1"), user("u2", turn="u1"), reply("a1", turn="u1"))
    await store.apply(rollback("r", target="u2"))
    assert await store.result("r") == "answered"


async def test_an_answer_to_another_turn_does_not_count(store: LeadingBackend) -> None:
    await store.apply(user("u1", "one"), user("u2", "two"), reply("a2", turn="u2"))
    await store.apply(rollback("r", target="u1"))
    assert await store.result("r") == "applied"
    assert await store.texts() == ["two", "hi"]


async def test_an_answer_without_turn_goes_to_the_last_message_before_it(
    store: LeadingBackend,
) -> None:
    await store.apply(user("u1"), user("u2"), reply("a"))
    await store.apply(rollback("r1", target="u1"), rollback("r2", target="u2"))
    assert await store.result("r1") == "applied"
    assert await store.result("r2") == "answered"


async def test_an_answer_without_turn_does_not_answer_a_message_with_a_turn(
    store: LeadingBackend,
) -> None:
    await store.apply(user("u1", turn="u1"), reply("a"), rollback("r", target="u1"))
    assert await store.result("r") == "applied"


async def test_messages_of_other_roles_do_not_answer(store: LeadingBackend) -> None:
    await store.apply(user("u1"), event("append", "t", role="tool", content="x", turn="u1"))
    await store.apply(rollback("r", target="u1"))
    assert await store.result("r") == "applied"
    assert await store.texts() == ["x"]


async def test_a_message_of_another_agent_is_no_answer(store: LeadingBackend) -> None:
    await store.apply(user("u1", "mine"), user("m", "sent", turn="u1"))
    await store.apply(rollback("r", target="u1"))
    assert await store.texts() == ["sent"]


async def test_an_earlier_answer_does_not_count(store: LeadingBackend) -> None:
    await store.apply(reply("a", turn="u1"), user("u1"), rollback("r", target="u1"))
    assert await store.result("r") == "applied"


async def test_an_answer_in_another_session_does_not_count(store: LeadingBackend) -> None:
    await store.apply(user("u1"), reply("a", turn="u1", session="t"), rollback("r", target="u1"))
    assert await store.result("r") == "applied"


# -- before its target ---------------------------------------------------------------------------


async def test_a_rollback_before_its_target_suppresses_it(store: LeadingBackend) -> None:
    await store.apply(rollback("r", target="u1"))
    await store.apply(user("u1"))
    outcome = await store.outcome("r")
    assert (outcome.outcome, outcome.reason) == ("applied", "target_not_seen")
    assert await store.result("u1") == "already_rolled_back"
    assert await store.backend.session("s") is None


async def test_the_same_within_one_batch(store: LeadingBackend) -> None:
    await store.apply(user("u0", "before"), rollback("r", target="u1"), user("u1", "late"))
    assert await store.texts() == ["before"]
    assert await store.result("u1") == "already_rolled_back"


async def test_an_unseen_target_has_no_outcome(store: LeadingBackend) -> None:
    await store.apply(rollback("r", target="u1"))
    assert await store.backend.outcome("u1") is None


async def test_a_second_rollback_of_an_unseen_target_has_no_effect(store: LeadingBackend) -> None:
    await store.apply(rollback("r1", target="u1"), rollback("r2", target="u1"))
    assert await store.result("r2") == "already_rolled_back"


async def test_a_suppressed_target_stays_suppressed_for_later_rollbacks(
    store: LeadingBackend,
) -> None:
    await store.apply(rollback("r1", target="u1"), user("u1"), rollback("r2", target="u1"))
    assert await store.result("r2") == "already_rolled_back"


async def test_a_rollback_of_another_session_does_not_suppress(store: LeadingBackend) -> None:
    await store.apply(rollback("r", target="u1", session="t"), user("u1"))
    assert await store.texts() == ["hello"]


async def test_rollbacks_of_two_sessions_wait_for_one_id_each(store: LeadingBackend) -> None:
    await store.apply(rollback("r1", target="u1"))
    await store.apply(rollback("r2", target="u1", session="t"))
    assert await store.result("r2") == "target_not_seen"
    await store.apply(user("u1"))
    assert await store.result("u1") == "already_rolled_back"


async def test_only_a_user_append_is_suppressed(store: LeadingBackend) -> None:
    await store.apply(rollback("r", target="e1"), reply("e1", "kept"))
    assert await store.texts() == ["kept"]


async def test_a_suppressed_target_redelivered_stays_away(store: LeadingBackend) -> None:
    await store.apply(rollback("r", target="u1"), user("u1"), user("u1"))
    assert await store.backend.session("s") is None
    assert (await store.outcome("u1")).duplicates == 1


async def test_a_target_that_comes_after_a_reset_is_still_suppressed(store: LeadingBackend) -> None:
    await store.apply(user("u0"), rollback("r", target="u1"), reset("x"), user("u1"))
    assert await store.texts() == []


# -- no effect -----------------------------------------------------------------------------------


async def test_a_second_rollback_says_so(store: LeadingBackend) -> None:
    await store.apply(user("u1"), rollback("r1", target="u1"), rollback("r2", target="u1"))
    assert await store.result("r2") == "already_rolled_back"


async def test_a_target_of_an_earlier_generation_was_reset(store: LeadingBackend) -> None:
    await store.apply(user("u1"), reset("x"), user("u2", "kept"), rollback("r", target="u1"))
    assert await store.result("r") == "reset"
    assert await store.texts() == ["kept"]


async def test_a_target_from_before_a_delete_was_deleted(store: LeadingBackend) -> None:
    await store.apply(user("u1"), delete("x"), user("u2", "kept"), rollback("r", target="u1"))
    assert await store.result("r") == "deleted"
    assert await store.texts() == ["kept"]


async def test_a_target_that_was_rolled_back_before_a_reset_still_says_so(
    store: LeadingBackend,
) -> None:
    await store.apply(user("u1"), rollback("r1", target="u1"), reset("x"))
    await store.apply(rollback("r2", target="u1"))
    assert await store.result("r2") == "already_rolled_back"


async def test_a_rollback_in_a_deleted_session_has_no_effect(store: LeadingBackend) -> None:
    await store.apply(user("u1"), delete("x"), rollback("r", target="u1", close_with="no"))
    assert await store.result("r") == "session_deleted"


@pytest.mark.parametrize("there", [[context("c", session="t")], []], ids=["known", "unknown"])
async def test_a_target_of_another_session_stays(
    store: LeadingBackend, there: list[Fields]
) -> None:
    await store.apply(user("u1"), *there, rollback("r", target="u1", session="t"))
    assert await store.result("r") == "wrong_session"
    assert await store.texts() == ["hello"]


@pytest.mark.parametrize(
    "target",
    [reply("e1"), rename("e1", "n"), context("e1"), state("e1", "idle"), reset("e1")],
    ids=["assistant append", "rename", "context", "state", "reset"],
)
async def test_only_a_user_append_can_be_rolled_back(store: LeadingBackend, target: Fields) -> None:
    await store.apply(context("c"), target, rollback("r", target="e1"))
    assert await store.result("r") == "not_user_append"
    assert await store.result("e1") == "applied"


async def test_a_target_without_effect_cannot_be_rolled_back(store: LeadingBackend) -> None:
    await store.apply(user("u1", if_exists="1"), context("c"), rollback("r", target="u1"))
    assert await store.result("r") == "not_applied"


async def test_a_dead_target_cannot_be_rolled_back(store: LeadingBackend) -> None:
    await store.apply(context("c"), poison("e1"), rollback("r", target="e1"))
    assert await store.result("r") == "not_applied"


async def test_a_target_without_effect_of_another_session_is_of_another_session(
    store: LeadingBackend,
) -> None:
    await store.apply(user("u1", if_exists="1", session="t"), context("c"))
    await store.apply(rollback("r", target="u1"))
    assert await store.result("r") == "wrong_session"


async def test_a_rollback_redelivered_removes_nothing_more(store: LeadingBackend) -> None:
    await store.apply(user("u1", "ok"), user("u2", "ok"))
    await store.apply(rollback("r", expect="ok"), rollback("r", expect="ok"))
    assert await store.texts() == ["ok"]


# -- by content ----------------------------------------------------------------------------------


async def test_expect_removes_the_last_message(store: LeadingBackend) -> None:
    await store.apply(user("u1", "one"), user("u2", "two"), rollback("r", expect="two"))
    assert await store.texts() == ["one"]
    assert await store.result("r") == "applied"


@pytest.mark.parametrize(
    "last",
    [user("e2", "other"), user("e2", "two "), reply("e2", "two"), user("e2", "")],
    ids=["another text", "a longer text", "another role", "an empty text"],
)
async def test_expect_removes_nothing_else(store: LeadingBackend, last: Fields) -> None:
    await store.apply(user("e1", "two"), last, rollback("r", expect="two"))
    assert await store.result("r") == "not_last"
    assert len(await store.texts()) == 2


async def test_expect_may_be_empty(store: LeadingBackend) -> None:
    await store.apply(user("u1", ""), rollback("r", expect=""))
    assert await store.result("r") == "applied"
    assert await store.texts() == []


async def test_expect_in_an_empty_session_finds_nothing(store: LeadingBackend) -> None:
    await store.apply(context("c"), rollback("r", expect="one"))
    assert await store.result("r") == "not_last"


async def test_expect_without_a_session_finds_none(store: LeadingBackend) -> None:
    await store.apply(rollback("r", expect="one"))
    assert await store.result("r") == "no_session"


async def test_what_expect_removed_was_rolled_back(store: LeadingBackend) -> None:
    await store.apply(user("u1"), rollback("r1", expect="hello"), rollback("r2", target="u1"))
    assert await store.result("r2") == "already_rolled_back"


# -- close_with ----------------------------------------------------------------------------------


async def test_an_answered_turn_is_closed_instead(store: LeadingBackend) -> None:
    await store.apply(user("u1"), reply("a1", "half", turn="u1"))
    await store.apply(rollback("r", target="u1", close_with="[failed]"))
    closing = (await store.messages())[-1]
    assert (closing.id, closing.role, closing.content, closing.turn) == (
        "r",
        "assistant",
        "[failed]",
        "u1",
    )
    outcome = await store.outcome("r")
    assert (outcome.outcome, outcome.reason) == ("noop", "answered")


async def test_a_turn_is_closed_once(store: LeadingBackend) -> None:
    await store.apply(user("u1"), reply("a1", turn="u1"))
    await store.apply(rollback("r1", target="u1", close_with="[failed]"))
    await store.apply(rollback("r2", target="u1", close_with="[failed again]"))
    assert await store.texts() == ["hello", "hi", "[failed]"]
    assert await store.result("r2") == "answered"


async def test_the_same_rollback_redelivered_closes_nothing_more(store: LeadingBackend) -> None:
    closing = rollback("r", target="u1", close_with="[failed]")
    await store.apply(user("u1"), reply("a1", turn="u1"), closing, closing)
    assert await store.texts() == ["hello", "hi", "[failed]"]


async def test_a_rollback_without_closing_does_not_use_up_the_closing(
    store: LeadingBackend,
) -> None:
    await store.apply(user("u1"), reply("a1", turn="u1"), rollback("r1", target="u1"))
    await store.apply(rollback("r2", target="u1", close_with="[failed]"))
    assert await store.texts() == ["hello", "hi", "[failed]"]


async def test_two_turns_are_closed_each(store: LeadingBackend) -> None:
    await store.apply(user("u1"), reply("a1", turn="u1"), user("u2"), reply("a2", turn="u2"))
    await store.apply(rollback("r1", target="u1", close_with="[1]"))
    await store.apply(rollback("r2", target="u2", close_with="[2]"))
    assert (await store.texts())[-2:] == ["[1]", "[2]"]


async def test_what_is_no_longer_last_is_closed_instead(store: LeadingBackend) -> None:
    await store.apply(user("u1", "mine"), user("m", "sent"))
    await store.apply(rollback("r", expect="mine", turn="u1", close_with="[failed]"))
    assert await store.texts() == ["mine", "sent", "[failed]"]
    assert (await store.messages())[-1].turn == "u1"


async def test_a_message_that_was_removed_is_not_closed(store: LeadingBackend) -> None:
    await store.apply(user("u1"), rollback("r", target="u1", close_with="[failed]"))
    assert await store.texts() == []


@pytest.mark.parametrize(
    "before",
    [
        [user("u1"), rollback("x", target="u1")],
        [user("u1"), reset("x")],
        [user("u1"), delete("x"), user("u2", "hi")],
        [user("u1", session="t")],
        [reply("u1")],
        [rollback("x", target="u1")],
        [],
    ],
    ids=["rolled back", "reset", "deleted", "wrong session", "no user append", "awaited", "unseen"],
)
async def test_nothing_is_closed_for_another_reason(
    store: LeadingBackend, before: list[Fields]
) -> None:
    await store.apply(context("c"), *before)
    texts = await store.texts()
    await store.apply(rollback("r", target="u1", close_with="[failed]"))
    assert await store.texts() == texts


async def test_a_closing_is_a_message_like_others(store: LeadingBackend) -> None:
    await store.apply(user("u1"), reply("a1", turn="u1"))
    store.clock.pass_days(1)
    await store.apply(rollback("r", target="u1", close_with="needle"))
    session = await store.session()
    assert session.message_count == 3
    assert session.last_activity == store.clock.now
    assert await store.found("needle") == ["needle"]


async def test_an_empty_closing_is_appended_too(store: LeadingBackend) -> None:
    await store.apply(user("u1"), reply("a1", turn="u1"))
    await store.apply(rollback("r", target="u1", close_with=""))
    assert await store.texts() == ["hello", "hi", ""]


async def test_a_closing_answers_like_any_assistant_append(store: LeadingBackend) -> None:
    await store.apply(user("u1", "one"), user("u2", "two"))
    await store.apply(rollback("r1", expect="one", close_with="[failed]"))
    await store.apply(rollback("r2", target="u2"))
    assert await store.result("r2") == "answered"


async def test_a_closing_of_an_earlier_generation_is_gone(store: LeadingBackend) -> None:
    await store.apply(user("u1"), reply("a1", turn="u1"))
    await store.apply(rollback("r", target="u1", close_with="[failed]"), reset("x"))
    assert await store.texts() == []
    await store.apply(rollback("r", target="u1", close_with="[failed]"))
    assert await store.texts() == []
