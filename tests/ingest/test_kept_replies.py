"""What Redis keeps of replies that were not taken: order, pauses, bounds, notes."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import pytest

from harness.redis import RedisServer
from harness.waiting import wait_until
from sessions.errors import RepliesFull, StreamFull
from sessions.stream.redis import RedisClient, connect, patiently
from sessions.stream.replies.replies import Replies
from sessions.stream.replies.values import ChannelReply, ReplyState, ReplyText

SHOP = "webhook.shop"


@pytest.fixture
async def redis(redis_url: str) -> AsyncGenerator[RedisClient]:
    async with aclosing(connect(redis_url)) as client:
        yield client


@pytest.fixture
def prefix() -> str:
    return f"t{uuid.uuid4().hex[:8]}:"


@pytest.fixture
def replies(redis: RedisClient, redis_url: str, prefix: str) -> Replies:
    return Replies(redis, url=redis_url, prefix=prefix, give_up=3600, most=3)


def reply(
    turn: str, session: str = "s", *, channel: str = SHOP, agent: str = "anna"
) -> ChannelReply:
    return ChannelReply(turn, session, agent, channel, "chat 7", "ada", "replied", ReplyText.STORED)


async def park(replies: Replies, *turns: str, session: str = "s") -> None:
    for turn in turns:
        await replies.park(reply(turn, session), "away", tries=1)


async def heads(replies: Replies, count: int = 4) -> list[str]:
    return [kept.reply.turn for kept in (await replies.heads(SHOP, count)).replies]


async def over(replies: Replies, turn: str) -> None:
    """Wait until the channel's pause is over."""

    async def is_over() -> bool:
        return (await replies.look(reply(turn))).pause == 0

    await wait_until(is_over)


class TestOrder:
    async def test_the_first_of_each_session_may_be_sent(self, replies: Replies) -> None:
        await park(replies, "a1", "a2", session="a")
        await park(replies, "b1", session="b")
        assert await heads(replies) == ["a1", "b1"]
        assert await heads(replies, 1) == ["a1"]
        await replies.remove("a1")
        assert await heads(replies) == ["a2", "b1"]

    async def test_sessions_that_always_fail_hold_up_no_others(self, replies: Replies) -> None:
        for session in ("a", "b", "c"):
            await park(replies, f"{session}1", session=session)
        await asyncio.sleep(0.01)
        for turn in await heads(replies, 2):
            await replies.fail(reply(turn, turn[0]), "away again")
        await over(replies, "a1")
        assert await heads(replies, 2) == ["c1", "a1"]
        await replies.retry("b1")
        assert await heads(replies, 2) == ["b1", "c1"]

    async def test_a_turn_learns_whether_others_of_its_session_are_parked(
        self, replies: Replies
    ) -> None:
        await park(replies, "a1", session="a")
        assert not (await replies.look(reply("a1", "a"))).behind
        assert (await replies.look(reply("a2", "a"))).behind
        assert not (await replies.look(reply("b1", "b"))).behind
        assert not (await replies.look(reply("a2", "a", channel="webhook.other"))).behind
        await replies.remove("a1")
        assert not (await replies.look(reply("a2", "a"))).behind

    async def test_a_reply_is_kept_once(self, replies: Replies) -> None:
        assert await replies.park(reply("a1"), "away", tries=1) is ReplyState.PARKED
        assert await replies.park(reply("a1"), "again", tries=2) is ReplyState.PARKED
        [kept] = await replies.page(0, 10)
        assert (kept.error, kept.tries) == ("away", 1)
        await replies.give_up(reply("a1"), "refused")
        assert await replies.park(reply("a1"), "away", tries=1) is ReplyState.UNDELIVERED

    async def test_an_undelivered_one_lets_the_next_go_on_and_comes_back_in_its_place(
        self, replies: Replies
    ) -> None:
        await park(replies, "a1", "a2")
        await replies.give_up(reply("a1"), "refused")
        assert await heads(replies) == ["a2"]
        kept = await replies.retry("a1")
        assert kept is not None
        assert (kept.state, kept.error) == (ReplyState.PARKED, "refused")
        assert await heads(replies) == ["a1"]

    async def test_what_is_not_here_is_neither_retried_nor_removed(self, replies: Replies) -> None:
        assert await replies.retry("never") is None
        assert await replies.find("never") is None
        assert not await replies.remove("never")
        await park(replies, "a1")
        assert await replies.remove("a1")
        assert not await replies.remove("a1")

    async def test_pages_show_all_in_order_whatever_their_channel(self, replies: Replies) -> None:
        await park(replies, "a1")
        await replies.park(reply("b1", channel="a name.with blanks"), "", tries=0)
        await park(replies, "a2")
        [first] = await replies.page(0, 1)
        rest = await replies.page(first.number, 10)
        assert [kept.reply.turn for kept in (first, *rest)] == ["a1", "b1", "a2"]
        assert rest[0].reply == reply("b1", channel="a name.with blanks")


class TestPauses:
    async def test_a_failure_begins_a_pause_and_a_piece_ends_it(self, replies: Replies) -> None:
        await park(replies, "a1")
        await replies.fail(reply("a1"), "503")
        look = await replies.look(reply("b1", "b"))
        assert 0 < look.pause <= 1.0
        assert not look.asked
        assert await heads(replies) == []
        await replies.note(reply("a1"), 1)
        assert (await replies.look(reply("b1", "b"))).pause == 0
        assert await heads(replies) == ["a1"]

    async def test_pauses_grow_by_tries_and_not_by_failures_at_the_same_time(
        self, replies: Replies
    ) -> None:
        await park(replies, "a1")
        for _ in range(5):
            await replies.fail(reply("a1"), "503")
        assert (await replies.look(reply("a1"))).pause <= 1.0
        await over(replies, "a1")
        await replies.fail(reply("a1"), "504")
        assert 1.0 < (await replies.look(reply("a1"))).pause <= 2.0
        kept = await replies.find("a1")
        assert kept is not None
        assert (kept.tries, kept.error) == (7, "504")

    async def test_what_the_platform_asks_for_is_heeded(self, replies: Replies) -> None:
        await replies.fail(reply("a1"), "429", asked=30)
        look = await replies.look(reply("b1", "b"))
        assert 29 < look.pause <= 30
        assert look.asked
        await replies.fail(reply("c1", "c"), "503")
        look = await replies.look(reply("b1", "b"))
        assert 29 < look.pause <= 30
        assert look.asked

    async def test_a_piece_that_was_under_way_does_not_end_it(self, replies: Replies) -> None:
        await replies.fail(reply("a1"), "429", asked=30)
        await replies.note(reply("b1", "b"), 1)
        assert (await replies.look(reply("a1"))).pause > 29

    async def test_a_retry_ends_the_pause(self, replies: Replies) -> None:
        await park(replies, "a1")
        await replies.fail(reply("a1"), "429", asked=30)
        await replies.retry("a1")
        assert await heads(replies) == ["a1"]

    async def test_other_channels_have_no_part_in_it(self, replies: Replies) -> None:
        await replies.fail(reply("a1"), "503")
        assert (await replies.look(reply("b1", channel="telegram.home"))).pause == 0


class TestEnds:
    async def test_what_was_tried_for_too_long_is_undelivered_in_a_pause_too(
        self, redis: RedisClient, redis_url: str, prefix: str
    ) -> None:
        replies = Replies(redis, url=redis_url, prefix=prefix, give_up=0.05)
        await replies.park(reply("a1"), "", tries=0)
        await replies.fail(reply("b1", "b"), "429", asked=30)

        async def expired() -> list[str]:
            return (await replies.heads(SHOP, 4)).expired

        assert await wait_until(expired) == ["a1"]
        kept = await replies.find("a1")
        assert kept is not None
        assert kept.state is ReplyState.UNDELIVERED
        assert kept.error == "its time was over before it could be tried"

    async def test_a_retried_one_has_its_time_again(
        self, redis: RedisClient, redis_url: str, prefix: str
    ) -> None:
        replies = Replies(redis, url=redis_url, prefix=prefix, give_up=3600)
        await replies.refuse(reply("a1"), "blocked", tries=1)
        before = await replies.find("a1")
        after = await replies.retry("a1")
        assert before is not None
        assert after is not None
        assert after.until >= before.until
        assert after.until - after.since >= 3600 * 1_000_000

    async def test_an_error_is_kept_in_part(self, replies: Replies) -> None:
        await replies.park(reply("a1"), "x" * 10_000, tries=1)
        kept = await replies.find("a1")
        assert kept is not None
        assert kept.error == "x" * 300


class TestBounds:
    async def test_an_agent_has_so_many_parked_over_all_channels(self, replies: Replies) -> None:
        await park(replies, "a1", "a2")
        await replies.park(reply("b1", channel="telegram.home"), "", tries=0)
        with pytest.raises(RepliesFull):
            await replies.park(reply("a3"), "", tries=0)
        await replies.park(reply("x1", agent="bert"), "", tries=0)
        await replies.remove("a1")
        assert await replies.park(reply("a3"), "", tries=0) is ReplyState.PARKED

    async def test_of_too_many_undelivered_the_oldest_go(self, replies: Replies) -> None:
        for number in range(3):
            assert await replies.refuse(reply(f"a{number}"), "blocked", tries=1) == []
        assert await replies.refuse(reply("a3"), "blocked", tries=1) == ["a0"]
        await park(replies, "a4")
        assert await replies.give_up(reply("a4"), "blocked") == ["a1"]
        assert [kept.reply.turn for kept in await replies.page(0, 10)] == ["a2", "a3", "a4"]

    async def test_no_more_is_parked_again_than_may_be(self, replies: Replies) -> None:
        await replies.refuse(reply("a0"), "blocked", tries=1)
        await park(replies, "a1", "a2", "a3")
        with pytest.raises(RepliesFull):
            await replies.retry("a0")
        kept = await replies.find("a0")
        assert kept is not None
        assert kept.state is ReplyState.UNDELIVERED

    async def test_they_are_counted_by_channel(self, replies: Replies) -> None:
        await park(replies, "a1", "a2")
        await replies.refuse(reply("b1"), "blocked", tries=1)
        assert await replies.counts() == [(SHOP, 2, 1)]
        for turn in ("a1", "a2", "b1"):
            await replies.remove(turn)
        assert await replies.counts() == []

    async def test_nothing_is_left_of_what_is_gone(
        self, replies: Replies, redis: RedisClient, prefix: str
    ) -> None:
        await park(replies, "a1", "a2")
        await replies.give_up(reply("a1"), "blocked")
        await replies.retry("a1")
        await replies.note(reply("a1"), 2)
        await replies.remove("a1")
        await replies.remove("a2")
        found = await redis.execute_command("KEYS", f"{prefix}*")
        assert set(found) == {f"{prefix}{name}".encode() for name in ("reply_state", "sent:a1")}


class TestNotes:
    async def test_the_number_never_falls_and_outlives_the_reply(
        self, replies: Replies, redis: RedisClient, prefix: str
    ) -> None:
        async def seconds() -> int:
            return await redis.execute_command("TTL", f"{prefix}sent:a1")

        await replies.note(reply("a1"), 2)
        await replies.note(reply("a1"), 1)
        assert (await replies.look(reply("a1"))).sent == 2
        assert 86_000 < await seconds() <= 86_400
        await park(replies, "a1")
        assert await seconds() == -1
        await replies.note(reply("a1"), 3)
        assert await seconds() == -1
        await replies.remove("a1")
        assert 86_000 < await seconds() <= 86_400
        assert (await replies.look(reply("a1"))).sent == 3


class TestMemory:
    async def test_what_changes_is_seen_and_what_is_lost_too(
        self, replies: Replies, redis: RedisClient, prefix: str
    ) -> None:
        first = await replies.watch(None)
        assert first.replies == frozenset()
        await park(replies, "a1")
        second = await replies.watch(first)
        assert second.replies == {("a1", SHOP)}
        assert second.channels == {SHOP}
        assert await replies.watch(second) == second
        await redis.execute_command("DEL", *await redis.execute_command("KEYS", f"{prefix}*"))
        third = await replies.watch(second)
        assert third.life != second.life
        assert third.replies == frozenset()


async def test_a_full_redis_keeps_notes_and_moves_replies(tmp_path: Path) -> None:
    with RedisServer.running(tmp_path, maxmemory=16 * 1024 * 1024) as server:
        async with aclosing(connect(server.url)) as redis:
            replies = Replies(redis, url=server.url, prefix="t:", give_up=3600)
            await park(replies, "a1")
            await _fill(redis, server.url)
            await park(replies, "a2")
            await replies.note(reply("a1"), 1)
            await replies.fail(reply("a2"), "503")
            await replies.refuse(reply("a3"), "blocked", tries=1)
            assert (await replies.look(reply("a1"))).sent == 1
            assert await heads(replies) == []
            assert await replies.retry("a3") is not None
            assert await heads(replies) == ["a1"]
            await replies.watch(None)
            assert await replies.remove("a1")


async def _fill(redis: RedisClient, url: str) -> None:
    async def fill() -> None:
        for number in range(1000):
            command = ("SET", f"filler:{number}", "x" * 100_000)
            await patiently(lambda command=command: redis.execute_command(*command), url, 0.0)

    with pytest.raises(StreamFull):
        await fill()
