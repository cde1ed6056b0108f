"""What a version before lanes and ids had agents left behind is still run, known and kept."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final

import pytest
from websockets.asyncio.client import connect

from harness.waiting import wait_until
from ingest.turns.liveness import Liveness
from proof.botapi import CHAT, TOKEN, BotApi, update
from sessions import times
from sessions.access.tokens import ensure_admin_token
from sessions.ids import derived_id
from sessions.models import Event, EventType
from sessions.process.settings import Settings
from sessions.stream.redis import RedisClient
from sessions.stream.redis import connect as redis_client
from tests.ingest.botapi import bot_api, push
from tests.ingest.channel_fleet import SECRET, ChannelFleet, IngestSite, free, with_channels
from tests.ingest.replicas import HeldScript
from tests.leading import Leading

SECRET_TOKEN: Final = "a-token-of-this-test"
KEY: Final = "webhook_shop_ada_ada"
CHAT_KEY: Final = f"telegram_home_{CHAT}_Ada"


@pytest.fixture
async def bot() -> AsyncIterator[tuple[BotApi, str]]:
    async with bot_api() as found:
        yield found


@pytest.fixture
async def fleet(
    settings: Settings, leading: Leading, bot: tuple[BotApi, str]
) -> AsyncIterator[ChannelFleet]:
    home = {
        **{"bot_token": TOKEN, "api_base_url": bot[1], "allowed_users": ["*"]},
        **{"mode": "webhook", "secret_token": SECRET_TOKEN},
    }
    own = with_channels(settings, webhook={"shop": {"secret": SECRET}}, telegram={"home": home})
    async with ChannelFleet.of(own) as fleet:
        yield fleet


@asynccontextmanager
async def opened_redis(settings: Settings) -> AsyncIterator[RedisClient]:
    assert settings.redis_url is not None
    async with aclosing(redis_client(settings.redis_url)) as redis:
        yield redis


async def leave(settings: Settings, session: str, *messages: tuple[str, str]) -> None:
    """Put messages into a lane as the older version did, of a replica that is gone."""
    prefix = settings.turnstream.prefix
    async with opened_redis(settings) as redis:
        for id, text in messages:
            message = {
                **{"id": id, "session": session, "text": text, "agent": "anna", "owner": None},
                **{"at": times.now(), "channel": "webhook.shop", "room": "ada", "sender": "ada"},
                **{"reply_to": None, "address": "", "due": 0, "command": None},
            }
            run = redis.execute_command
            await run("HSET", f"{prefix}lane:{session}", f"+{id}", json.dumps(message))
            await run("RPUSH", f"{prefix}queue:{session}", f"{id} gone")
        await redis.execute_command("SADD", f"{prefix}lanes", session)


async def lanes_in_use(settings: Settings) -> int:
    prefix = settings.turnstream.prefix
    async with opened_redis(settings) as redis:
        counts = [
            await redis.execute_command("SCARD", f"{prefix}{name}")
            for name in ("lanes", "lane_names")
        ]
        left = await redis.execute_command("KEYS", f"{prefix}queue:*")
    return sum(counts) + len(left)


def said(id: str, text: str, *, session: str, at: int | None = None, **more: Any) -> list[Event]:
    """A turn as the older version published it."""
    opening = Event(id, EventType.APPEND, session, role="user", content=text, turn=id, at=at)
    reply = opening._replace(id=f"{id}:reply", role="assistant", content="answered before")
    return [opening._replace(**more), reply]


class TestLanes:
    async def test_messages_of_an_older_version_are_run_to_their_end_before_newer_ones(
        self, fleet: ChannelFleet, leading: Leading
    ):
        await leave(fleet.settings, KEY, ("old1", "one"), ("old2", "two"))
        # Nobody is asked before the agent of this test is there.
        await leading.pause()
        site = await fleet.site()
        await site.post("three")
        await leading.resume()
        await wait_until(lambda: len(site.agent.asked) == 3)
        assert site.agent.asked == ["one", "two", "three"]

        async def is_free() -> bool:
            return await lanes_in_use(fleet.settings) == 0

        await wait_until(is_free)
        assert len(await fleet.messages(KEY)) == 6
        assert (await fleet.row(KEY))["agent_alias"] == "anna"

    async def test_nothing_is_answered_before_a_sweep_has_looked_for_older_turns(
        self, fleet: ChannelFleet, leading: Leading, monkeypatch: pytest.MonkeyPatch
    ):
        looking, sweep = asyncio.Event(), Liveness.sweep

        async def late(liveness: Liveness) -> None:
            await looking.wait()
            await sweep(liveness)

        monkeypatch.setattr(Liveness, "sweep", late)
        await leave(fleet.settings, KEY, ("old1", "one"))
        site = await fleet.site()
        await site.post("two")
        await wait_until(lambda: site.services.queue.table.holds)
        # Another session's turn comes to its wait by then, and this one would be at its agent.
        await site.post("hello", sender="eva")
        await wait_until(lambda: len(site.services.queue.table.holds) == 2)
        looking.set()
        await wait_until(lambda: len(site.agent.asked) == 3)
        assert site.agent.asked.index("one") < site.agent.asked.index("two")

    async def test_a_message_that_waits_there_and_comes_again_is_one_message(
        self, fleet: ChannelFleet, leading: Leading
    ):
        await leave(fleet.settings, KEY, (derived_id("wh", "shop", "m1"), "hello"))
        await leading.pause()
        site = await fleet.site()
        await site.post("hello", id="m1")
        await leading.resume()

        async def is_free() -> bool:
            return await lanes_in_use(fleet.settings) == 0

        await wait_until(is_free)
        assert site.agent.asked == ["hello"]
        assert len(await fleet.messages(KEY)) == 2

    async def test_a_turn_that_runs_there_can_be_stopped(
        self, fleet: ChannelFleet, leading: Leading
    ):
        await leading.pause()
        await leave(fleet.settings, KEY, ("old1", "one"))
        site = await fleet.site()
        gate = HeldScript()
        site.agent.script = gate
        await leading.resume()
        await wait_until(lambda: gate.waiting)
        await site.post("/stop")

        async def is_free() -> bool:
            return await lanes_in_use(fleet.settings) == 0

        await wait_until(is_free)
        assert (await fleet.messages(KEY))[-1][1] == "[interrupted by user]"


class TestRedelivery:
    @pytest.mark.parametrize("deleted", [False, True])
    async def test_a_telegram_message_that_was_taken_under_its_old_id_is_not_run_again(
        self, fleet: ChannelFleet, leading: Leading, deleted: bool
    ):
        old = derived_id("tg", "home", str(CHAT), "1365")
        at = 1441645532 * times.SECOND
        await leading.publish(*said(old, "hello", session=CHAT_KEY, at=at, channel="telegram.home"))
        if deleted:
            await leading.publish(Event("d", EventType.DELETE, CHAT_KEY))
        site = await fleet.site()
        assert (await push(site.http, update("hello", message=1365), SECRET_TOKEN)).is_success
        await free(site, CHAT_KEY)
        await push(site.http, update("more", message=1366), SECRET_TOKEN)
        await wait_until(lambda: site.agent.asked)
        assert site.agent.asked == ["more"]

    async def test_a_new_bots_message_is_not_taken_for_one_of_the_bot_before_it(
        self, fleet: ChannelFleet, leading: Leading
    ):
        old = derived_id("tg", "home", str(CHAT), "1365")
        at = 1441645532 * times.SECOND
        await leading.publish(*said(old, "hello", session=CHAT_KEY, at=at, channel="telegram.home"))
        site = await fleet.site()
        # Written when the old message had been taken for long.
        later = update("hello", message=1365, date=int(time.time()) + 1000)
        assert (await push(site.http, later, SECRET_TOKEN)).is_success
        await wait_until(lambda: site.agent.asked == ["hello"])

    async def test_ids_of_two_bots_are_never_the_same(self, fleet: ChannelFleet):
        ids: set[str] = set()
        for token in (TOKEN, "777:another_bot"):
            document = fleet.settings.model_dump()
            document["channels"]["telegram"]["home"]["bot_token"] = token
            site = await fleet.site(settings=Settings.model_validate(document))
            answer = await push(site.http, update("hello", message=1), SECRET_TOKEN)
            ids.add(answer.json()["accepted"][0]["id"])
        assert len(ids) == 2

    async def test_a_command_that_was_obeyed_under_its_old_id_is_not_obeyed_again(
        self, fleet: ChannelFleet, leading: Leading
    ):
        old = derived_id("tg", "home", str(CHAT), "1365")
        await leading.publish(
            Event(old, EventType.DELETE, CHAT_KEY),
            *said("later", "hello", session=CHAT_KEY, channel="telegram.home"),
        )
        site = await fleet.site()
        await push(site.http, update("/new", message=1365), SECRET_TOKEN)
        await free(site, CHAT_KEY)
        assert len(await fleet.messages(CHAT_KEY)) == 2

    @pytest.mark.parametrize("command", ["/new", "/stop"])
    async def test_a_command_that_was_obeyed_under_its_old_id_stops_no_later_turn(
        self, fleet: ChannelFleet, bot: tuple[BotApi, str], command: str
    ):
        old = derived_id("tg", "home", str(CHAT), "1365")
        async with opened_redis(fleet.settings) as redis:
            await redis.execute_command(
                "SET", f"{fleet.settings.turnstream.prefix}lane_once:{old}", "1"
            )
        site = await fleet.site()
        gate = HeldScript()
        site.agent.script = gate
        await push(site.http, update("hello", message=1366), SECRET_TOKEN)
        await wait_until(lambda: gate.waiting)
        await push(site.http, update(command, message=1365), SECRET_TOKEN)
        gate.open()
        await wait_until(lambda: bot[0].texts)
        assert bot[0].texts[0] == "re: hello"

    async def test_a_chat_message_that_was_answered_under_its_old_id_is_told_its_answer(
        self, fleet: ChannelFleet, leading: Leading
    ):
        old = derived_id("gw", "gw_one", "m1")
        now = times.now()
        await leading.publish(*said(old, "hello", session="gw_one", at=now, agent="anna"))
        site = await fleet.site()
        token = ensure_admin_token(fleet.settings.workspace)
        url = f"{site.url.replace('http', 'ws', 1)}/ws/chat?agent=anna&session_id=one&token={token}"
        async with connect(url) as socket:
            await socket.send(json.dumps({"type": "message", "content": "hello", "id": "m1"}))
            frames = [json.loads(await socket.recv()) for _ in range(2)]
        assert frames[1]["full_response"] == "answered before"
        assert site.agent.asked == []


class TestKeys:
    OLD: Final = "webhook_shop_ada_l_ada_l"

    async def key(self, site: IngestSite, sender: str, text: str = "hello") -> str:
        answer = await site.post(text, sender=sender)
        return answer.json()["accepted"][0]["session"]

    async def had(self, leading: Leading, sender: str, **more: Any) -> None:
        routing = {"channel": "webhook.shop", "room": sender, "sender": sender, **more}
        await leading.publish(*said("old", "before", session=self.OLD, **routing))

    async def test_a_conversation_goes_on_under_the_key_that_it_has(
        self, fleet: ChannelFleet, leading: Leading
    ):
        await self.had(leading, "ada.l")
        site = await fleet.site()
        assert await self.key(site, "ada.l") == self.OLD
        await free(site, self.OLD)
        assert [text for _, text in await fleet.messages(self.OLD)] == [
            *("before", "answered before", "hello", "re: hello"),
        ]

    async def test_a_deleted_conversation_keeps_its_key(
        self, fleet: ChannelFleet, leading: Leading
    ):
        await self.had(leading, "ada.l")
        await leading.publish(Event("d", EventType.DELETE, self.OLD))
        site = await fleet.site()
        assert await self.key(site, "ada.l") == self.OLD

    @pytest.mark.parametrize("more", [{}, {"channel": "webhook.other"}, {"room": "t"}])
    async def test_another_persons_conversation_is_left_to_that_person(
        self, fleet: ChannelFleet, leading: Leading, more: dict[str, str]
    ):
        await self.had(leading, "ada_l" if not more else "ada.l", **more)
        site = await fleet.site()
        key = await self.key(site, "ada.l")
        assert key.startswith(f"{self.OLD}-")
        await free(site, key)
        assert len(await fleet.messages(self.OLD)) == 2
        assert len(await fleet.messages(key)) == 2

    async def test_while_the_store_cannot_say_the_message_waits(
        self, fleet: ChannelFleet, leading: Leading
    ):
        site = await fleet.site()
        await leading.pause()
        await leading.stream.publish(said("x", "y", session="z"))
        answer = await site.post("hello", id="m1", sender="ada.l")
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) >= 1
        assert (await site.post("hello", id="m2", sender="ada")).status_code == 200
        await leading.resume()
        assert (await site.post("hello", id="m1", sender="ada.l")).status_code == 200


class TestOldMessages:
    async def test_a_message_of_a_newer_version_is_read_too(self, fleet: ChannelFleet):
        await leave(fleet.settings, KEY, ("m1", "hello"))
        prefix = fleet.settings.turnstream.prefix
        async with opened_redis(fleet.settings) as redis:
            run = redis.execute_command
            message = json.loads(await run("HGET", f"{prefix}lane:{KEY}", "+m1"))
            changed = json.dumps({**message, "mood": "good"})
            await run("HSET", f"{prefix}lane:{KEY}", "+m1", changed)
        await fleet.site()

        async def is_answered() -> bool:
            return len(await fleet.messages(KEY)) == 2

        await wait_until(is_answered)
