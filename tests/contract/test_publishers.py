"""Rule 11: an id belongs to its publisher; nobody else can use it up or take its event back."""

from __future__ import annotations

from sessions.ids import stored_id
from sessions.models import LetterBounds
from tests.events import Fields, delete, poison, reply, reset, rollback, user
from tests.stores import Clock, LeadingBackend, Open, lead

A: Fields = {"agent": "a", "by": "a"}
B: Fields = {"agent": "b", "by": "b"}


async def test_the_same_id_of_two_publishers_is_two_events(store: LeadingBackend) -> None:
    await store.apply(
        {**user("e1", "of b", session="b"), **B},
        {**user("e1", "of a", session="a"), **A},
        user("e1", "of a channel", session="c"),
    )
    assert [await store.texts(key) for key in "abc"] == [["of a"], ["of b"], ["of a channel"]]
    outcomes = [await store.outcome("e1", by=by) for by in ("a", "b", None)]
    assert [(one.id, one.session, one.duplicates) for one in outcomes] == [
        *(("e1", "a", 0), ("e1", "b", 0), ("e1", "c", 0)),
    ]
    assert await store.letters() == []


async def test_a_repeated_id_counts_in_its_own_space_only(store: LeadingBackend) -> None:
    event = {**user("e1", session="a"), **A}
    await store.apply(event, {**user("e1", session="b"), **B}, event)
    assert (await store.outcome("e1", by="a")).duplicates == 1
    assert (await store.outcome("e1", by="b")).duplicates == 0


async def test_a_conflict_is_its_publishers(store: LeadingBackend) -> None:
    await store.apply({**user("e1"), **A}, {**user("e1", "other"), **A})
    [letter] = await store.letters()
    assert (letter.reason, letter.event_id, letter.by) == ("id_conflict", "e1", "a")
    assert await store.backend.dead_letter_at(letter.stream_id) == letter


async def test_history_says_who_published_a_message(store: LeadingBackend) -> None:
    await store.apply(user("u1", agent="a"), {**reply("r1", turn="u1"), **A})
    assert [(one.id, one.turn, one.by) for one in await store.messages()] == [
        *(("u1", None, None), ("r1", "u1", "a")),
    ]


async def test_a_reply_of_a_token_answers_the_channels_message(store: LeadingBackend) -> None:
    await store.apply(
        user("u1", agent="a", turn="u1"),
        {**reply("r1", turn="u1"), **A},
        rollback("x", target="u1"),
    )
    assert await store.result("x") == "answered"


async def test_a_reply_of_a_channel_answers_the_tokens_message(store: LeadingBackend) -> None:
    await store.apply(
        {**user("u1", turn="u1"), **A}, reply("r1", turn="u1"), {**rollback("x", target="u1"), **A}
    )
    assert await store.result("x", by="a") == "answered"


async def test_a_publisher_means_its_own_event_first(store: LeadingBackend) -> None:
    await store.apply(
        user("u1", "channel", agent="a"),
        {**user("u1", "token"), **A},
        {**rollback("x", target="u1"), **A},
    )
    assert await store.texts() == ["channel"]
    await store.apply({**rollback("y", target="u1"), **A})
    assert await store.result("y", by="a") == "already_rolled_back"
    await store.apply(rollback("z", target="u1"))
    assert await store.texts() == []


async def test_a_token_takes_back_its_channels_message(store: LeadingBackend) -> None:
    await store.apply(user("u1", agent="a"), {**rollback("x", target="u1"), **A})
    assert await store.texts() == []
    assert (await store.outcome("u1")).duplicates == 0


async def test_a_rollback_suppresses_in_its_publishers_space_only(store: LeadingBackend) -> None:
    await store.apply({**rollback("x", target="u1"), **B}, {**rollback("y", target="u1"), **A})
    assert await store.result("x", by="b") == "target_not_seen"
    await store.apply(user("u1", "of the channel", agent="a"), {**user("u1", "of a"), **A})
    assert await store.texts() == ["of the channel"]
    assert await store.result("u1", by="a") == "already_rolled_back"


async def test_a_target_in_another_agents_session_is_not_seen(store: LeadingBackend) -> None:
    await store.apply(
        {**user("u1", session="a"), **A},
        user("t1", session="a", agent="a"),
        {**rollback("x", session="b", target="u1"), **B},
        {**rollback("y", session="b", target="t1"), **B},
        {**rollback("z", session="b", target="no such"), **B},
    )
    assert {await store.result(one, by="b") for one in "xyz"} >= {"target_not_seen"}
    assert await store.result("x", by="b") == await store.result("y", by="b")


async def test_a_tokens_reply_to_a_turn_before_the_reset_is_stale(store: LeadingBackend) -> None:
    await store.apply(user("u1", agent="a", turn="u1"), reset("r"), {**reply("x", turn="u1"), **A})
    assert await store.result("x", by="a") == "stale_turn"


async def test_what_was_deleted_is_not_taken_back_by_a_namesake(store: LeadingBackend) -> None:
    await store.apply({**user("u1"), **A}, {**delete("d"), **A}, {**user("u2"), **A})
    await store.apply({**rollback("x", target="u1"), **A})
    assert await store.result("x", by="a") == "deleted"


async def test_positions_carry_the_space(store: LeadingBackend) -> None:
    await store.apply({**user("e1"), **A})
    assert (await store.outcome("e1", by="a")).position.event_id == stored_id("e1", "a")


# -- dead letters are bounded ------------------------------------------------------------------


async def test_of_each_publisher_the_newest_dead_letters_stay(
    open_store: Open, clock: Clock
) -> None:
    async with open_store("write", bounds=LetterBounds(count=3)) as backend:
        store = await lead(backend, clock)
        await store.apply(poison("operators"))
        for number in range(5):
            await store.apply({**poison(f"b{number}"), **B})
        assert [letter.event_id for letter in await store.letters()] == [
            *("b4", "b3", "b2", "operators"),
        ]
        assert await backend.letters_dropped() == 2


async def test_dead_letters_are_bounded_in_bytes(open_store: Open, clock: Clock) -> None:
    async with open_store("write", bounds=LetterBounds(size=2500)) as backend:
        store = await lead(backend, clock)
        await store.apply(*({**poison(f"b{n}", content="x" * 1000), **B} for n in range(4)))
        assert [letter.event_id for letter in await store.letters()] == ["b3", "b2"]
