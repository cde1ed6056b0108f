"""Rule 9: reset and delete leave no text behind. What the files hold is tests/backends' matter."""

from __future__ import annotations

import pytest

from tests.events import Fields, delete, poison, reply, reset, rollback, user
from tests.stores import LeadingBackend

ENDS = pytest.mark.parametrize("end", [reset("x"), delete("x")], ids=["reset", "delete"])


@ENDS
async def test_the_text_is_gone_from_history_and_search(store: LeadingBackend, end: Fields) -> None:
    await store.apply(user("u1", "needle"), reply("a1", "needle too"), end)
    assert await store.texts() == []
    assert await store.found("needle") == []


@ENDS
async def test_the_text_is_gone_from_the_dead_letters(store: LeadingBackend, end: Fields) -> None:
    await store.apply(user("u1"), poison("p", content="needle"), user("u1", "needle"), end)
    assert await store.letters() == []


@ENDS
async def test_it_does_not_come_back_with_the_session(store: LeadingBackend, end: Fields) -> None:
    await store.apply(user("u1", "needle"), end, user("u2", "new"))
    assert await store.texts() == ["new"]
    assert await store.found("needle") == []
    assert (await store.backend.search("needle", key="s")).items == []


@ENDS
async def test_the_counts_go_down(store: LeadingBackend, end: Fields) -> None:
    await store.apply(user("u1"), reply("a1"), user("t1", session="t"), poison("p"), end)
    counts = await store.backend.counts()
    assert (counts["messages"], counts["dead_letters"]) == (1, 0)


@ENDS
async def test_the_text_of_others_stays(store: LeadingBackend, end: Fields) -> None:
    await store.apply(user("u1", "needle"), user("t1", "needle here", session="t"), end)
    assert await store.found("needle") == ["needle here"]


async def test_what_retention_deletes_is_gone_too(store: LeadingBackend) -> None:
    await store.apply(user("u1", "needle"), poison("p", content="needle"))
    store.clock.pass_days(2)
    assert await store.backend.expire_sessions(older_than=store.clock.now, limit=10) == 1
    assert await store.backend.session("s") is None
    assert await store.found("needle") == []
    assert await store.letters() == []


async def test_a_rolled_back_text_is_gone_from_search(store: LeadingBackend) -> None:
    await store.apply(user("u1", "needle one"), user("u2", "needle two"))
    await store.apply(rollback("r", target="u1"))
    assert await store.found("needle") == ["needle two"]


@ENDS
async def test_tidying_goes_on_until_nothing_waits(store: LeadingBackend, end: Fields) -> None:
    await store.apply(*(user(f"u{n}", f"word{n} and more") for n in range(600)))
    await store.apply(end, user("after", "word1 again"))
    for _ in range(1000):
        if not await store.backend.tidy():
            break
    assert not await store.backend.tidy()
    assert await store.found("word1") == ["word1 again"]
    assert await store.found("word2") == []
