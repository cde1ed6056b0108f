"""Rule 2: events of one session take effect in the order of the stream."""

from __future__ import annotations

from tests.events import delete, rename, reply, reset, rollback, state, user
from tests.stores import LeadingBackend


async def test_messages_stand_in_the_order_of_the_stream(store: LeadingBackend) -> None:
    await store.apply(*(user(f"e{n}", str(n)) for n in range(5)))
    await store.apply(*(user(f"e{n}", str(n)) for n in range(5, 8)))
    assert await store.texts() == [str(n) for n in range(8)]


async def test_the_order_is_the_streams_and_not_the_producers_clock(store: LeadingBackend) -> None:
    await store.apply(
        user("e1", "first", at=store.clock.text(days=-1)),
        user("e2", "second", at=store.clock.text(days=-2)),
    )
    assert await store.texts() == ["first", "second"]


async def test_sessions_that_interleave_keep_their_own_order(store: LeadingBackend) -> None:
    await store.apply(
        user("a1", "1", session="a"),
        user("b1", "1", session="b"),
        reply("a2", "2", session="a"),
        reply("b2", "2", session="b"),
        user("a3", "3", session="a"),
    )
    assert await store.texts("a") == ["1", "2", "3"]
    assert await store.texts("b") == ["1", "2"]


async def test_sequence_numbers_grow_from_one_in_each_session(store: LeadingBackend) -> None:
    await store.apply(user("a1", session="a"), user("b1", session="b"), user("a2", session="a"))
    assert [message.seq for message in await store.messages("a")] == [1, 2]
    assert [message.seq for message in await store.messages("b")] == [1]


async def test_a_sequence_number_is_never_used_twice(store: LeadingBackend) -> None:
    await store.apply(user("e1"), rollback("r", target="e1"), user("e2"), reset("x"), user("e3"))
    await store.apply(delete("y"), user("e4"))
    assert [message.seq for message in await store.messages()] == [4]


async def test_of_two_names_the_later_one_stands(store: LeadingBackend) -> None:
    await store.apply(user("e1"), rename("n1", "first"), rename("n2", "second"))
    assert (await store.session()).name == "second"


async def test_of_two_states_the_later_one_stands(store: LeadingBackend) -> None:
    await store.apply(user("e1", state="running"), state("s1", "idle"))
    assert (await store.session()).state == "idle"
    await store.apply(state("s2", "idle"), user("e2", state="running"))
    assert (await store.session()).state == "running"


async def test_what_comes_after_a_reset_stays(store: LeadingBackend) -> None:
    await store.apply(user("e1", "before"), reset("x"), user("e2", "after"))
    assert await store.texts() == ["after"]


async def test_nothing_that_comes_before_its_session_is_kept_for_it(store: LeadingBackend) -> None:
    await store.apply(rename("n", "early"), state("s", "error"), user("e1"))
    session = await store.session()
    assert (session.name, session.state) == (None, "idle")
