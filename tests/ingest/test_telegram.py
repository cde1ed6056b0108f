"""A Telegram bot against a local server that speaks the Bot API, through the library's client."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from harness.waiting import wait_until
from ingest.agents.base import Reply
from ingest.failures import ABORTED, CLEARED
from proof.botapi import CHAT, TOKEN, BotApi, failed, update
from sessions.errors import ConfigError
from sessions.process.settings import Settings
from sessions.stream.lanes.inbound import Inbound
from sessions.stream.redis import connect
from tests.ingest.botapi import bot_api, push
from tests.ingest.channel_fleet import ChannelFleet, IngestSite, dispatching, free, with_channels
from tests.ingest.logged import logging_as_a_process_does
from tests.ingest.replicas import HeldScript
from tests.leading import Leading

SECRET_TOKEN = "a-token-of-this-test"
KEY = f"telegram_home_{CHAT}_Ada"


@pytest.fixture
async def api() -> AsyncIterator[tuple[BotApi, str]]:
    async with bot_api() as (server, url):
        yield server, url


@pytest.fixture
def bot(api: tuple[BotApi, str]) -> BotApi:
    return api[0]


def telegram(settings: Settings, url: str, **own: Any) -> Settings:
    home = {"bot_token": TOKEN, "api_base_url": url, "allowed_users": ["ada", 42], **own}
    return with_channels(settings, telegram={"home": home})


@pytest.fixture
async def fleet(
    settings: Settings, leading: Leading, api: tuple[BotApi, str]
) -> AsyncIterator[ChannelFleet]:
    webhook = {"mode": "webhook", "secret_token": SECRET_TOKEN}
    async with ChannelFleet.of(telegram(settings, api[1], **webhook)) as fleet:
        yield fleet


@pytest.fixture
async def site(fleet: ChannelFleet) -> IngestSite:
    return await fleet.site()


class TestWebhook:
    async def test_a_message_is_answered_in_its_chat(
        self, fleet: ChannelFleet, site: IngestSite, bot: BotApi
    ):
        answer = await push(site.http, update(), SECRET_TOKEN)
        assert answer.status_code == 200
        await wait_until(lambda: bot.sent)
        assert bot.sent == [{"chat_id": str(CHAT), "text": "re: Is the kettle on?"}]
        assert await fleet.messages(KEY) == [
            ("user", "Is the kettle on?"),
            ("assistant", "re: Is the kettle on?"),
        ]
        row = await fleet.row(KEY)
        assert (row["channel_id"], row["room_id"], row["sender_id"], row["agent_alias"]) == (
            *("telegram.home", str(CHAT), "Ada", "anna"),
        )
        assert row["created_at"].startswith("2015-09-07T17:05:32")

    @pytest.mark.parametrize("token", [None, "", "another", f"{SECRET_TOKEN} "[:-2]])
    async def test_a_wrong_or_missing_secret_token_is_401(
        self, site: IngestSite, token: str | None
    ):
        answer = await push(site.http, update(), token)
        assert (answer.status_code, answer.json()["code"]) == (401, "wrong_signature")

    @pytest.mark.parametrize("raw", [b"{", b"[]", b"7", b"", b"\xff"])
    async def test_a_body_that_is_no_update_is_400(self, site: IngestSite, raw: bytes):
        headers = {"X-Telegram-Bot-Api-Secret-Token": SECRET_TOKEN}
        answer = await site.http.post("/channels/telegram/home", content=raw, headers=headers)
        assert answer.status_code == 400

    async def test_a_forum_topic_is_a_thread_with_a_session_of_its_own(
        self, fleet: ChannelFleet, site: IngestSite, bot: BotApi
    ):
        chat = {"id": -1001234567890, "type": "supergroup", "title": "Kitchen", "is_forum": True}
        said = update(chat=chat["id"], message_thread_id=17, is_topic_message=True)
        said["message"]["chat"] = chat
        said["message"]["from"] = {"id": 42, "is_bot": False, "first_name": "Bo"}
        await push(site.http, said, SECRET_TOKEN)
        await wait_until(lambda: bot.sent)
        assert bot.sent[0]["chat_id"] == "-1001234567890"
        assert bot.sent[0]["message_thread_id"] == "17"
        assert len(await fleet.messages("telegram_home_-1001234567890_17_17_42")) == 2

    async def test_what_nobody_said_to_the_bot_is_taken_and_left_alone(
        self, site: IngestSite, bot: BotApi, caplog: pytest.LogCaptureFixture
    ):
        stranger = {"id": 7, "is_bot": False, "first_name": "Eve", "username": "eve"}
        robot = {"id": 42, "is_bot": True, "first_name": "Bot"}
        sticker = {"file_id": "x", "file_unique_id": "y"}
        for said in (
            update(user=stranger, chat=7),
            update(user=robot),
            update(None),
            update(None, photo=[{**sticker, "width": 1, "height": 1}]),
            {"update_id": 1, "edited_message": update()["message"]},
        ):
            answer = await push(site.http, said, SECRET_TOKEN)
            assert (answer.status_code, answer.json()) == (200, {"accepted": []})
        assert site.agent.asked == []
        assert "user 7 is not in allowed_users" in caplog.text
        assert "kettle" not in caplog.text

    async def test_a_caption_is_a_message(self, site: IngestSite, bot: BotApi):
        photo = [{"file_id": "x", "file_unique_id": "y", "width": 90, "height": 51}]
        await push(site.http, update(None, caption="my cat", photo=photo), SECRET_TOKEN)
        await wait_until(lambda: bot.texts == ["re: my cat"])

    async def test_telegram_is_told_where_to_post(
        self, fleet: ChannelFleet, settings: Settings, api: tuple[BotApi, str]
    ):
        bot, url = api
        own = {"mode": "webhook", "secret_token": SECRET_TOKEN}
        await fleet.site(
            settings=telegram(settings, url, webhook_url="https://a.example/channels", **own)
        )
        await wait_until(lambda: bot.webhook)
        assert bot.webhook is not None
        assert bot.webhook["url"] == "https://a.example/channels"
        assert bot.webhook["secret_token"] == SECRET_TOKEN
        assert json.loads(bot.webhook["allowed_updates"]) == ["message"]


class TestReply:
    async def test_the_bot_is_typing_while_the_agent_works(self, site: IngestSite, bot: BotApi):
        gate = HeldScript()
        site.agent.script = gate
        await push(site.http, update(), SECRET_TOKEN)
        shown = ("sendChatAction", {"chat_id": str(CHAT), "action": "typing"})
        await wait_until(lambda: shown in bot.calls)
        assert bot.sent == []
        gate.open()
        await wait_until(lambda: bot.sent)

    async def test_a_reply_follows_a_group_that_became_a_supergroup(
        self, site: IngestSite, bot: BotApi
    ):
        text = "Bad Request: group chat was upgraded to a supergroup chat"
        bot.refusals = [failed(400, text, migrate_to_chat_id=-1001234567890)]
        await push(site.http, update(), SECRET_TOKEN)
        await wait_until(lambda: bot.sent)
        assert bot.sent[0]["chat_id"] == "-1001234567890"

    async def test_a_user_who_blocked_the_bot_does_not_stop_it(
        self, fleet: ChannelFleet, site: IngestSite, bot: BotApi, caplog: pytest.LogCaptureFixture
    ):
        bot.refusals = [failed(403, "Forbidden: bot was blocked by the user")]
        await push(site.http, update("one"), SECRET_TOKEN)
        await push(site.http, update("two", message=2), SECRET_TOKEN)
        await wait_until(lambda: bot.sent)
        assert bot.texts == ["re: two"]
        assert "blocked by the user" in caplog.text
        assert ("assistant", "re: one") in await fleet.messages(KEY)

    async def test_a_replica_that_takes_over_sends_only_the_pieces_that_were_not_sent(
        self, fleet: ChannelFleet, site: IngestSite, bot: BotApi
    ):
        async def script(*_: Any) -> Any:
            return Reply("a" * 4096 + "b" * 4096 + "c" * 10)

        site.agent.script = script
        answer = await push(site.http, update(), SECRET_TOKEN)
        turn = answer.json()["accepted"][0]["id"]
        await wait_until(lambda: len(bot.sent) == 3)
        await free(site, KEY)
        bot.sent.clear()
        inbound = Inbound(*(turn, KEY, "x", "anna", 0), reply_to="telegram.home", address=str(CHAT))
        async with dispatching(fleet, site) as (dispatch, redis):
            prefix = fleet.settings.turnstream.prefix
            await redis.execute_command("SET", f"{prefix}sent:{turn}", 1)
            await dispatch.deliver(inbound, None)
        assert [text[0] for text in bot.texts] == ["b", "c"]


class TestCommands:
    @pytest.mark.parametrize("text", ["/new", "/clear", "/NEW@home_bot", "/new let us begin"])
    async def test_a_session_starts_again(
        self, fleet: ChannelFleet, site: IngestSite, bot: BotApi, text: str
    ):
        await push(site.http, update("hello", message=1), SECRET_TOKEN)
        answer = await push(site.http, update(text, message=2), SECRET_TOKEN)
        assert answer.json()["accepted"][0]["command"] == "new"
        await push(site.http, update("again", message=3), SECRET_TOKEN)
        await wait_until(lambda: len(bot.sent) == 3)
        assert bot.texts[-2:] == [CLEARED, "re: again"]
        assert await fleet.messages(KEY) == [("user", "again"), ("assistant", "re: again")]
        assert site.agent.asked[-1] == "again"
        assert text not in site.agent.asked

    @pytest.mark.parametrize("text", ["/clear the table", "/newer", "please /new", "/stop it"])
    async def test_what_only_looks_like_a_command_is_a_message(
        self, site: IngestSite, bot: BotApi, text: str
    ):
        await push(site.http, update(text), SECRET_TOKEN)
        await wait_until(lambda: bot.texts == [f"re: {text}"])

    async def test_a_stop_that_is_delivered_again_stops_nothing_else(
        self, site: IngestSite, bot: BotApi
    ):
        await push(site.http, update("/stop", message=1), SECRET_TOKEN)
        gate = HeldScript()
        site.agent.script = gate
        await push(site.http, update("hello", message=2), SECRET_TOKEN)
        await wait_until(lambda: gate.waiting)
        assert (await push(site.http, update("/stop", message=1), SECRET_TOKEN)).status_code == 200
        gate.open()
        await wait_until(lambda: bot.texts == ["re: hello"])

    async def test_a_new_that_is_delivered_again_takes_nothing_away(
        self, fleet: ChannelFleet, site: IngestSite, bot: BotApi
    ):
        for _ in range(2):
            await push(site.http, update("/new", message=1), SECRET_TOKEN)
            await push(site.http, update("hello", message=2), SECRET_TOKEN)
            await free(site, KEY)
        await wait_until(lambda: len(bot.sent) == 2)
        assert bot.texts == [CLEARED, "re: hello"]
        assert await fleet.messages(KEY) == [("user", "hello"), ("assistant", "re: hello")]

    async def test_a_new_that_is_delivered_again_stops_nothing(
        self, fleet: ChannelFleet, site: IngestSite, bot: BotApi
    ):
        other = await fleet.site()
        await push(site.http, update("/new", message=1), SECRET_TOKEN)
        await wait_until(lambda: bot.texts == [CLEARED])
        gate = HeldScript()
        site.agent.script = gate
        await push(site.http, update("hello", message=2), SECRET_TOKEN)
        await wait_until(lambda: gate.waiting)
        for place in (site, other):
            await push(place.http, update("/new", message=1), SECRET_TOKEN)
        gate.open()
        await wait_until(lambda: len(bot.sent) == 2)
        await free(site, KEY)
        assert bot.texts == [CLEARED, "re: hello"]
        assert len(await fleet.messages(KEY)) == 2

    async def test_a_session_that_is_stuck_and_full_can_start_again(
        self, fleet: ChannelFleet, site: IngestSite, bot: BotApi
    ):
        gate = HeldScript()
        site.agent.script = gate
        for number in range(8):
            await push(site.http, update(f"m{number}", message=number + 1), SECRET_TOKEN)
        await wait_until(lambda: gate.waiting)
        full = await push(site.http, update("m8", message=9), SECRET_TOKEN)
        assert full.status_code == 429
        site.agent.script = None
        new = await push(site.http, update("/new", message=10), SECRET_TOKEN)
        assert new.status_code == 200
        await wait_until(lambda: CLEARED in bot.texts)
        assert bot.texts[0] == ABORTED
        await free(site, KEY)
        assert await fleet.messages(KEY) == []


class TestDebounce:
    @pytest.fixture
    async def fleet(
        self, settings: Settings, leading: Leading, api: tuple[BotApi, str]
    ) -> AsyncIterator[ChannelFleet]:
        own = {"mode": "webhook", "secret_token": SECRET_TOKEN, "debounce_ms": 400}
        changed = telegram(settings, api[1], **own)
        async with ChannelFleet.of(changed) as fleet:
            yield fleet

    async def test_messages_that_follow_each_other_are_one_turn(
        self, fleet: ChannelFleet, site: IngestSite, bot: BotApi
    ):
        other = await fleet.site()
        for number, place in enumerate((site, other, site)):
            said = update(f"part {number}", message=number + 1)
            assert (await push(place.http, said, SECRET_TOKEN)).status_code == 200
        await wait_until(lambda: bot.sent)
        assert bot.texts == ["re: part 0\npart 1\npart 2"]
        assert await fleet.messages(KEY) == [
            ("user", "part 0\npart 1\npart 2"),
            ("assistant", "re: part 0\npart 1\npart 2"),
        ]

    async def test_each_of_the_joined_messages_is_known_when_it_is_delivered_again(
        self, fleet: ChannelFleet, site: IngestSite, bot: BotApi
    ):
        for number in (1, 2):
            await push(site.http, update(f"part {number}", message=number), SECRET_TOKEN)
        await wait_until(lambda: bot.sent)
        other = await fleet.site()
        for number in (1, 2):
            await push(other.http, update(f"part {number}", message=number), SECRET_TOKEN)
        await push(other.http, update("new", message=3), SECRET_TOKEN)
        await wait_until(lambda: len(bot.sent) == 2)
        await free(other, KEY)
        assert bot.texts == ["re: part 1\npart 2", "re: new"]
        assert len(await fleet.messages(KEY)) == 4
        assert await fleet.dead_letters() == []

    async def test_a_message_that_is_delivered_again_is_not_joined_to_a_new_one(
        self, fleet: ChannelFleet, site: IngestSite, bot: BotApi
    ):
        for number in (1, 2):
            await push(site.http, update(f"part {number}", message=number), SECRET_TOKEN)
        await wait_until(lambda: bot.sent)
        await free(site, KEY)
        for number in (3, 2, 1):
            await push(site.http, update(f"part {number}", message=number), SECRET_TOKEN)
        await wait_until(lambda: len(bot.sent) == 2)
        await free(site, KEY)
        assert bot.texts == ["re: part 1\npart 2", "re: part 3"]

    async def test_what_came_while_the_agent_was_busy_is_joined(
        self, fleet: ChannelFleet, site: IngestSite, bot: BotApi
    ):
        gate = HeldScript()
        site.agent.script = gate
        await push(site.http, update("first", message=1), SECRET_TOKEN)
        await wait_until(lambda: gate.waiting)
        for number in (2, 3):
            await push(site.http, update(f"part {number}", message=number), SECRET_TOKEN)
        gate.open()
        await wait_until(lambda: len(bot.sent) == 2)
        assert bot.texts == ["re: first", "re: part 2\npart 3"]

    async def test_a_command_is_obeyed_at_once_and_joins_nothing(
        self, fleet: ChannelFleet, site: IngestSite, bot: BotApi
    ):
        await push(site.http, update("part 1", message=1), SECRET_TOKEN)
        await push(site.http, update("/new", message=2), SECRET_TOKEN)
        await wait_until(lambda: len(bot.sent) == 2)
        assert bot.texts == [ABORTED, CLEARED]
        assert site.agent.asked == []
        assert await fleet.messages(KEY) == []

    async def test_the_window_of_the_channel_goes_before_the_one_of_all_channels(
        self, fleet: ChannelFleet, settings: Settings, api: tuple[BotApi, str]
    ):
        own = {"mode": "webhook", "secret_token": SECRET_TOKEN}
        changed = telegram(settings, api[1], **own).replace(debounce_ms=300)
        place = await fleet.site(settings=changed)
        for number in (1, 2):
            await push(place.http, update(f"part {number}", message=number), SECRET_TOKEN)
        await wait_until(lambda: api[0].texts == ["re: part 1\npart 2"])


class TestPolling:
    @pytest.fixture
    async def fleet(
        self, settings: Settings, leading: Leading, api: tuple[BotApi, str]
    ) -> AsyncIterator[ChannelFleet]:
        async with ChannelFleet.of(telegram(settings, api[1])) as fleet:
            yield fleet

    async def test_messages_are_fetched_and_answered(
        self, fleet: ChannelFleet, site: IngestSite, bot: BotApi
    ):
        bot.webhook = {"url": "https://before.example"}
        said = bot.say("hello")
        await wait_until(lambda: bot.texts == ["re: hello"])
        await wait_until(lambda: bot.confirmed == said["update_id"] + 1)
        assert len(await fleet.messages(KEY)) == 2

    async def test_one_replica_polls_and_another_goes_on_when_it_stops(
        self, fleet: ChannelFleet, bot: BotApi
    ):
        async with ChannelFleet.of(fleet.settings) as leaving:
            await leaving.site()
            await wait_until(lambda: bot.pollers)
            await fleet.site()
            bot.say("one")
            await wait_until(lambda: bot.texts == ["re: one"])
            assert bot.most_pollers == 1
        bot.say("two")
        await wait_until(lambda: len(bot.texts) == 2)
        assert bot.most_pollers == 1

    async def test_an_update_is_not_confirmed_before_redis_has_its_message(
        self, fleet: ChannelFleet, site: IngestSite, bot: BotApi
    ):
        gate = HeldScript()
        site.agent.script = gate
        said = [bot.say(f"m{number}") for number in range(9)]
        elsewhere = {"id": 42, "is_bot": False, "first_name": "Bo"}
        other = bot.say("of another chat", chat=42, user=elsewhere)
        await wait_until(lambda: "of another chat" in site.agent.asked)
        assert bot.confirmed <= said[-1]["update_id"]
        gate.open()
        await wait_until(lambda: len(bot.sent) == 10)
        await wait_until(lambda: bot.confirmed == other["update_id"] + 1)
        assert [row["content"] for row in await fleet.rows(KEY) if row["role"] == "user"] == [
            f"m{number}" for number in range(9)
        ]

    async def test_an_outage_is_logged_once_and_sat_out(
        self, fleet: ChannelFleet, site: IngestSite, bot: BotApi, caplog: pytest.LogCaptureFixture
    ):
        await wait_until(lambda: bot.pollers)
        bot.outages = [failed(502, "Bad Gateway"), failed(502, "Bad Gateway")]
        bot.say("hello")
        await wait_until(lambda: bot.texts == ["re: hello"])
        await wait_until(lambda: not bot.outages)
        bot.say("again")
        await wait_until(lambda: bot.texts == ["re: hello", "re: again"])
        told = [record for record in caplog.records if "cannot be polled" in record.message]
        assert [record.levelname for record in told].count("WARNING") == 1

    async def test_a_replica_that_died_leaves_the_bot_to_another_when_its_lease_ends(
        self, fleet: ChannelFleet, bot: BotApi, redis_url: str
    ):
        prefix = fleet.settings.turnstream.prefix
        key = f"{prefix}poller:telegram.home"
        async with aclosing(connect(redis_url)) as redis:
            await redis.execute_command("SET", key, "a replica that is dead")
            await fleet.site()
            bot.say("hello")
            assert bot.most_pollers == 0
            await redis.execute_command("PEXPIRE", key, 1)
            await wait_until(lambda: bot.texts == ["re: hello"])

    async def test_a_bot_that_polls_takes_no_posts(self, site: IngestSite):
        assert (await push(site.http, update(), SECRET_TOKEN)).status_code == 404

    async def test_no_log_line_shows_the_token_or_what_was_said(
        self, fleet: ChannelFleet, bot: BotApi, caplog: pytest.LogCaptureFixture
    ):
        with logging_as_a_process_does(caplog):
            await fleet.site()
            bot.refusals = [failed(500, f"Internal Server Error at /bot{TOKEN}/sendMessage")]
            bot.say("a secret of ours")
            await wait_until(lambda: bot.sent)
        assert "is tried again" in caplog.text
        assert TOKEN not in caplog.text
        assert "a secret of ours" not in caplog.text


class TestSettings:
    @pytest.mark.parametrize(
        ("own", "culprit"),
        [
            ({"bot_token": None}, r"channels\.telegram\.home: set bot_token"),
            ({"bot_token": "nonsense"}, r"home\.bot_token must have the form"),
            ({"mode": "webhook"}, r"needs secret_token"),
            ({"mode": "webhook", "secret_token": "ümlaut"}, r"needs secret_token"),
            ({"api_base_url": "ftp://x"}, r"home\.api_base_url must be a URL"),
        ],
    )
    async def test_a_bot_that_is_wrong_stops_the_start_and_says_where(
        self, settings: Settings, leading: Leading, own: dict[str, Any], culprit: str
    ):
        async with ChannelFleet.of(settings) as fleet:
            with pytest.raises(ConfigError, match=culprit) as caught:
                await fleet.site(settings=telegram(settings, "http://127.0.0.1:1", **own))
        assert TOKEN not in str(caught.value)

    async def test_without_allowed_users_nobody_may_write(
        self, fleet: ChannelFleet, settings: Settings, api: tuple[BotApi, str]
    ):
        own = {"mode": "webhook", "secret_token": SECRET_TOKEN, "allowed_users": []}
        site = await fleet.site(settings=telegram(settings, api[1], **own))
        answer = await push(site.http, update(), SECRET_TOKEN)
        assert answer.json() == {"accepted": []}
