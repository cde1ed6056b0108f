"""What Telegram may bring: updates that nobody can read, and what stands beside a text."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import AsyncIterator
from typing import Any, Final

import httpx
import pytest
from fastapi import Response

from harness.waiting import wait_until
from ingest.channels.failure_counts import ChannelFailure
from ingest.failures import CLEARED
from proof.botapi import CHAT, DEEP, TOKEN, BotApi, failed, update
from sessions.process.settings import Settings
from tests.ingest.botapi import bot_api, push
from tests.ingest.channel_fleet import SECRET as SHOP_SECRET
from tests.ingest.channel_fleet import ChannelFleet, IngestSite, free, with_channels
from tests.ingest.logged import logging_as_a_process_does
from tests.leading import Leading

SECRET_TOKEN = "a-token-of-this-test"
KEY = f"telegram_home_{CHAT}_Ada"
# Stands in every text that a log must not show.
SECRET: Final = "xyzzy"
BO: Final = {"id": 42, "is_bot": False, "first_name": "Bo"}
GROUP: Final = {"id": -5, "type": "supergroup", "title": "Kitchen"}
# A search through the night takes another seed and more of them.
STRANGE: Final = 150
_VALUES: Final = (
    *(None, True, False, 0, -1, 7, 1.5, 2**63, -(2**70), 10**30, float("nan"), "", SECRET),
    *("\ud83d", f"\0{SECRET}", [], [SECRET], [[]], {}, {"id": SECRET}, {"id": 1}, DEEP),
)


@pytest.fixture
async def api() -> AsyncIterator[tuple[BotApi, str]]:
    async with bot_api() as (server, url):
        yield server, url


@pytest.fixture
def bot(api: tuple[BotApi, str]) -> BotApi:
    return api[0]


def telegram(settings: Settings, url: str, **own: Any) -> Settings:
    home = {"bot_token": TOKEN, "api_base_url": url, "allowed_users": ["ada", 42], **own}
    shop = {"secret": SHOP_SECRET}
    return with_channels(settings, telegram={"home": home}, webhook={"shop": shop})


@pytest.fixture
async def polled(
    settings: Settings, leading: Leading, api: tuple[BotApi, str]
) -> AsyncIterator[ChannelFleet]:
    async with ChannelFleet.of(telegram(settings, api[1])) as fleet:
        yield fleet


@pytest.fixture
async def posted(
    settings: Settings, leading: Leading, api: tuple[BotApi, str]
) -> AsyncIterator[ChannelFleet]:
    own = {"mode": "webhook", "secret_token": SECRET_TOKEN}
    async with ChannelFleet.of(telegram(settings, api[1], **own)) as fleet:
        yield fleet


async def post_raw(http: httpx.AsyncClient, raw: bytes) -> httpx.Response:
    headers = {"X-Telegram-Bot-Api-Secret-Token": SECRET_TOKEN}
    return await http.post("/channels/telegram/home", content=raw, headers=headers)


def group(text: str, **more: Any) -> dict[str, Any]:
    """A message of Bo in a group."""
    said = update(text, user=BO, **more)
    said["message"]["chat"] = GROUP
    return said


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The ways to everything in a JSON value."""
    found = [path]
    for key, inner in value.items() if isinstance(value, dict) else ():
        found += places(inner, (*path, key))
    return found


def strange(dice: random.Random, number: int) -> Any:
    """An update of a kind that nobody foresaw: one or two of its parts are something else."""
    said = update(f"{SECRET} {number}", number=number, message=number, user=BO, chat=number)
    reply = copy.deepcopy(said["message"])
    origin = {"type": "user", "date": 1, "sender_user": BO}
    said["message"] |= {"reply_to_message": reply, "forward_origin": origin, "photo": []}
    said = copy.deepcopy(said)
    for _ in range(dice.choice((1, 1, 2))):
        ways = [path for path in places(said) if path not in ((), ("update_id",))]
        if not ways:
            break
        *way, last = dice.choice(ways)
        inner = said
        for key in way:
            inner = inner[key]
        if isinstance(inner, dict) and dice.random() < 0.2:
            inner.pop(last, None)
        elif isinstance(inner, dict):
            inner[last] = dice.choice(_VALUES)
    return said


class TestUnreadable:
    async def test_neighbours_of_what_nobody_can_read_are_answered(
        self, polled: ChannelFleet, bot: BotApi, caplog: pytest.LogCaptureFixture
    ):
        dice = random.Random(7)
        with logging_as_a_process_does(caplog):
            site = await polled.site()
            for number in range(1, STRANGE + 1):
                if number % 25 == 0:
                    bot.bring(update(f"fine {number}", number=number, user=BO, chat=-number))
                else:
                    bot.bring(strange(dice, number))
            fine = [f"re: fine {number}" for number in range(25, STRANGE + 1, 25)]
            await wait_until(lambda: {*fine} <= {*bot.texts}, within=60)
            await wait_until(lambda: bot.confirmed == STRANGE + 1)
        troubles = site.services.troubles
        assert troubles.of(ChannelFailure.FAILED, channel="telegram.home") == 0
        assert troubles.of(ChannelFailure.UNREADABLE, channel="telegram.home") > STRANGE // 4
        assert SECRET not in caplog.text

    async def test_whatever_object_is_posted_is_answered_with_200(
        self, posted: ChannelFleet, bot: BotApi, caplog: pytest.LogCaptureFixture
    ):
        dice = random.Random(8)
        with logging_as_a_process_does(caplog):
            site = await posted.site()
            raws = [json.dumps(strange(dice, number)) for number in range(1, STRANGE + 1)]
            raws += ["{}", '{"update_id": 1}', '{"message": 7}', '{"a": "\\ud83d"}', '{"a": NaN}']
            for raw in raws:
                deep = raw.replace(f'"{DEEP}"', "[" * 9000 + "]" * 9000)
                answer = await post_raw(site.http, deep.encode())
                assert answer.status_code == 200, raw
            await push(site.http, update("fine", message=999_999), SECRET_TOKEN)
            await wait_until(lambda: "re: fine" in bot.texts)
        assert (
            site.services.troubles.of(ChannelFailure.UNREADABLE, channel="telegram.home")
            > STRANGE // 4
        )
        assert SECRET not in caplog.text

    @pytest.mark.parametrize(
        "junk", [7, None, "text", [], {}, {"update_id": -4}, {"update_id": "9"}]
    )
    async def test_an_update_without_a_number_hides_no_other(
        self, polled: ChannelFleet, bot: BotApi, junk: Any
    ):
        site = await polled.site()
        await wait_until(lambda: bot.pollers)
        bot.bring(junk)
        bot.say("hello")
        await wait_until(lambda: bot.texts == ["re: hello"])
        assert site.services.troubles.of(ChannelFailure.UNREADABLE, channel="telegram.home") == 1

    @pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"ok": true}', b"\xff", b'"x"'])
    async def test_an_answer_that_is_none_is_an_outage_like_any_other(
        self, polled: ChannelFleet, bot: BotApi, body: bytes
    ):
        bot.outages = [Response(body)]
        site = await polled.site()
        bot.say("hello")
        await wait_until(lambda: bot.texts == ["re: hello"], within=60)
        assert site.services.troubles.of(ChannelFailure.FAILED, channel="telegram.home") == 0

    async def test_a_name_that_cannot_be_stored_is_skipped_at_once(
        self, polled: ChannelFleet, bot: BotApi
    ):
        site = await polled.site()
        bot.say("hello", user={**BO, "username": "a\ud83d"})
        bot.say("hello")
        await wait_until(lambda: bot.confirmed == 10002)
        assert site.services.troubles.of(ChannelFailure.UNREADABLE, channel="telegram.home") == 1
        assert site.services.troubles.of(ChannelFailure.LEFT_OUT, channel="telegram.home") == 0

    async def test_numbers_that_begin_anew_are_confirmed_like_others(
        self, polled: ChannelFleet, bot: BotApi
    ):
        await polled.site()
        bot.bring(update("before", number=900_000, message=1))
        await wait_until(lambda: bot.texts == ["re: before"])
        await wait_until(lambda: not bot.queue)
        # More than Telegram gives at a time: those behind come only if these are confirmed.
        for number in range(120):
            bot.bring(update("/weather@another_bot", number=number, user=BO, chat=-5))
            bot.queue[-1]["message"]["chat"] = GROUP
        bot.bring(update("after", number=120, message=2))
        await wait_until(lambda: bot.texts == ["re: before", "re: after"])
        await wait_until(lambda: not bot.queue)

    async def test_a_message_that_fails_each_time_is_left_out_and_others_go_on(
        self, polled: ChannelFleet, bot: BotApi, monkeypatch: pytest.MonkeyPatch
    ):
        site = await polled.site()
        accept, tries = site.services.queue.accept, 0

        async def fail(inbound: Any, **more: Any) -> Any:
            nonlocal tries
            if inbound.text == "broken":
                tries += 1
                raise ZeroDivisionError
            return await accept(inbound, **more)

        monkeypatch.setattr(site.services.queue, "accept", fail)
        bot.say("broken", chat=77, user=BO)
        bot.say("hello")
        await wait_until(lambda: bot.texts == ["re: hello"])
        await wait_until(lambda: bot.confirmed == 10002, within=60)
        assert tries == 5
        assert site.services.troubles.of(ChannelFailure.LEFT_OUT, channel="telegram.home") == 1


class TestDefect:
    async def test_a_channel_that_fails_begins_again_and_ends_nothing_else(
        self, polled: ChannelFleet, bot: BotApi, caplog: pytest.LogCaptureFixture
    ):
        site = await polled.site()
        await wait_until(lambda: bot.pollers)
        channel: Any = site.services.channels["telegram.home"]
        updates, failures = channel.updates, 0

        async def fail(offset: int | None) -> Any:
            nonlocal failures
            failures += 1
            if failures < 3:
                raise ZeroDivisionError
            return await updates(offset)

        channel.updates = fail
        await wait_until(lambda: failures >= 1)
        bot.say("hello")
        assert (await site.post("still here", sender="ada")).status_code == 200
        await wait_until(lambda: "re: hello" in bot.texts, within=60)
        told = [one for one in caplog.records if "begins again" in one.message]
        assert len(told) == 1
        assert site.services.troubles.of(ChannelFailure.FAILED, channel="telegram.home") == 2


class TestAddressee:
    @pytest.fixture
    async def site(self, posted: ChannelFleet) -> IngestSite:
        return await posted.site()

    @pytest.mark.parametrize("command", ["/new", "/clear", "/stop", "/weather"])
    async def test_a_command_to_another_bot_in_a_group_is_none_of_our_business(
        self, posted: ChannelFleet, site: IngestSite, bot: BotApi, command: str
    ):
        key = (await push(site.http, group("hello", message=1), SECRET_TOKEN)).json()["accepted"][
            0
        ]["session"]
        await wait_until(lambda: bot.texts == ["re: hello"])
        answer = await push(site.http, group(f"{command}@another_bot", message=2), SECRET_TOKEN)
        assert answer.json() == {"accepted": []}
        await free(site, key)
        assert len(await posted.messages(key)) == 2
        assert bot.texts == ["re: hello"]

    @pytest.mark.parametrize("text", ["/new@home_bot", "/NEW@HOME_BOT now", "/new", " /clear"])
    async def test_a_command_to_us_or_to_nobody_is_ours(
        self, site: IngestSite, bot: BotApi, text: str
    ):
        answer = await push(site.http, group(text), SECRET_TOKEN)
        assert answer.json()["accepted"][0]["command"] == "new"
        await wait_until(lambda: bot.texts == [CLEARED])

    async def test_a_command_to_another_bot_in_a_private_chat_is_a_message(
        self, site: IngestSite, bot: BotApi
    ):
        await push(site.http, update("/new@another_bot"), SECRET_TOKEN)
        await wait_until(lambda: bot.texts == ["re: /new@another_bot"])

    async def test_a_command_waits_while_the_name_of_the_bot_cannot_be_asked_for(
        self, polled: ChannelFleet, bot: BotApi
    ):
        bot.nameless = [failed(502, "Bad Gateway"), failed(502, "Bad Gateway")]
        await polled.site()
        bot.say("/new@home_bot")
        bot.say("of another chat", user=BO, chat=42)
        await wait_until(lambda: sorted(bot.texts) == sorted([CLEARED, "re: of another chat"]))

    async def test_a_bot_whose_name_is_refused_obeys_no_command_with_a_name(
        self, site: IngestSite, bot: BotApi
    ):
        bot.nameless = [failed(401, "Unauthorized")]
        answer = await push(site.http, group("/new@home_bot"), SECRET_TOKEN)
        assert answer.json() == {"accepted": []}

    async def test_commands_elsewhere_have_no_addressee(self, site: IngestSite):
        taken = (await site.post("/new@home_bot", sender="ada")).json()["accepted"][0]
        assert "command" not in taken


def user_origin(**user: Any) -> dict[str, Any]:
    sender = {"id": 9, "is_bot": False, "first_name": "Eve", **user}
    return {"type": "user", "date": 1, "sender_user": sender}


CHANNEL: Final = {"id": -9, "type": "channel", "title": "News"}
REPLY: Final = update("one\ntwo", message=7)["message"]


class TestContext:
    @pytest.mark.parametrize(
        ("more", "stored"),
        [
            ({"reply_to_message": REPLY}, "> @Ada:\n> one\n> two\n\nwhat?"),
            (
                {"reply_to_message": {**REPLY, "from": BO}},
                "> @Bo:\n> one\n> two\n\nwhat?",
            ),
            (
                {"reply_to_message": update(None, message=7, sticker=None)["message"]},
                "> @Ada:\n> [Message]\n\nwhat?",
            ),
            (
                {
                    "external_reply": {"origin": user_origin()},
                    "quote": {"text": "q", "position": 0},
                },
                "> @Eve:\n> q\n\nwhat?",
            ),
            (
                {
                    "external_reply": {
                        "origin": {"type": "hidden_user", "date": 1} | {"sender_user_name": "Zoe"}
                    }
                },
                "> @Zoe:\n> [Message]\n\nwhat?",
            ),
            ({"forward_origin": user_origin()}, "[Forwarded from Eve] what?"),
            ({"forward_origin": user_origin(last_name="X")}, "[Forwarded from Eve X] what?"),
            ({"forward_origin": user_origin(username="eve")}, "[Forwarded from @eve] what?"),
            (
                {
                    "forward_origin": {
                        "type": "channel",
                        "date": 1,
                        "message_id": 3,
                        "chat": CHANNEL,
                    }
                },
                "[Forwarded from channel: News] what?",
            ),
            (
                {"forward_origin": {"type": "chat", "date": 1, "sender_chat": GROUP}},
                "[Forwarded from chat: Kitchen] what?",
            ),
            (
                {"forward_origin": {"type": "hidden_user", "date": 1, "sender_user_name": "Zoe"}},
                "[Forwarded from Zoe] what?",
            ),
            (
                {"forward_origin": user_origin(), "reply_to_message": REPLY},
                "[Forwarded from Eve]\n\n> @Ada:\n> one\n> two\n\nwhat?",
            ),
        ],
    )
    async def test_what_is_quoted_or_forwarded_is_stored_with_the_text(
        self, posted: ChannelFleet, bot: BotApi, more: dict[str, Any], stored: str
    ):
        site = await posted.site()
        await push(site.http, update("what?", **more), SECRET_TOKEN)
        await wait_until(lambda: bot.sent)
        assert (await posted.messages(KEY))[0] == ("user", stored)

    async def test_the_beginning_of_a_topic_is_not_quoted_in_it(
        self, posted: ChannelFleet, bot: BotApi
    ):
        site = await posted.site()
        topic = {"message_thread_id": 7, "is_topic_message": True}
        await push(site.http, group("hi", reply_to_message=REPLY, **topic), SECRET_TOKEN)
        await wait_until(lambda: bot.texts == ["re: hi"])

    async def test_a_command_in_a_reply_is_obeyed_and_a_forwarded_one_is_not(
        self, posted: ChannelFleet, bot: BotApi
    ):
        site = await posted.site()
        said = update("/new", message=1, reply_to_message=REPLY)
        answer = await push(site.http, said, SECRET_TOKEN)
        assert answer.json()["accepted"][0]["command"] == "new"
        said = update("/new", message=2, forward_origin=user_origin())
        answer = await push(site.http, said, SECRET_TOKEN)
        assert "command" not in answer.json()["accepted"][0]
