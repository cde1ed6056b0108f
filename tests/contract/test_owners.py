"""Rule 10: whose a session is, decided as each event is applied."""

from __future__ import annotations

import pytest

from tests.events import (
    Fields,
    context,
    delete,
    hand_over,
    owner,
    rename,
    reply,
    reset,
    rollback,
    state,
    user,
)
from tests.stores import LeadingBackend

# What an entry point publishes for an agent's token.
MINE: Fields = {"agent": "a", "by": "a"}
THEIRS: Fields = {"agent": "b", "by": "b"}


def every_type(event_id: str) -> list[Fields]:
    """An event of each type that is about a session."""
    return [
        user(event_id),
        reply(event_id),
        rollback(event_id, target="u1"),
        rollback(event_id, target="unseen"),
        rollback(event_id, expect="hello"),
        reset(event_id),
        delete(event_id),
        rename(event_id, "stolen"),
        state(event_id, "error"),
        context(event_id, room="elsewhere"),
    ]


@pytest.mark.parametrize("number", range(len(every_type("x"))))
@pytest.mark.parametrize("by", [{}, {"by": "b"}])
async def test_an_event_of_another_agent_changes_nothing(
    store: LeadingBackend, number: int, by: Fields
) -> None:
    await store.apply({**user("u1"), **MINE})
    before = await store.session(), await store.messages()
    await store.apply({**every_type("x")[number], "agent": "b", **by})
    await store.apply({**every_type("y")[number], "agent": "b", "if_exists": "1", **by})
    space = "b" if by else None
    assert await store.result("x", by=space) == "not_owner"
    assert await store.result("y", by=space) == "no_session"
    assert (await store.session(), await store.messages()) == before


@pytest.mark.parametrize("number", range(len(every_type("x"))))
async def test_a_deleted_session_of_another_agent_never_was(
    store: LeadingBackend, number: int
) -> None:
    event = {**every_type("x")[number], **THEIRS}
    await store.apply(
        {**user("u1"), **MINE}, {**delete("d"), **MINE}, event, {**event, "session": "new"}
    )
    deleted = await store.result("x", by="b")
    await store.apply({**event, "id": "y", "session": "never"})
    assert deleted == await store.result("y", by="b")


async def test_the_next_owner_of_a_key_learns_nothing_of_the_one_before(
    store: LeadingBackend,
) -> None:
    routing: Fields = {"channel": "tg.1", "room": "r", "sender": "s"}
    await store.apply(
        {**user("u1"), **MINE, **routing},
        {**rename("n", "Secret"), **MINE},
        {**delete("d"), **MINE},
    )
    await store.apply({**user("u1", "fresh"), **THEIRS})
    session = await store.session()
    assert (session.agent, session.name, session.channel, session.room, session.sender) == (
        *("b", None, None, None, None),
    )
    assert [message.seq for message in await store.messages()] == [1]


async def test_the_same_owner_goes_on_counting(store: LeadingBackend) -> None:
    await store.apply({**user("u1"), **MINE}, {**delete("d"), **MINE}, {**user("u2"), **MINE})
    assert [message.seq for message in await store.messages()] == [2]


async def test_a_tombstone_keeps_owner_and_routing(store: LeadingBackend) -> None:
    await store.apply({**user("u1"), **MINE, "channel": "tg.1", "room": "r", "sender": "s"})
    await store.apply(delete("d"))
    routing = await store.backend.routing_of("s")
    assert routing is not None
    assert (routing.agent, routing.channel, routing.room, routing.sender, routing.live) == (
        *("a", "tg.1", "r", "s", False),
    )


async def test_a_channels_message_claims_a_session_without_owner(store: LeadingBackend) -> None:
    await store.apply(user("u1", channel="tg.1"), user("u2", agent="a", channel="tg.1"))
    assert (await store.session()).agent == "a"


async def test_a_token_claims_only_with_the_sessions_channel(store: LeadingBackend) -> None:
    await store.apply(user("u1", channel="tg.1"), user("v1", session="free"))
    await store.apply(
        {**user("x1"), **THEIRS},
        {**user("x2"), **THEIRS, "channel": "tg.2"},
        {**user("x3", session="free"), **THEIRS, "channel": "tg.2"},
        {**rename("x4", "mine"), **THEIRS},
        {**delete("x5"), **THEIRS, "if_exists": "1"},
    )
    for number in range(1, 5):
        assert await store.result(f"x{number}", by="b") == "not_owner"
    assert await store.result("x5", by="b") == "no_session"
    assert (await store.session()).agent is None
    await store.apply({**user("x6"), **MINE, "channel": "tg.1"})
    assert (await store.session()).agent == "a"


async def test_an_operators_event_is_not_checked(store: LeadingBackend) -> None:
    await store.apply({**user("u1"), **MINE}, rename("n", "Kitchen"), reset("r"))
    assert (await store.session()).name == "Kitchen"
    assert await store.texts() == []


async def test_a_send_to_another_agent_names_the_owner_and_never_answers(
    store: LeadingBackend,
) -> None:
    sent: Fields = {"agent": "a", "by": "b"}
    await store.apply(
        {**user("u1"), "agent": "a"},
        {**user("m1", "from b"), **sent},
        {**reply("m2", "no answer"), **sent},
        {**reply("m3", "none either", turn="u1"), **sent},
        rollback("x", target="u1", agent="a"),
    )
    assert await store.result("x") == "applied"
    assert [(message.content, message.by) for message in await store.messages()] == [
        *(("from b", "b"), ("no answer", "b"), ("none either", "b")),
    ]


# -- owner events ------------------------------------------------------------------------------


async def test_an_owner_event_gives_a_session_away(store: LeadingBackend) -> None:
    await store.apply({**user("u1"), **MINE}, owner("o", "b"))
    assert (await store.session()).agent == "b"
    await store.apply(owner("p", ""))
    assert (await store.session()).agent is None


async def test_an_owner_event_may_expect_the_owner_so_far(store: LeadingBackend) -> None:
    await store.apply({**user("u1"), **MINE})
    await store.apply(owner("o", "c", expect_agent="b"), owner("p", "c", expect_agent=""))
    assert [await store.result(one) for one in ("o", "p")] == ["not_owner", "not_owner"]
    await store.apply(owner("q", "c", expect_agent="a"))
    assert (await store.session()).agent == "c"


async def test_all_sessions_of_an_agent_are_given_at_once(store: LeadingBackend) -> None:
    await store.apply(
        *({**user(f"u{n}", session=f"s{n}"), **MINE} for n in range(5)),
        {**user("v", session="other"), **THEIRS},
        {**delete("d", session="s4"), **MINE},
        hand_over("o", "a", "c"),
        {**user("w", session="s0"), "agent": "c", "by": "c"},
        {**user("x", session="s1"), **MINE},
        {**user("y", session="s4"), "agent": "c", "by": "c"},
    )
    assert await store.backend.owners() == [("c", 5), ("b", 1)]
    assert await store.result("x", by="a") == "not_owner"
    # The tombstone came along: its new owner goes on counting.
    assert [message.seq for message in await store.messages("s4")] == [2]
    await store.apply(hand_over("p", "nobody-has-this", "c"))
    assert await store.result("p") == "no_session"


@pytest.mark.parametrize(
    "event", [owner("o", "b", by="b"), {**hand_over("o", "a", "b"), "by": "b"}]
)
async def test_a_token_gives_nothing_away(store: LeadingBackend, event: Fields) -> None:
    await store.apply({**user("u1"), **MINE}, event)
    assert await store.result("o", by="b") == "not_owner"
    assert (await store.session()).agent == "a"


async def test_a_session_that_is_not_there_cannot_be_given(store: LeadingBackend) -> None:
    await store.apply(owner("o", "b"), user("u1"), delete("d"), owner("p", "b"))
    assert [await store.result(one) for one in ("o", "p")] == ["no_session", "session_deleted"]


async def test_an_owner_event_without_agent_or_session_is_a_dead_letter(
    store: LeadingBackend,
) -> None:
    nobody = owner("o", "b")
    del nobody["agent"]
    await store.apply(nobody, {**hand_over("p", "a", "b"), "expect_agent": ""})
    assert [await store.result(one) for one in ("o", "p")] == ["invalid_field", "invalid_field"]
