"""A message that is added in an agent's name comes between two turns, never into one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from harness.waiting import wait_until
from sessions import wire
from sessions.errors import LaneFull, LaneTimeout
from sessions.ids import new_id
from sessions.models import Event, EventType
from sessions.process.settings import Settings
from sessions.stream.lanes.lanes import DEPTH
from sessions.stream.lanes.notes import LaneNotes
from sessions.stream.redis import connect
from tests.ingest.replicas import HeldScript
from tests.ingest.town import ON_SHOP, WakingTown, opened_town
from tests.leading import Leading


@pytest.fixture
async def town(settings: Settings, leading: Leading) -> AsyncIterator[WakingTown]:
    async with opened_town(settings) as town:
        yield town


@pytest.fixture
async def notes(town: WakingTown) -> AsyncIterator[LaneNotes]:
    url = town.settings.redis_url
    assert url is not None
    redis = connect(url)
    yield LaneNotes(redis, url=url, prefix=town.settings.turnstream.prefix)
    await redis.aclose()


def added(text: str = "by the way") -> Event:
    return Event(
        new_id(), EventType.APPEND, session=ON_SHOP, role="assistant", content=text, if_exists=True
    )


async def in_turn(town: WakingTown) -> HeldScript:
    """Let a turn stand still in the shop's session."""
    held = HeldScript()
    town.script("anna", held)
    await town.posts("shop")
    await wait_until(lambda: held.waiting)
    return held


async def post(town: WakingTown, text: str = "by the way", **headers: str) -> httpx.Response:
    return await town.http.post(
        f"/api/sessions/{ON_SHOP}/messages",
        json={"content": text, "wake": None, "await_reply": None},
        headers={"Authorization": f"Bearer {town.tokens['anna']}", **headers},
    )


class TestInATurn:
    async def test_it_waits_for_the_answer(self, town: WakingTown):
        held = await in_turn(town)
        posting = asyncio.create_task(post(town))
        await wait_until(lambda: notes_of(town))
        assert await town.messages(ON_SHOP) == [("user", "hello")]

        held.open()

        answer = await posting
        assert answer.status_code == 200
        assert answer.json()["message"] == {"role": "assistant", "content": "by the way"}
        assert await town.messages(ON_SHOP) == [
            *(("user", "hello"), ("assistant", "re: hello"), ("assistant", "by the way")),
        ]

    async def test_it_comes_before_what_waits_for_its_own_turn(self, town: WakingTown):
        held = await in_turn(town)
        await town.posts("shop", "then")
        posting = asyncio.create_task(post(town))
        await wait_until(lambda: notes_of(town))

        held.open()

        assert (await posting).status_code == 200
        await wait_until(lambda: has_messages(town, 5))
        assert await town.messages(ON_SHOP) == [
            *(("user", "hello"), ("assistant", "re: hello"), ("assistant", "by the way")),
            *(("user", "then"), ("assistant", "re: then")),
        ]

    async def test_several_come_in_their_order_and_once(self, town: WakingTown):
        held = await in_turn(town)
        first = asyncio.create_task(post(town, "one", **{"Idempotency-Key": "k1"}))
        await wait_until(lambda: notes_of(town))
        again = asyncio.create_task(post(town, "one", **{"Idempotency-Key": "k1"}))
        second = asyncio.create_task(post(town, "two"))
        await wait_until(lambda: has_notes(town, 3))

        held.open()

        assert [(await one).status_code for one in (first, again, second)] == [200, 200, 200]
        said = [text for _, text in await town.messages(ON_SHOP)]
        assert sorted(said[2:]) == ["one", "two"]

    async def test_a_turn_that_is_given_up_lets_it_pass(self, town: WakingTown):
        held = await in_turn(town)
        posting = asyncio.create_task(post(town))
        await wait_until(lambda: notes_of(town))

        path = f"/api/sessions/{ON_SHOP}/abort"
        headers = {"Authorization": f"Bearer {town.tokens['anna']}"}
        assert (await town.http.post(path, headers=headers)).json() == {"status": "aborted"}

        assert (await posting).status_code == 200
        assert (await town.messages(ON_SHOP))[-1] == ("assistant", "by the way")
        held.open()

    async def test_a_session_that_is_deleted_meanwhile_has_nobody_to_tell(self, town: WakingTown):
        held = await in_turn(town)
        posting = asyncio.create_task(post(town))
        await wait_until(lambda: notes_of(town))
        headers = {"Authorization": f"Bearer {town.tokens['anna']}"}

        deleted = asyncio.create_task(town.http.delete(f"/api/sessions/{ON_SHOP}", headers=headers))
        await wait_until(deleted.done)

        # It is on the stream before the delete, or after it.
        assert (await posting).status_code in (200, 404)
        assert await town.messages(ON_SHOP) == []
        held.open()

    async def test_a_turn_that_takes_too_long_leaves_nothing(
        self, town: WakingTown, notes: LaneNotes
    ):
        held = await in_turn(town)

        with pytest.raises(LaneTimeout):
            await notes.publish(added(), "anna", patience=0.3)

        assert await notes_of(town) == 0
        held.open()
        await wait_until(lambda: has_messages(town, 2))
        assert [text for _, text in await town.messages(ON_SHOP)] == ["hello", "re: hello"]

    async def test_a_session_takes_no_more_than_its_depth(self, town: WakingTown, notes: LaneNotes):
        held = await in_turn(town)
        waiting = [asyncio.create_task(post(town, f"{n}")) for n in range(DEPTH - 1)]
        await wait_until(lambda: has_notes(town, DEPTH - 1))

        refused = await post(town)
        with pytest.raises(LaneFull):
            await notes.publish(added(), "anna")

        assert (refused.status_code, refused.json()["error"]) == (429, "Session queue is full")
        assert refused.json()["code"] == "session_queue_full"
        assert "retry-after" in refused.headers
        held.open()
        assert {(await one).status_code for one in waiting} == {200}
        assert "by the way" not in str(await town.messages(ON_SHOP))

    async def test_a_tool_waits_for_nobody(self, town: WakingTown):
        held = await in_turn(town)

        answer = await town.send(ON_SHOP, "a note", who="anna")

        assert answer.json()["success"]
        assert await town.messages(ON_SHOP) == [("user", "hello"), ("user", "a note")]
        held.open()


class TestBetweenTurns:
    async def test_it_is_added_at_once(self, town: WakingTown):
        await town.posts("shop")
        await wait_until(lambda: has_messages(town, 2))

        assert (await post(town)).status_code == 200

        assert (await town.messages(ON_SHOP))[-1] == ("assistant", "by the way")

    async def test_what_the_contract_refuses_never_waits(self, town: WakingTown, notes: LaneNotes):
        held = await in_turn(town)
        large = "x" * (wire.DEFAULT_MAX_CONTENT + 1)

        with pytest.raises(Exception, match="content has"):
            await notes.publish(added(large), "anna")

        assert await notes_of(town) == 0
        held.open()


async def notes_of(town: WakingTown) -> int:
    """How many events wait for the end of a turn."""
    url = town.settings.redis_url
    assert url is not None
    redis = connect(url)
    try:
        names = await redis.execute_command(
            "KEYS", f"{town.settings.turnstream.prefix}lane_notes:*"
        )
        return sum([await redis.execute_command("LLEN", name) for name in names])
    finally:
        await redis.aclose()


async def has_notes(town: WakingTown, count: int) -> bool:
    return await notes_of(town) == count


async def has_messages(town: WakingTown, count: int) -> bool:
    return len(await town.messages(ON_SHOP)) == count
