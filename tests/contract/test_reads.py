"""Lists, histories, pages, scopes and filters."""

from __future__ import annotations

from typing import Any

import pytest

from sessions.errors import InvalidRequest
from sessions.ids import stored_id
from sessions.reading import Scope, SessionFilter
from sessions.store.backend import SessionBackend
from tests.events import Fields, context, delete, rename, reply, reset, rollback, state, user
from tests.stores import LeadingBackend


async def listed(store: LeadingBackend, scope: Scope | None = None, **where: Any) -> list[str]:
    """The keys of a list, in its order."""
    page = await store.backend.sessions(
        scope=scope, where=SessionFilter(**where) if where else None, limit=1000
    )
    return [session.key for session in page.items]


# -- an empty store ------------------------------------------------------------------------------


async def test_a_new_store_is_empty(backend: SessionBackend) -> None:
    assert (await backend.sessions()).items == []
    assert (await backend.history("s")).items == []
    assert (await backend.search("word")).items == []
    assert (await backend.dead_letters()).items == []
    assert await backend.session("s") is None
    assert await backend.outcome("e") is None
    assert await backend.counts() == {
        "sessions": 0,
        "messages": 0,
        "dead_letters": 0,
        "events": 0,
    }


async def test_everything_is_counted(store: LeadingBackend) -> None:
    await store.apply(user("u1"), reply("a1"), user("t1", session="t"), user("w1", session="w"))
    await store.apply(delete("x", session="w"), {"v": "1"})
    counts = await store.backend.counts()
    assert counts == {"sessions": 2, "messages": 3, "dead_letters": 1, "events": 5}


# -- sessions ------------------------------------------------------------------------------------


async def test_sessions_are_listed_by_last_activity_newest_first(store: LeadingBackend) -> None:
    await store.apply(
        user("a", session="a", at=store.clock.text(days=-2)),
        user("b", session="b", at=store.clock.text(days=-1)),
        user("c", session="c", at=store.clock.text(days=-3)),
    )
    assert await listed(store) == ["b", "a", "c"]
    await store.apply(user("c2", session="c"))
    assert await listed(store) == ["c", "b", "a"]


async def test_sessions_of_one_moment_are_all_listed_over_the_pages(store: LeadingBackend) -> None:
    await store.apply(*(user(f"e{n}", session=f"s{n}") for n in range(10)))
    assert sorted(await paged(store, limit=3)) == sorted(f"s{n}" for n in range(10))


async def paged(store: LeadingBackend, *, limit: int) -> list[str]:
    """All keys, page by page."""
    keys: list[str] = []
    cursor = None
    while True:
        page = await store.backend.sessions(limit=limit, cursor=cursor)
        assert len(page.items) <= limit
        keys += [session.key for session in page.items]
        cursor = page.next_cursor
        if cursor is None:
            return keys


async def spread(store: LeadingBackend, count: int) -> None:
    """Sessions of which each was active a day before the one before."""
    await store.apply(
        *(user(f"e{n}", session=f"s{n}", at=store.clock.text(days=-n)) for n in range(count))
    )


@pytest.mark.parametrize("limit", [1, 2, 3, 6, 7])
async def test_pages_show_every_session_once_and_in_order(
    store: LeadingBackend, limit: int
) -> None:
    await spread(store, 6)
    assert await paged(store, limit=limit) == [f"s{n}" for n in range(6)]


async def test_the_last_page_says_that_it_is_the_last(store: LeadingBackend) -> None:
    await spread(store, 4)
    first = await store.backend.sessions(limit=2)
    second = await store.backend.sessions(limit=2, cursor=first.next_cursor)
    assert first.next_cursor is not None
    assert second.next_cursor is None


async def test_a_session_that_becomes_active_between_pages_is_not_shown_again(
    store: LeadingBackend,
) -> None:
    await spread(store, 6)
    first = await store.backend.sessions(limit=3)
    await store.apply(user("again", session="s0"), user("new", session="new"))
    rest = await store.backend.sessions(limit=10, cursor=first.next_cursor)
    assert [session.key for session in rest.items] == ["s3", "s4", "s5"]


async def test_a_session_that_goes_between_pages_takes_no_other_with_it(
    store: LeadingBackend,
) -> None:
    await spread(store, 6)
    first = await store.backend.sessions(limit=3)
    await store.apply(delete("x", session="s2"), delete("y", session="s4"))
    rest = await store.backend.sessions(limit=10, cursor=first.next_cursor)
    assert [session.key for session in rest.items] == ["s3", "s5"]


async def test_times_before_1970_can_be_paged_over(store: LeadingBackend) -> None:
    await store.apply(
        *(user(f"e{n}", session=f"s{n}", at=f"19{n}0-01-01T00:00:00Z") for n in range(5))
    )
    assert await paged(store, limit=2) == ["s4", "s3", "s2", "s1", "s0"]


@pytest.mark.parametrize("cursor", ["", "x", "1", "1.x", "1.2.3", "1;2", "-", ".", "1." + "9" * 99])
async def test_a_strange_cursor_of_sessions_is_refused(store: LeadingBackend, cursor: str) -> None:
    with pytest.raises(InvalidRequest):
        await store.backend.sessions(cursor=cursor)


async def test_a_session_is_found_by_its_exact_key(store: LeadingBackend) -> None:
    await store.apply(user("e1", session="gw_1"))
    assert await store.backend.session("1") is None
    assert await store.backend.session("GW_1") is None
    assert (await store.session("gw_1")).key == "gw_1"


# -- one message ---------------------------------------------------------------------------------


async def test_a_message_is_found_by_the_id_of_its_event(store: LeadingBackend) -> None:
    await store.apply(user("u1"), reply("u1:reply", "first"), user("u1", session="t"))
    await store.apply(*(user(f"e{n}") for n in range(60)))
    found = await store.backend.message("u1:reply")
    assert found is not None
    assert (found.session, found.message.content, found.message.id) == ("s", "first", "u1:reply")


async def test_what_made_no_message_has_none(store: LeadingBackend) -> None:
    await store.apply(user("u1"), state("s1", "running"))
    assert await store.backend.message("s1") is None
    assert await store.backend.message("never") is None


async def test_an_id_is_looked_for_among_those_of_its_publisher(store: LeadingBackend) -> None:
    await store.apply(user("u1", "by an agent", by="anna"))
    assert await store.backend.message("u1") is None
    found = await store.backend.message(stored_id("u1", "anna"))
    assert found is not None
    assert found.message.content == "by an agent"


@pytest.mark.parametrize(
    "erasing",
    [rollback("r", target="u1"), reset("x"), delete("y")],
    ids=["rollback", "reset", "delete"],
)
async def test_a_message_that_was_erased_is_not_found(
    store: LeadingBackend, erasing: Fields
) -> None:
    await store.apply(user("u1"))
    assert await store.backend.message("u1") is not None
    await store.apply(erasing)
    assert await store.backend.message("u1") is None
    await store.apply(user("u2"))
    assert await store.backend.message("u1") is None


# -- filters -------------------------------------------------------------------------------------


async def town(store: LeadingBackend) -> None:
    """Some sessions of several owners, channels and states."""
    await store.apply(
        context("e1", session="own", agent="a"),
        context("e2", session="owned elsewhere", agent="b", channel="a.chan"),
        context("e3", session="by channel", channel="a.chan"),
        context("e4", session="other channel", channel="b.chan"),
        context("e5", session="nobody's"),
        context("e6", session="both", agent="a", channel="a.chan"),
        state("s1", "running", session="own"),
        state("s2", "error", session="by channel"),
    )


async def test_a_list_is_narrowed_to_an_agent(store: LeadingBackend) -> None:
    await town(store)
    assert set(await listed(store, agent="a")) == {"own", "both"}


async def test_a_list_is_narrowed_to_a_channel(store: LeadingBackend) -> None:
    await town(store)
    assert set(await listed(store, channel="a.chan")) == {"owned elsewhere", "by channel", "both"}


async def test_a_list_is_narrowed_to_a_state(store: LeadingBackend) -> None:
    await town(store)
    assert await listed(store, state="running") == ["own"]
    assert await listed(store, state="error") == ["by channel"]
    assert len(await listed(store, state="idle")) == 4


async def test_a_list_is_narrowed_to_recent_activity(store: LeadingBackend) -> None:
    await spread(store, 4)
    [_, second, *_] = (await store.backend.sessions()).items
    assert await listed(store, since=second.last_activity) == ["s0", "s1"]


async def test_a_list_is_narrowed_to_a_prefix(store: LeadingBackend) -> None:
    keys = ["gw_1", "gw_2", "GW_3", "gwx", "g\0w", "gw\0", "g%w"]
    await store.apply(*(user(f"e{n}", session=key) for n, key in enumerate(keys)))
    assert set(await listed(store, prefix="gw_")) == {"gw_1", "gw_2"}
    assert await listed(store, prefix="g\0") == ["g\0w"]
    assert await listed(store, prefix="g%") == ["g%w"]
    assert set(await listed(store, prefix="")) == set(keys)


async def test_a_prefix_is_made_of_characters(store: LeadingBackend) -> None:
    await store.apply(user("e1", session="\u00e9t\u00e9"), user("e2", session="\u00e8re"))
    assert await listed(store, prefix="\u00e9") == ["\u00e9t\u00e9"]


async def test_filters_together_narrow_further(store: LeadingBackend) -> None:
    await town(store)
    assert await listed(store, agent="a", channel="a.chan") == ["both"]
    assert await listed(store, agent="a", state="running", prefix="o") == ["own"]
    assert await listed(store, agent="b", state="running") == []


async def test_filtered_lists_are_paged_too(store: LeadingBackend) -> None:
    await spread(store, 9)
    await store.apply(*(state(f"x{n}", "running", session=f"s{n}") for n in range(0, 9, 2)))
    where = SessionFilter(state="running")
    first = await store.backend.sessions(where=where, limit=3)
    second = await store.backend.sessions(where=where, limit=3, cursor=first.next_cursor)
    keys = [session.key for session in [*first.items, *second.items]]
    assert keys == ["s0", "s2", "s4", "s6", "s8"]
    assert second.next_cursor is None


async def test_a_deleted_session_passes_no_filter(store: LeadingBackend) -> None:
    await store.apply(context("e1", agent="a", channel="c"), delete("x"))
    assert await listed(store, agent="a") == []
    assert await listed(store, channel="c") == []
    assert await listed(store, state="idle") == []


# -- scope ---------------------------------------------------------------------------------------


async def test_without_an_agent_every_session_is_in_scope(store: LeadingBackend) -> None:
    await town(store)
    assert len(await listed(store)) == len(await listed(store, Scope())) == 6


async def test_an_agent_sees_its_own_sessions_and_the_free_ones_of_its_channels(
    store: LeadingBackend,
) -> None:
    await town(store)
    assert set(await listed(store, Scope("a"))) == {"own", "both"}
    assert set(await listed(store, Scope("a", ("a.chan",)))) == {"own", "both", "by channel"}
    both = Scope("a", ("a.chan", "b.chan"))
    assert set(await listed(store, both)) == {"own", "both", "by channel", "other channel"}
    assert await listed(store, Scope("nobody", ("none",))) == []


async def test_a_channel_that_is_named_twice_counts_once(store: LeadingBackend) -> None:
    await town(store)
    twice = Scope("a", ("a.chan", "a.chan"))
    assert sorted(await listed(store, twice)) == ["both", "by channel", "own"]


async def test_scope_and_filter_both_hold(store: LeadingBackend) -> None:
    await town(store)
    scope = Scope("a", ("a.chan",))
    assert await listed(store, scope, agent="b") == []
    assert set(await listed(store, scope, channel="a.chan")) == {"both", "by channel"}
    assert await listed(store, scope, state="error") == ["by channel"]


async def test_a_scoped_list_is_in_order_over_all_its_parts(store: LeadingBackend) -> None:
    await store.apply(
        *(
            user(f"e{n}", session=f"s{n}", at=store.clock.text(days=-n), **owner)
            for n, owner in enumerate([{"agent": "a"}, {"channel": "c"}, {"channel": "d"}] * 3)
        )
    )
    scope = Scope("a", ("c", "d"))
    keys: list[str] = []
    cursor = None
    for _ in range(9):
        page = await store.backend.sessions(scope=scope, limit=2, cursor=cursor)
        keys += [session.key for session in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert keys == [f"s{n}" for n in range(9)]


# -- history -------------------------------------------------------------------------------------


async def test_a_history_shows_the_newest_messages_oldest_first(store: LeadingBackend) -> None:
    await store.apply(*(user(f"e{n}", str(n)) for n in range(10)))
    page = await store.backend.history("s", limit=3)
    assert [message.content for message in page.items] == ["7", "8", "9"]
    assert page.next_cursor is not None


@pytest.mark.parametrize("limit", [1, 2, 5, 10, 11])
async def test_the_cursor_goes_to_older_messages(store: LeadingBackend, limit: int) -> None:
    await store.apply(*(user(f"e{n}", str(n)) for n in range(10)))
    shown: list[str] = []
    cursor = None
    while True:
        page = await store.backend.history("s", limit=limit, cursor=cursor)
        shown = [message.content for message in page.items] + shown
        cursor = page.next_cursor
        if cursor is None:
            break
    assert shown == [str(n) for n in range(10)]


async def test_messages_that_arrive_between_pages_do_not_move_the_older_ones(
    store: LeadingBackend,
) -> None:
    await store.apply(*(user(f"e{n}", str(n)) for n in range(6)))
    first = await store.backend.history("s", limit=3)
    await store.apply(user("late", "late"), rollback("r", target="e4"))
    second = await store.backend.history("s", limit=3, cursor=first.next_cursor)
    assert [message.content for message in second.items] == ["0", "1", "2"]


async def test_a_cursor_from_before_a_reset_shows_nothing_old(store: LeadingBackend) -> None:
    await store.apply(*(user(f"e{n}", str(n)) for n in range(6)))
    first = await store.backend.history("s", limit=3)
    await store.apply(reset("x"), user("new", "new"))
    assert (await store.backend.history("s", limit=3, cursor=first.next_cursor)).items == []


@pytest.mark.parametrize("cursor", ["", "x", "1.2", " 1", "1 ", "\u0661", "1\n", "9" * 99])
async def test_a_strange_cursor_of_a_history_is_refused(store: LeadingBackend, cursor: str) -> None:
    await store.apply(user("e1"))
    with pytest.raises(InvalidRequest):
        await store.backend.history("s", cursor=cursor)


@pytest.mark.parametrize("cursor", ["", "x", "1.2"])
async def test_a_strange_cursor_of_other_lists_is_refused(
    store: LeadingBackend, cursor: str
) -> None:
    with pytest.raises(InvalidRequest):
        await store.backend.dead_letters(cursor=cursor)
    with pytest.raises(InvalidRequest):
        await store.backend.search("word", cursor=cursor)


async def test_the_history_of_no_session_is_empty(store: LeadingBackend) -> None:
    await store.apply(user("e1"), delete("x"))
    for key in ("s", "never"):
        page = await store.backend.history(key)
        assert (page.items, page.next_cursor) == ([], None)


async def test_names_and_counts_are_shown_in_lists_too(store: LeadingBackend) -> None:
    await store.apply(user("e1"), rename("n", "Home"), reply("a1"))
    [session] = (await store.backend.sessions()).items
    assert session == await store.session()
    assert (session.name, session.message_count) == ("Home", 2)


async def test_a_history_of_a_generation_that_is_over_is_empty(store: LeadingBackend) -> None:
    await store.apply(user("u1", "one"))
    seen = await store.session()
    assert len((await store.backend.history("s", generation=seen.generation)).items) == 1
    for over in (delete("d"), reset("r")):
        await store.apply(over, user(f"{over['id']}-new", "another's"))
        assert (await store.backend.history("s", generation=seen.generation)).items == []
        seen = await store.session()
    assert len((await store.backend.history("s", generation=seen.generation)).items) == 1
