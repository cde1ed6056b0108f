"""Rule 8: which clock counts, and what moves `last_activity`."""

from __future__ import annotations

import pytest

from sessions import times
from sessions.times import DAY
from tests.events import (
    Fields,
    context,
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


async def test_a_message_has_the_producers_time(store: LeadingBackend) -> None:
    await store.apply(user("e1", at=store.clock.text(days=-1)))
    [message] = await store.messages()
    assert message.created_at == store.clock.now - DAY


async def test_a_message_without_time_has_the_workers(store: LeadingBackend) -> None:
    await store.apply(user("e1"))
    [message] = await store.messages()
    assert message.created_at == store.clock.now


async def test_a_time_in_another_zone_is_the_same_time(store: LeadingBackend) -> None:
    await store.apply(
        user("e1", at="2026-02-01T12:00:00Z"),
        user("e2", at="2026-02-01T13:30:00+01:30"),
        user("e3", at="2026-02-01t12:00:00.000000z"),
    )
    assert len({message.created_at for message in await store.messages()}) == 1


async def test_times_before_1970_and_far_ahead_are_kept(store: LeadingBackend) -> None:
    await store.apply(user("e1", at="1000-01-01T00:00:00Z"), user("e2", at="9998-12-31T23:59:59Z"))
    first, second = await store.messages()
    assert first.created_at < 0 < store.clock.now < second.created_at


@pytest.mark.parametrize(
    "at",
    [
        *("9999-12-31T23:59:59-23:59", "9999-01-01T00:00:00Z", "9998-12-31T23:59:59-00:01"),
        *("0999-12-31T23:59:59Z", "1000-01-01T00:00:00+00:01", "0001-01-01T00:00:00+23:59"),
    ],
)
async def test_a_time_that_not_every_store_can_show_is_poison(
    store: LeadingBackend, at: str
) -> None:
    await store.apply(user("e1"), user("e2", at=at), user("e3"))
    assert await store.result("e2") == "invalid_field"
    assert [message.id for message in await store.messages()] == ["e1", "e3"]


@pytest.mark.parametrize("at", ["1000-01-01T01:00:00+01:00", "9998-12-31T23:59:59.999999+00:00"])
async def test_the_first_and_the_last_time_are_shown_as_they_came(
    store: LeadingBackend, at: str
) -> None:
    await store.apply(user("e1", at=at))
    [message] = await store.messages()
    assert times.parse(times.render(message.created_at)) == times.parse(at)


async def test_the_last_activity_is_the_newest_message(store: LeadingBackend) -> None:
    await store.apply(user("e1", at=store.clock.text(days=-1)))
    await store.apply(reply("e2", at=store.clock.text(days=-3)))
    assert (await store.session()).last_activity == store.clock.now - DAY


async def test_the_last_activity_is_never_beyond_the_workers_clock(store: LeadingBackend) -> None:
    await store.apply(user("e1", at=store.clock.text(days=9)))
    [message] = await store.messages()
    assert message.created_at == store.clock.now + 9 * DAY
    assert (await store.session()).last_activity == store.clock.now


async def test_a_session_begins_with_its_first_event(store: LeadingBackend) -> None:
    await store.apply(user("e1", at=store.clock.text(days=-2)))
    session = await store.session()
    assert session.created_at == session.last_activity == store.clock.now - 2 * DAY


async def test_a_session_cannot_begin_in_the_future(store: LeadingBackend) -> None:
    await store.apply(user("e1", at=store.clock.text(days=2)), context("c", session="t"))
    assert (await store.session("s")).created_at == store.clock.now
    assert (await store.session("t")).created_at == store.clock.now


async def test_an_older_message_does_not_move_the_beginning(store: LeadingBackend) -> None:
    await store.apply(user("e1"), user("e2", at=store.clock.text(days=-5)))
    assert (await store.session()).created_at == store.clock.now


@pytest.mark.parametrize(
    "quiet",
    [
        rename("x", "n"),
        context("x", channel="telegram.home"),
        state("x", "running"),
        rollback("x", target="unseen"),
        reset("x"),
        poison("x"),
    ],
    ids=["rename", "context", "state", "early rollback", "reset", "poison"],
)
async def test_other_events_do_not_move_the_last_activity(
    store: LeadingBackend, quiet: Fields
) -> None:
    await store.apply(user("e1"))
    before = (await store.session()).last_activity
    store.clock.pass_days(1)
    await store.apply(quiet)
    assert (await store.session()).last_activity == before


async def test_their_own_times_do_not_count_either(store: LeadingBackend) -> None:
    await store.apply(user("e1", at=store.clock.text(days=-1)))
    await store.apply(rename("n", "x", at=store.clock.text()), context("c", at=store.clock.text()))
    assert (await store.session()).last_activity == store.clock.now - DAY


async def test_a_context_that_makes_a_session_gives_it_its_time(store: LeadingBackend) -> None:
    await store.apply(context("c", at=store.clock.text(days=-1)))
    session = await store.session()
    assert session.created_at == session.last_activity == store.clock.now - DAY


async def test_a_rolled_back_message_was_activity_all_the_same(store: LeadingBackend) -> None:
    await store.apply(user("e1", at=store.clock.text(days=-1)), user("e2"))
    await store.apply(rollback("r", target="e2"))
    assert (await store.session()).last_activity == store.clock.now


async def test_a_closing_has_the_time_of_its_rollback(store: LeadingBackend) -> None:
    await store.apply(user("u1"), reply("a1", turn="u1"))
    at = store.clock.text(days=-1)
    await store.apply(rollback("r", target="u1", close_with="closed", at=at))
    assert (await store.messages())[-1].created_at == store.clock.now - DAY


async def test_a_session_that_comes_again_has_new_times(store: LeadingBackend) -> None:
    await store.apply(user("e1"))
    store.clock.pass_days(1)
    await store.apply(delete("x"), user("e2", at=store.clock.text(days=-3)))
    session = await store.session()
    assert session.created_at == session.last_activity == store.clock.now - 3 * DAY
