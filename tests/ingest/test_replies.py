"""Replies while their platform is away: parked, sent later in order and once, or undelivered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from harness.waiting import wait_until
from ingest.agents.base import Reply
from ingest.channels.dispatch import Dispatch
from ingest.channels.failure_counts import ChannelFailure
from ingest.failures import CLEARED
from ingest.turns.live import Ending, TurnEnd
from proof.botapi import TOKEN, BotApi, update
from sessions.process.settings import Settings
from sessions.stream.lanes.inbound import Inbound
from sessions.stream.redis import RedisClient, connect
from sessions.stream.replies.replies import Replies
from sessions.stream.replies.values import ChannelReply, ReplyText
from tests.ingest.botapi import bot_api, push
from tests.ingest.channel_fleet import (
    SECRET,
    ChannelFleet,
    IngestSite,
    Shop,
    free,
    texts_of,
    with_channels,
)
from tests.ingest.serving import serving
from tests.leading import Leading

KEY = "webhook_shop_ada_ada"
BOT_SECRET = "a-secret-token"


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
async def bot() -> AsyncIterator[tuple[BotApi, str]]:
    async with bot_api() as found:
        yield found


@pytest.fixture
def give_up() -> int:
    """Seconds until a parked reply is given up."""
    return 3600


@pytest.fixture
def park() -> int:
    """Seconds until a reply is parked."""
    return 1


@pytest.fixture
async def fleet(
    settings: Settings,
    leading: Leading,
    shop: Shop,
    bot: tuple[BotApi, str],
    give_up: int,
    park: int,
) -> AsyncIterator[ChannelFleet]:
    async with serving(shop.app()) as address:
        changed = with_channels(
            settings,
            reply_park_secs=park,
            reply_give_up_secs=give_up,
            webhook={"shop": {"secret": SECRET, "send_url": f"http://{address}/replies"}},
            telegram={
                "home": {
                    "bot_token": TOKEN,
                    "mode": "webhook",
                    "secret_token": BOT_SECRET,
                    "allowed_users": ["*"],
                    "api_base_url": bot[1],
                }
            },
        )
        async with ChannelFleet.of(changed) as fleet:
            yield fleet


@pytest.fixture
async def site(fleet: ChannelFleet) -> IngestSite:
    return await fleet.site()


async def listed(fleet: ChannelFleet, **params: str) -> list[dict[str, Any]]:
    answer = await fleet.admin.get("/api/replies", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()["replies"]


async def parked(fleet: ChannelFleet, count: int) -> list[dict[str, Any]]:
    """The parked replies, as soon as there are so many."""

    async def are_parked() -> bool:
        return len(await listed(fleet, state="parked")) == count

    await wait_until(are_parked, pause=0.1)
    return await listed(fleet)


async def undelivered(fleet: ChannelFleet) -> list[dict[str, Any]]:
    """The undelivered replies, as soon as there is one."""

    async def are_there() -> bool:
        return await listed(fleet, state="undelivered") != []

    await wait_until(are_there, pause=0.1)
    return await listed(fleet, state="undelivered")


class TestAway:
    async def test_the_lane_goes_on_and_afterwards_all_arrive_in_order_once(
        self, fleet: ChannelFleet, site: IngestSite, shop: Shop
    ):
        shop.trouble = 503
        await site.post("one")
        await parked(fleet, 1)
        await free(site, KEY)
        # These stand behind it at once, and take no time of their own.
        for text in ("two", "three"):
            await site.post(text)
        await site.post("other", sender="bea")
        await parked(fleet, 4)
        assert shop.replies == []
        assert ("assistant", "re: three") in await fleet.messages(KEY)
        shop.trouble = None
        await wait_until(lambda: len(shop.replies) == 4)
        assert [text for text in shop.texts if text != "re: other"] == [
            *("re: one", "re: two", "re: three")
        ]
        await wait_until(lambda: _is_empty(fleet))
        assert site.services.troubles.of(ChannelFailure.PARKED, channel="webhook.shop") == 4
        assert site.services.troubles.of(ChannelFailure.LATE, channel="webhook.shop") == 4
        await site.post("four")
        await wait_until(lambda: shop.texts[-1] == "re: four")

    async def test_a_channel_in_a_pause_is_tried_once_and_a_retry_ends_the_pause(
        self, fleet: ChannelFleet, site: IngestSite, shop: Shop, redis: RedisClient
    ):
        shop.trouble = 503
        pause = f"{fleet.settings.turnstream.prefix}reply_pause:webhook.shop"
        until = int(time.time() * 1000) + 60_000
        await redis.execute_command("HSET", pause, "until", until, "failures", 1, "asked", 0)
        await site.post("one")
        [row] = await parked(fleet, 1)
        assert (row["tries"], len(shop.tries)) == (1, 1)
        shop.trouble = None
        await fleet.admin.post(f"/api/replies/{row['turn']}/retry")
        await wait_until(lambda: shop.texts == ["re: one"])

    async def test_the_pieces_that_were_sent_are_not_sent_again(
        self, fleet: ChannelFleet, site: IngestSite, bot: tuple[BotApi, str]
    ):
        async def script(*_: Any) -> Any:
            return Reply("a" * 4096 + "b" * 4096 + "c" * 10)

        site.agent.script = script
        server, _ = bot
        server.floods = [None, 2]
        await push(site.http, update(), BOT_SECRET)
        [row] = await parked(fleet, 1)
        assert row["pieces_sent"] == 1
        assert row["last_error"].startswith("the Bot API: RetryAfter")
        await wait_until(lambda: len(server.sent) == 3)
        assert [text[0] for text in server.texts] == ["a", "b", "c"]

    async def test_a_pause_that_the_platform_asks_for_is_everybodys(
        self, fleet: ChannelFleet, site: IngestSite, shop: Shop
    ):
        shop.trouble, shop.asks = 429, 3
        await site.post("one")
        await parked(fleet, 1)
        tries = len(shop.tries)
        assert tries == 1
        await site.post("two", sender="bea")
        await parked(fleet, 2)
        assert len(shop.tries) == tries
        shop.trouble = None
        asked = asyncio.get_running_loop().time()
        await wait_until(lambda: len(shop.replies) == 2)
        assert asyncio.get_running_loop().time() - asked > 1

    async def test_a_notice_is_parked_too(self, fleet: ChannelFleet, site: IngestSite, shop: Shop):
        await site.post("one")
        await wait_until(lambda: shop.replies)
        shop.trouble = 503
        await site.post("/new")
        await parked(fleet, 1)
        shop.trouble = None
        await wait_until(lambda: len(shop.replies) == 2)
        assert shop.texts[-1] == CLEARED


async def _is_empty(fleet: ChannelFleet) -> bool:
    return await listed(fleet) == []


async def retry_behind_another(
    fleet: ChannelFleet, site: IngestSite, shop: Shop, turn: str
) -> None:
    """The session goes on without an undelivered reply, and a retry sends that one."""
    shop.trouble = None
    await site.post("two")
    await wait_until(lambda: shop.replies)
    await fleet.admin.post(f"/api/replies/{turn}/retry")
    await wait_until(lambda: len(shop.replies) == 2)
    assert shop.texts == ["re: two", "re: one"]


class TestUndelivered:
    async def test_what_is_refused_for_good_waits_for_a_retry(
        self, fleet: ChannelFleet, site: IngestSite, shop: Shop
    ):
        shop.trouble = 410
        await site.post("one")
        [row] = await undelivered(fleet)
        assert (row["last_error"], row["until"]) == ("send_url answered 410", None)
        assert len(shop.tries) == 1
        await retry_behind_another(fleet, site, shop, row["turn"])

    @pytest.mark.parametrize("give_up", [2])
    async def test_what_is_away_for_too_long_waits_for_a_retry(
        self, fleet: ChannelFleet, site: IngestSite, shop: Shop
    ):
        shop.trouble = 503
        await site.post("one")
        [row] = await undelivered(fleet)
        assert row["last_error"] == "send_url answered 503"
        await retry_behind_another(fleet, site, shop, row["turn"])

    async def test_a_refusal_later_lets_the_next_go_on(
        self, fleet: ChannelFleet, site: IngestSite, shop: Shop
    ):
        shop.trouble = 503
        await site.post("one")
        await parked(fleet, 1)
        await site.post("two")
        await parked(fleet, 2)
        shop.refusals = [410]
        shop.trouble = None
        await wait_until(lambda: shop.replies)
        assert shop.texts == ["re: two"]
        assert [row["last_error"] for row in await undelivered(fleet)] == ["send_url answered 410"]


class TestStop:
    async def test_the_piece_in_hand_is_noted_before_a_replica_stops(
        self, fleet: ChannelFleet, shop: Shop, redis: RedisClient
    ):
        async with fleet.passing_site() as site:
            shop.trouble = 503
            await site.post("one")
            [row] = await parked(fleet, 1)
            await free(site, KEY)
            shop.trouble, shop.slow = None, 1.0
            await wait_until(lambda: shop.is_asked)
        note = f"{fleet.settings.turnstream.prefix}sent:{row['turn']}"
        assert shop.texts == ["re: one"]
        assert await redis.execute_command("GET", note) == b"1"


class TestErased:
    async def test_a_session_is_deleted_although_its_platform_is_slow(
        self, fleet: ChannelFleet, site: IngestSite, shop: Shop
    ):
        shop.slow = 10
        await site.post("hello")
        await wait_until(lambda: shop.is_asked)
        async with asyncio.timeout(5):
            answer = await fleet.admin.delete(f"/api/sessions/{KEY}")
        assert answer.status_code == 200

    @pytest.mark.parametrize("way", ["reset", "delete"])
    async def test_nothing_of_it_is_left_and_nothing_is_sent(
        self, fleet: ChannelFleet, site: IngestSite, shop: Shop, redis: RedisClient, way: str
    ):
        shop.trouble = 503
        await site.post("a word that nobody may find")
        await parked(fleet, 1)
        answer = await fleet.admin.post(f"/api/tools/sessions_{way}", json={"session_id": KEY})
        assert answer.json()["success"]
        assert await listed(fleet) == []
        shop.trouble = None
        await site.post("two", sender="bea")
        await wait_until(lambda: shop.replies)
        await wait_until(lambda: _keeps_nothing(redis, fleet))
        assert shop.texts == ["re: two"]

    @pytest.mark.parametrize("park", [60])
    @pytest.mark.parametrize("way", ["reset", "delete"])
    async def test_a_reply_that_is_still_tried_goes_with_its_text(
        self, fleet: ChannelFleet, site: IngestSite, shop: Shop, way: str
    ):
        shop.trouble = 503
        await site.post("a word that nobody may find")
        await wait_until(lambda: shop.tries)
        answer = await fleet.admin.post(f"/api/tools/sessions_{way}", json={"session_id": KEY})
        assert answer.json()["success"]
        shop.trouble = None
        await free(site, KEY)
        assert shop.texts == []

    async def test_no_text_is_in_redis_while_a_reply_is_parked(
        self, fleet: ChannelFleet, site: IngestSite, shop: Shop, redis: RedisClient
    ):
        shop.trouble = 503
        await site.post("a word that nobody may find")
        await parked(fleet, 1)
        prefix = fleet.settings.turnstream.prefix
        for key in await redis.execute_command("KEYS", f"{prefix}*"):
            if not key.endswith(b":turns"):
                assert b"nobody may find" not in await redis.execute_command("DUMP", key), key


async def _keeps_nothing(redis: RedisClient, fleet: ChannelFleet) -> bool:
    prefix = fleet.settings.turnstream.prefix
    found = await redis.execute_command("KEYS", f"{prefix}replies:*")
    return found == []


@pytest.fixture
async def redis(settings: Settings) -> AsyncIterator[RedisClient]:
    assert settings.redis_url is not None
    async with aclosing(connect(settings.redis_url)) as client:
        yield client


class TestFull:
    async def test_without_room_the_lane_is_held_and_the_reply_is_tried(
        self, fleet: ChannelFleet, site: IngestSite, shop: Shop, redis: RedisClient
    ):
        url, prefix = fleet.settings.redis_url, fleet.settings.turnstream.prefix
        assert url is not None
        replies = Replies(redis, url=url, prefix=prefix, give_up=3600, most=1)
        dispatch = Dispatch(
            {"webhook.shop": site.services.channels["webhook.shop"]},
            texts=texts_of(site.services),
            replies=replies,
            troubles=site.services.troubles,
            park_after=0,
        )
        nowhere = ChannelReply(
            "t0", "x", "anna", "webhook.gone", "", "", "replied", ReplyText.FAILED
        )
        await replies.park(nowhere, "away", tries=1)
        shop.trouble = 503
        inbound = Inbound("t1", KEY, "hi", "anna", 0, reply_to="webhook.shop", sender="ada")
        end = TurnEnd(Ending.REPLIED, "re: hi")
        delivering = asyncio.create_task(dispatch.deliver(inbound, end))
        await wait_until(lambda: len(shop.tries) >= 2)
        assert not delivering.done()
        shop.trouble = None
        await delivering
        assert shop.texts == ["re: hi"]


class TestLost:
    async def test_what_redis_loses_is_reported_once(
        self,
        fleet: ChannelFleet,
        site: IngestSite,
        shop: Shop,
        redis: RedisClient,
        caplog: pytest.LogCaptureFixture,
    ):
        other = await fleet.site()
        shop.trouble = 503
        await site.post("one")
        [row] = await parked(fleet, 1)
        await asyncio.sleep(1.5)  # both replicas have looked since
        prefix = fleet.settings.turnstream.prefix
        keys = await redis.execute_command("KEYS", f"{prefix}repl*")
        await redis.execute_command("DEL", *keys)
        await wait_until(lambda: "Redis lost 1 replies" in caplog.text)
        await asyncio.sleep(1.5)
        [line] = [r for r in caplog.records if "Redis lost" in r.getMessage()]
        assert row["turn"] in line.getMessage()
        counts = [
            s.services.troubles.of(ChannelFailure.LOST, channel="webhook.shop")
            for s in (site, other)
        ]
        assert sorted(counts) == [0, 1]
