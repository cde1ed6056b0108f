"""A Discord bot against a local server that speaks its gateway and REST API, through hikari."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx
import pytest
from starlette.responses import HTMLResponse, Response

from harness.waiting import wait_until
from ingest.agents.base import Reply
from ingest.channels.base import Outgoing, PauseAsked, ReplyStatus, Undeliverable
from ingest.channels.failure_counts import ChannelFailure
from ingest.failures import CLEARED
from proof.discordapi import GUILD, DiscordBot, app_of, flooded, person, refused, snowflake
from sessions.errors import ConfigError, Retryable
from sessions.process.settings import Settings
from tests.ingest.channel_fleet import ChannelFleet, IngestSite, free, with_channels
from tests.ingest.logged import logging_as_a_process_does
from tests.ingest.replicas import Answer, HeldScript
from tests.ingest.serving import serving
from tests.leading import Leading

ROOM = 700_000_000_000_000_100
THREAD = 700_000_000_000_000_200
DIRECT = 700_000_000_000_000_300
ADA = person(600_000_000_000_000_001, "ada")
EVE = person(600_000_000_000_000_666, "eve")
KEY = f"discord_home_{ROOM}_{ADA['id']}"


@dataclass
class Discord:
    """The bot at its platform, and the address of that."""

    bot: DiscordBot
    url: str

    def settings(self, settings: Settings, **own: Any) -> Settings:
        home = {
            "bot_token": self.bot.token,
            "api_base_url": self.url,
            "allowed_users": ["ada"],
            "public_key": self.bot.public_key,
            **own,
        }
        return with_channels(settings, discord={"home": home}, anna=("discord.home",))


@pytest.fixture
async def discord() -> AsyncIterator[Discord]:
    bot = DiscordBot()
    bot.channels = {ROOM: [], THREAD: [], DIRECT: []}
    bot.threads, bot.direct = {THREAD}, {DIRECT}
    bot.gateway.interval = 2.0
    async with serving(app_of(bot)) as address:
        yield Discord(bot, f"http://{address}/api/v10")


@pytest.fixture
def bot(discord: Discord) -> DiscordBot:
    return discord.bot


@pytest.fixture
async def fleet(
    settings: Settings, leading: Leading, discord: Discord
) -> AsyncIterator[ChannelFleet]:
    async with ChannelFleet.of(discord.settings(settings)) as fleet:
        yield fleet


async def listening(fleet: ChannelFleet, bot: DiscordBot, **own: Any) -> IngestSite:
    """An ingest that listens to the gateway."""
    before = bot.gateway.identified
    site = await fleet.site(**own)
    await wait_until(lambda: bot.gateway.identified > before and bot.gateway.connected)
    return site


class TestMessages:
    async def test_a_message_in_a_channel_is_answered_there(
        self, fleet: ChannelFleet, bot: DiscordBot
    ):
        await listening(fleet, bot)
        await bot.say("Is the kettle on?", channel=ROOM, author=ADA)
        await wait_until(lambda: bot.sent)
        assert bot.texts_in(ROOM) == ["re: Is the kettle on?"]
        assert bot.sent[0]["allowed_mentions"] == {"parse": []}
        assert await fleet.messages(KEY) == [
            ("user", "Is the kettle on?"),
            ("assistant", "re: Is the kettle on?"),
        ]
        row = await fleet.row(KEY)
        assert (row["channel_id"], row["room_id"], row["sender_id"], row["agent_alias"]) == (
            *("discord.home", str(ROOM), ADA["id"], "anna"),
        )

    @pytest.mark.parametrize("channel", [THREAD, DIRECT])
    async def test_threads_and_direct_messages_are_sessions_of_their_own(
        self, fleet: ChannelFleet, bot: DiscordBot, channel: int
    ):
        await listening(fleet, bot)
        await bot.say("hello", channel=channel, author=ADA)
        await wait_until(lambda: bot.texts_in(channel) == ["re: hello"])
        assert await fleet.messages(f"discord_home_{channel}_{ADA['id']}")

    async def test_what_is_stored_is_what_people_read(self, fleet: ChannelFleet, bot: DiscordBot):
        site = await listening(fleet, bot)
        said = [
            {"content": f"<@{bot.number}> ask <@{EVE['id']}> please", "mentions": [bot.user, EVE]},
            {"content": "see", "attachments": [{"filename": "a b.txt"}, {"filename": "c.png"}]},
            {"content": "", "attachments": [{"filename": "d.png"}]},
            {
                "content": "I think so.",
                "type": 19,
                "referenced_message": {"author": EVE, "content": "Is it open?\nNow?"},
            },
            {"content": "", "message_snapshots": [{"message": {"content": "/new"}}]},
        ]
        for number, one in enumerate(said, 1):
            await bot.say(channel=ROOM, author=ADA, **one)
            await wait_until(lambda n=number: len(site.agent.asked) == n)
        assert site.agent.asked == [
            "ask @eve please",
            "see\n\n[Attachments]\na b.txt\nc.png",
            "[Attachments]\nd.png",
            "> @eve:\n> Is it open?\n> Now?\n\nI think so.",
            "[Forwarded] /new",
        ]

    async def test_only_what_allowed_people_write_is_taken(
        self, fleet: ChannelFleet, bot: DiscordBot
    ):
        site = await listening(fleet, bot)
        await bot.say("let me in", channel=ROOM, author=EVE)
        await bot.say("I am a bot", channel=ROOM, author={**ADA, "bot": True})
        await bot.say("by a webhook", channel=ROOM, author=ADA, webhook_id="1234")
        await bot.say("", channel=ROOM, author=ADA, type=7)
        await bot.say("   ", channel=ROOM, author=ADA)
        await bot.say("the last one", channel=ROOM, author=ADA)
        await wait_until(lambda: bot.sent)
        assert site.agent.asked == ["the last one"]

    async def test_what_cannot_be_read_is_skipped_and_shown_nowhere(
        self, fleet: ChannelFleet, bot: DiscordBot, caplog: pytest.LogCaptureFixture
    ):
        broken: list[dict[str, Any]] = [
            {"content": 5},
            {"author": None},
            {"content": "half a pair: \ud800"},
            {"mentions": [{"id": "x"}]},
            {"id": "none"},
            {"channel_id": None},
        ]
        with logging_as_a_process_does(caplog):
            site = await listening(fleet, bot)
            for part in broken:
                raw = bot.with_guild(bot.message("a secret word", channel=ROOM, author=ADA))
                await bot.gateway.dispatch("MESSAGE_CREATE", {**raw, **part})
            await bot.say("after them", channel=ROOM, author=ADA)
            await wait_until(lambda: bot.sent)
        assert site.agent.asked == ["after them"]
        assert "secret word" not in caplog.text
        troubles = site.services.troubles
        assert troubles.of(ChannelFailure.UNREADABLE, channel="discord.home") == len(broken)

    async def test_with_mention_only_the_bot_is_asked_by_its_name(
        self, settings: Settings, discord: Discord, fleet: ChannelFleet
    ):
        bot = discord.bot
        # It needs no right to what others write.
        bot.reads_content = False
        site = await listening(fleet, bot, settings=discord.settings(settings, mention_only=True))
        await bot.say("not for you", channel=ROOM, author=ADA)
        await bot.say(f"<@{bot.number}> for you", channel=ROOM, author=ADA)
        await bot.say("between us", channel=DIRECT, author=ADA)
        await wait_until(lambda: len(bot.sent) == 2)
        assert sorted(site.agent.asked) == ["between us", "for you"]

    async def test_a_shared_session_has_names_before_the_texts(
        self, settings: Settings, discord: Discord, fleet: ChannelFleet
    ):
        own = discord.settings(settings, session="channel", allowed_users=["*"])
        await listening(fleet, discord.bot, settings=own)
        for number, author in enumerate((ADA, EVE), 1):
            await discord.bot.say("hello", channel=ROOM, author=author)
            await wait_until(lambda n=number: len(discord.bot.sent) == n)
        texts = [text for _, text in await fleet.messages(f"discord_home_{ROOM}")]
        assert texts[::2] == ["ada: hello", "eve: hello"]


class TestGateway:
    @pytest.mark.parametrize(
        "accident", ["killed", "told to reconnect", "invalidated", "forgotten"]
    )
    async def test_nothing_is_lost_or_answered_twice(
        self, fleet: ChannelFleet, bot: DiscordBot, accident: str
    ):
        site = await listening(fleet, bot)
        for channel in (ROOM, DIRECT):
            await bot.say("before", channel=channel, author=ADA)
        await wait_until(lambda: len(bot.texts) == 2)
        match accident:
            case "killed":
                await bot.gateway.kill()
            case "told to reconnect":
                await bot.gateway.order_reconnect()
            case "invalidated":
                await bot.gateway.invalidate()
            case _:
                await bot.gateway.kill(forget=True)
        await bot.say("meanwhile", channel=ROOM, author=ADA)
        await bot.say("in another place", channel=DIRECT, author=ADA)
        await wait_until(lambda: bot.gateway.connected, within=30)
        await bot.say("after", channel=ROOM, author=ADA)
        await wait_until(lambda: len(bot.texts) == 5)
        assert bot.texts_in(ROOM) == ["re: before", "re: meanwhile", "re: after"]
        assert bot.texts_in(DIRECT) == ["re: before", "re: in another place"]
        assert len(site.agent.asked) == 5
        is_resumed = accident in ("killed", "told to reconnect")
        assert (bot.gateway.resumed, bot.gateway.identified) == ((1, 1) if is_resumed else (0, 2))

    async def test_a_connection_without_answers_to_heartbeats_is_left(
        self, fleet: ChannelFleet, bot: DiscordBot
    ):
        await listening(fleet, bot)
        bot.gateway.is_silent = True
        await wait_until(lambda: bot.gateway.resumed, within=15)

    async def test_what_is_written_while_nobody_listens_is_answered_later_in_order(
        self, fleet: ChannelFleet, settings: Settings, discord: Discord
    ):
        bot = discord.bot
        async with ChannelFleet.of(discord.settings(settings)) as first:
            await listening(first, bot)
            await bot.say("one", channel=ROOM, author=ADA)
            await bot.say("two", channel=DIRECT, author=ADA)
            await wait_until(lambda: len(bot.texts) == 2)
        missed = [f"missed {number}" for number in range(4)]
        for text in missed:
            await bot.say(text, channel=ROOM, author=ADA)
        await bot.say("three", channel=DIRECT, author=ADA)
        bot.channels[THREAD + 1] = []
        bot.threads.add(THREAD + 1)
        await bot.say("four", channel=THREAD + 1, author=ADA)
        site = await listening(fleet, bot)
        await wait_until(lambda: len(bot.texts) == 8)
        assert bot.texts_in(ROOM) == ["re: one", *(f"re: {text}" for text in missed)]
        assert bot.texts_in(DIRECT) == ["re: two", "re: three"]
        assert len(site.agent.asked) == 6

    @pytest.mark.endurance
    @pytest.mark.timeout(600)
    async def test_a_thousand_messages_while_the_gateway_fails_are_each_answered_once(
        self, settings: Settings, discord: Discord, fleet: ChannelFleet
    ):
        bot = discord.bot
        own = discord.settings(settings, allowed_users=["*"])
        sites = [await listening(fleet, bot, settings=own), await fleet.site(settings=own)]
        places = [ROOM, THREAD, *range(ROOM + 1, ROOM + 19)]
        accidents = itertools.cycle(
            [
                bot.gateway.kill,
                bot.gateway.order_reconnect,
                bot.gateway.invalidate,
                partial(bot.gateway.kill, forget=True),
            ]
        )
        for number in range(1000):
            await bot.say(f"text {number}", channel=places[number % len(places)], author=ADA)
            await asyncio.sleep(0.05)
            if number % 125 == 100:
                await next(accidents)()
        await wait_until(lambda: len(bot.texts) >= 1000, within=300)
        assert sorted(bot.texts) == sorted(f"re: text {number}" for number in range(1000))
        asked = [text for site in sites for text in site.agent.asked]
        assert sorted(asked) == sorted(f"text {number}" for number in range(1000))
        for place in places:
            heard = [int(text.split()[-1]) for text in bot.texts_in(place)]
            assert heard == sorted(heard)

    async def test_what_was_written_before_the_first_start_is_not_answered(
        self, fleet: ChannelFleet, bot: DiscordBot
    ):
        await bot.say("long ago", channel=ROOM, author=ADA)
        await asyncio.sleep(0.01)
        site = await listening(fleet, bot)
        await bot.say("now", channel=ROOM, author=ADA)
        await wait_until(lambda: bot.sent)
        assert site.agent.asked == ["now"]

    async def test_a_channel_that_may_not_be_read_does_not_stop_the_others(
        self, fleet: ChannelFleet, bot: DiscordBot
    ):
        bot.unreadable = {THREAD}
        await listening(fleet, bot)
        await bot.say("heard", channel=THREAD, author=ADA)
        await bot.say("too", channel=ROOM, author=ADA)
        await wait_until(lambda: sorted(bot.texts) == ["re: heard", "re: too"])

    async def test_a_channel_that_discord_has_no_history_of_does_not_stop_the_others(
        self, fleet: ChannelFleet, bot: DiscordBot, monkeypatch: pytest.MonkeyPatch
    ):
        history = bot.history

        def answer(channel: int, after: int, limit: int) -> Response:
            if channel == THREAD:
                return refused(400, 50024, "Cannot execute action on this channel type")
            return history(channel, after, limit)

        monkeypatch.setattr(bot, "history", answer)
        await listening(fleet, bot)
        await bot.say("heard", channel=THREAD, author=ADA)
        await bot.say("too", channel=ROOM, author=ADA)
        await wait_until(lambda: sorted(bot.texts) == ["re: heard", "re: too"])
        assert bot.gateway.identified == 1

    async def test_a_refused_message_holds_back_its_own_session_only(
        self, settings: Settings, discord: Discord, fleet: ChannelFleet
    ):
        own = discord.settings(settings, allowed_users=["*"])
        bot, held = discord.bot, HeldScript()
        site = await listening(fleet, bot, settings=own)
        site.agent.script = held
        said = [f"text {number}" for number in range(10)]
        for text in said:
            await bot.say(text, channel=ROOM, author=ADA)
        await wait_until(lambda: held.waiting)
        await bot.say("from another", channel=ROOM, author=EVE)
        await wait_until(lambda: held.waiting == 2)
        held.open()
        await wait_until(lambda: len(bot.texts) == 11, within=30)
        assert [text for text in site.agent.asked if text in said] == said

    async def test_one_replica_listens_and_another_takes_over(
        self, fleet: ChannelFleet, bot: DiscordBot
    ):
        first = await listening(fleet, bot)
        second = await fleet.site()
        await asyncio.sleep(2)
        assert (bot.gateway.connected, bot.gateway.identified) == (1, 1)
        await bot.say("hello", channel=ROOM, author=ADA)
        await wait_until(lambda: bot.texts == ["re: hello"])
        assert len(first.agent.asked) + len(second.agent.asked) == 1

    async def test_a_missing_intent_is_named(
        self, fleet: ChannelFleet, bot: DiscordBot, caplog: pytest.LogCaptureFixture
    ):
        bot.reads_content = False
        await fleet.site()
        await wait_until(lambda: "Message Content Intent" in caplog.text)
        assert "Developer Portal" in caplog.text
        await bot.say("nobody hears it yet", channel=ROOM, author=ADA)
        bot.reads_content = True
        await wait_until(lambda: bot.texts == ["re: nobody hears it yet"], within=30)
        assert bot.token not in caplog.text


class TestReplies:
    async def test_a_long_reply_comes_in_pieces_with_whole_code_blocks(
        self, fleet: ChannelFleet, bot: DiscordBot
    ):
        site = await listening(fleet, bot)
        code = "\n".join(f"    line_{number} = {number}" for number in range(200))
        site.agent.script = replying(f"See:\n```python\n{code}\n```\nThat is all.")
        await bot.say("show me", channel=ROOM, author=ADA)
        await wait_until(lambda: bot.texts and bot.texts[-1].endswith("That is all."))
        assert len(bot.texts) > 1
        for text in bot.texts:
            assert len(text) <= 2000
            assert text.count("```") == 2
        lines = [line for text in bot.texts for line in text.splitlines() if "line_" in line]
        assert "\n".join(lines) == code

    async def test_a_pause_that_discord_asks_for_is_kept(
        self, fleet: ChannelFleet, bot: DiscordBot
    ):
        await listening(fleet, bot)
        bot.limit, bot.window = 1, 2.0
        for text in ("one", "two"):
            await bot.say(text, channel=ROOM, author=ADA)
        await wait_until(lambda: len(bot.texts) == 2)
        assert bot.texts == ["re: one", "re: two"]

    async def test_what_discord_never_takes_does_not_stop_the_session(
        self, fleet: ChannelFleet, bot: DiscordBot
    ):
        site = await listening(fleet, bot)
        bot.refusals = [refused(403, 50013, "Missing Permissions")]
        await bot.say("one", channel=ROOM, author=ADA)
        await wait_until(lambda: len(site.agent.asked) == 1 and not bot.refusals)
        await bot.say("two", channel=ROOM, author=ADA)
        await wait_until(lambda: bot.texts == ["re: two"])

    async def test_a_reply_that_is_sent_again_is_there_once(
        self, fleet: ChannelFleet, bot: DiscordBot
    ):
        site = await listening(fleet, bot)
        channel = site.services.channels["discord.home"]
        reply = outgoing("hello")
        await channel.send(reply)
        await channel.send(reply)
        assert bot.texts == ["hello"]

    async def test_long_pauses_and_failures_are_told_apart(
        self, fleet: ChannelFleet, bot: DiscordBot
    ):
        site = await listening(fleet, bot)
        channel = site.services.channels["discord.home"]
        for answer, wanted in (
            (refused(500, 0, "Internal Server Error"), Retryable),
            (HTMLResponse("<html>A proxy's page"), Retryable),
            (refused(401, 0, "401: Unauthorized"), Undeliverable),
            (refused(404, 10003, "Unknown Channel"), Undeliverable),
            (refused(400, 50035, "Invalid Form Body"), Undeliverable),
            # The last one: the pause is kept from then on.
            (flooded(60), Retryable),
        ):
            bot.refusals = [answer]
            with pytest.raises(wanted) as raised:
                await channel.send(outgoing("x"))
            assert bot.token not in str(raised.value)
            if answer.status_code == 429:
                assert isinstance(raised.value, PauseAsked)
                assert raised.value.retry_after == pytest.approx(60, abs=2)

    async def test_the_bot_is_typing_while_the_agent_works(
        self, fleet: ChannelFleet, bot: DiscordBot
    ):
        site, held = await listening(fleet, bot), HeldScript()
        site.agent.script = held
        await bot.say("think", channel=ROOM, author=ADA)
        await wait_until(lambda: bot.typed == [str(ROOM)])
        held.open()


def interaction(name: str = "new", *, user: dict[str, Any] = ADA, **more: Any) -> bytes:
    """A command as Discord posts it."""
    body = {
        "id": str(snowflake()),
        "type": 2,
        "channel_id": str(ROOM),
        "guild_id": str(GUILD),
        "member": {"user": user},
        "data": {"id": "1", "name": name, "type": 1},
        **more,
    }
    return json.dumps(body).encode()


async def posted(site: IngestSite, raw: bytes, headers: dict[str, str]) -> httpx.Response:
    return await site.http.post("/channels/discord/home", content=raw, headers=headers)


class TestInteractions:
    async def test_a_ping_is_answered(self, fleet: ChannelFleet, bot: DiscordBot):
        site, raw = await fleet.site(), json.dumps({"id": "1", "type": 1}).encode()
        answer = await posted(site, raw, bot.sign(raw))
        assert (answer.status_code, answer.json()) == (200, {"type": 1})

    async def test_what_discord_did_not_sign_is_401(self, fleet: ChannelFleet, bot: DiscordBot):
        site, raw = await fleet.site(), interaction()
        good, old = bot.sign(raw), bot.sign(raw, str(int(time.time()) - 400))
        for headers in (
            {},
            {**good, "x-signature-ed25519": "00" * 64},
            {**good, "x-signature-ed25519": "none"},
            {**good, "x-signature-timestamp": "1"},
            DiscordBot().sign(raw),
            bot.sign(raw + b" "),
            old,
        ):
            assert (await posted(site, raw, headers)).status_code == 401
        assert (await posted(site, raw, good)).status_code == 200

    async def test_new_and_stop_are_the_commands_of_the_persons_session(
        self, fleet: ChannelFleet, bot: DiscordBot
    ):
        site, held = await listening(fleet, bot), HeldScript()
        await bot.say("hello", channel=ROOM, author=ADA)
        await wait_until(lambda: bot.texts == ["re: hello"])
        await free(site, KEY)
        site.agent.script = held
        await bot.say("think", channel=ROOM, author=ADA)
        await wait_until(lambda: held.waiting)
        for name in ("stop", "new"):
            raw = interaction(name)
            answer = await posted(site, raw, bot.sign(raw))
            assert answer.json()["data"]["flags"] == 64
        await wait_until(lambda: bot.texts[-1] == CLEARED)
        assert await fleet.messages(KEY) == []

    async def test_strangers_and_other_commands_do_nothing(
        self, fleet: ChannelFleet, bot: DiscordBot
    ):
        site = await fleet.site()
        for raw in (interaction(user=EVE), interaction("other")):
            answer = await posted(site, raw, bot.sign(raw))
            assert answer.json()["type"] == 4
        raw = json.dumps({"id": "1", "type": 3}).encode()
        assert (await posted(site, raw, bot.sign(raw))).status_code == 400

    async def test_discord_is_told_the_commands_once(self, fleet: ChannelFleet, bot: DiscordBot):
        for _ in range(2):
            await fleet.site()
            await wait_until(lambda: len(bot.commands) == 2)
        await asyncio.sleep(0.2)
        assert sorted(command["name"] for command in bot.commands) == ["new", "stop"]


@pytest.mark.parametrize(
    ("own", "named"),
    [
        ({"bot_token": "nonsense"}, "Bot page"),
        ({"bot_token": None}, "bot_token_env"),
        ({"public_key": "12"}, "Public Key"),
        ({"api_base_url": "discord.com"}, "http"),
    ],
)
async def test_settings_that_cannot_work_are_refused_at_the_start(
    settings: Settings, fleet: ChannelFleet, discord: Discord, own: dict[str, Any], named: str
):
    with pytest.raises(ConfigError, match=named):
        await fleet.site(settings=discord.settings(settings, **own))


def replying(text: str) -> Answer:
    async def script(*_: object) -> Reply:
        return Reply(text)

    return script


def outgoing(text: str) -> Outgoing:
    return Outgoing("t:reply", "t", KEY, text, ReplyStatus.REPLIED, str(ROOM), ADA["id"])
