"""Rule 7: every event id has one outcome, set once."""

from __future__ import annotations

from sessions.models import Position
from tests.events import context, dead, delete, poison, rename, reset, rollback, user
from tests.stores import LeadingBackend


async def test_an_unknown_id_has_no_outcome(store: LeadingBackend) -> None:
    assert await store.backend.outcome("e1") is None


async def test_an_applied_event_says_where_and_in_which_session(store: LeadingBackend) -> None:
    entry = store.stream.entry(user("e1", session="home"))
    await store.apply_entries([entry])
    outcome = await store.outcome("e1")
    assert (outcome.id, outcome.outcome, outcome.reason) == ("e1", "applied", None)
    assert (outcome.session, outcome.duplicates, outcome.detail) == ("home", 0, None)
    assert outcome.position == Position(1, entry.raw.stream_id, "e1")


async def test_an_event_without_effect_says_why_and_in_which_session(store: LeadingBackend) -> None:
    await store.apply(rename("n", "x", session="home"))
    outcome = await store.outcome("n")
    assert (outcome.outcome, outcome.reason, outcome.session) == ("noop", "no_session", "home")


async def test_a_dead_event_says_what_was_wrong(store: LeadingBackend) -> None:
    await store.apply(poison("e1", session="home"))
    outcome = await store.outcome("e1")
    assert (outcome.outcome, outcome.reason, outcome.session) == ("dead", "unknown_type", "home")
    assert "no-such-type" in (outcome.detail or "")


async def test_an_early_rollback_is_applied_and_says_so(store: LeadingBackend) -> None:
    await store.apply(rollback("r", target="u1", session="home"))
    outcome = await store.outcome("r")
    assert (outcome.outcome, outcome.reason) == ("applied", "target_not_seen")
    assert outcome.session == "home"


async def test_an_applied_dead_event_has_no_session(store: LeadingBackend) -> None:
    await store.apply(poison("e1"))
    [letter] = await store.letters()
    await store.apply(dead("d", "purge", letter.id))
    outcome = await store.outcome("d")
    assert (outcome.outcome, outcome.reason, outcome.session) == ("applied", None, None)


async def test_the_outcome_of_a_delete_still_names_the_session(store: LeadingBackend) -> None:
    await store.apply(user("e1"), delete("x"))
    assert (await store.outcome("x")).session == "s"
    assert (await store.outcome("e1")).session == "s"


async def test_every_type_has_an_outcome(store: LeadingBackend) -> None:
    await store.apply(user("a"), context("b"), rename("c", "n"), reset("d"), delete("e"))
    assert [await store.result(event_id) for event_id in "abcde"] == ["applied"] * 5


async def test_later_entries_only_raise_the_duplicates(store: LeadingBackend) -> None:
    await store.apply(user("e1"))
    first = await store.outcome("e1")
    await store.apply(user("e1"), user("e1", "other"), poison("e1"))
    after = await store.outcome("e1")
    assert after.duplicates == 3
    assert (after.outcome, after.position, after.detail) == (
        first.outcome,
        first.position,
        first.detail,
    )


async def test_a_position_names_the_epoch_in_which_the_event_took_effect(
    store: LeadingBackend,
) -> None:
    await store.apply(user("e1"))
    await store.backend.begin_epoch(skipped=0)
    await store.apply(user("e2"))
    assert (await store.outcome("e1")).position.epoch == 1
    assert (await store.outcome("e2")).position.epoch == 2


async def test_known_ids_are_counted(store: LeadingBackend) -> None:
    await store.apply(user("e1"), rename("n", "x"), poison("p"), rollback("r", target="unseen"))
    assert (await store.backend.counts())["events"] == 4
