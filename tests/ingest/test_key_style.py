"""`key_style = "zeroclaw"`: channels go on with the sessions that were moved in from ZeroClaw."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

import pytest

from harness.waiting import wait_until
from ingest.channels.base import ChannelMessage
from ingest.channels.keys import KeyPlan, KeyStyle
from proof.botapi import TOKEN, BotApi, update
from sessions.access.channel_agents import ChannelAgents
from sessions.access.tokens import TokenScope, create_token
from sessions.models import Event, EventType
from sessions.process.settings import Settings
from tests.ingest.botapi import bot_api, push
from tests.ingest.channel_fleet import SECRET, ChannelFleet, IngestSite, Shop, with_channels
from tests.ingest.serving import serving
from tests.leading import Leading

SECRET_TOKEN: Final = "a-token-of-this-test"
HOME: Final = "telegram.home"


def moved_in(settings: Settings, *, webhooks: tuple[str, ...] = ("shop",), **more: Any) -> Settings:
    hooks = {alias: {"secret": SECRET, **more} for alias in webhooks}
    return with_channels(settings, key_style="zeroclaw", webhook=hooks)


def plan(settings: Settings, channel: str, **given: Any) -> KeyPlan:
    style = KeyStyle(settings.channels.key_style, ChannelAgents(settings).nameless)
    parts = {"sender": "ada", "target": "ada", **given}
    return style.plan(channel, ChannelMessage("i", "text", address="", at=0, **parts))


class TestPlans:
    @pytest.mark.parametrize(
        ("given", "key"),
        [
            ({}, "webhook_ada_ada"),
            ({"target": "t7", "thread": "t7"}, "webhook_t7_t7_ada"),
            ({"sender": "Алиса", "target": "Алиса"}, "webhook_Алиса_Алиса"),
        ],
    )
    def test_the_only_webhook_is_not_named(
        self, settings: Settings, given: dict[str, str], key: str
    ):
        assert plan(moved_in(settings), "webhook.shop", **given) == KeyPlan(key, [])

    def test_a_key_that_loses_something_is_upstreams_if_the_session_is_exactly_theirs(
        self, settings: Settings
    ):
        key, [former] = plan(moved_in(settings), "webhook.shop", sender="a.b", target="a.b")
        assert key.startswith("webhook_a_b_a_b-")
        assert former == ("webhook_a_b_a_b", [None, "webhook.shop"])

    def test_two_webhooks_are_named_and_keep_what_each_has_written_to(self, settings: Settings):
        both = moved_in(settings, webhooks=("shop", "club"))
        for channel, key in (
            ("webhook.shop", "webhook_shop_ada_ada"),
            ("webhook.club", "webhook_club_ada_ada"),
        ):
            assert plan(both, channel) == (key, [("webhook_ada_ada", [channel])])

    def test_a_webhook_that_is_off_does_not_count(self, settings: Settings):
        document = moved_in(settings, webhooks=("shop", "club")).model_dump()
        document["channels"]["webhook"]["club"]["enabled"] = False
        assert plan(Settings.model_validate(document), "webhook.shop").key == "webhook_ada_ada"

    def test_the_only_command_line_is_not_named(self, settings: Settings):
        document = moved_in(settings).model_dump()
        given = {"sender": "user", "target": "user"}
        assert plan(Settings.model_validate(document), "cli.anna", **given).key == (
            "cli_anna_user_user"
        )
        document["agents"] = {"anna": {}}
        assert plan(Settings.model_validate(document), "cli.anna", **given) == KeyPlan(
            "cli_user_user", []
        )

    def test_a_discord_threads_session_is_known_by_upstreams_key(self, settings: Settings):
        found = plan(moved_in(settings), "discord.club", target="900")
        assert found == (
            *("discord_club_900_ada", [("discord_club_900_900_ada", ["discord.club"])]),
        )

    def test_our_own_style_has_none_of_this(self, settings: Settings):
        assert plan(settings, "webhook.shop") == KeyPlan("webhook_shop_ada_ada", [])
        assert plan(settings, "cli.anna") == KeyPlan("cli_anna_ada_ada", [])


class TestWhose:
    def test_keys_without_a_name_are_the_only_channels(self, settings: Settings):
        alone, both = moved_in(settings), moved_in(settings, webhooks=("shop", "club"))
        assert ChannelAgents(alone).agent_of_key("webhook_ada_ada") == "anna"
        assert ChannelAgents(both).agent_of_key("webhook_ada_ada") is None
        assert ChannelAgents(settings).agent_of_key("webhook_ada_ada") is None

    def test_they_hide_no_channel_from_its_agent(self, settings: Settings):
        listed = moved_in(settings).model_dump()
        listed["agents"]["bert"]["channels"] = ("webhook",)
        scope = ChannelAgents(Settings.model_validate(listed)).scope_of("bert")
        assert scope.kinds == ("webhook",)


@pytest.fixture
async def shop() -> Shop:
    return Shop()


@pytest.fixture
async def telegram() -> AsyncIterator[tuple[BotApi, str]]:
    async with bot_api() as telegram:
        yield telegram


@pytest.fixture
async def fleet(
    settings: Settings, leading: Leading, shop: Shop, telegram: tuple[BotApi, str]
) -> AsyncIterator[ChannelFleet]:
    async with serving(shop.app()) as url:
        settings = moved_in(settings, send_url=f"http://{url}/replies")
        document = settings.model_dump()
        document["channels"]["telegram"] = {
            "home": {
                **{"bot_token": TOKEN, "api_base_url": telegram[1], "allowed_users": ["*"]},
                **{"mode": "webhook", "secret_token": SECRET_TOKEN},
            }
        }
        async with ChannelFleet.of(Settings.model_validate(document)) as fleet:
            yield fleet


@pytest.fixture
async def site(fleet: ChannelFleet) -> IngestSite:
    return await fleet.site()


async def imported(leading: Leading, key: str, **routing: Any) -> None:
    """A session as an import leaves it: nobody's, with upstream's routing."""
    for number, (role, text) in enumerate([("user", "old"), ("assistant", "older")]):
        event = Event(f"{key}:{number}", EventType.APPEND, key, role=role, content=text, **routing)
        await leading.publish(event)


class TestGoingOn:
    @pytest.mark.parametrize(
        ("sender", "key"), [("ada", "webhook_ada_ada"), ("a.b@c", "webhook_a_b_c_a_b_c")]
    )
    async def test_a_webhooks_session_is_continued_and_gets_its_owner(
        self,
        fleet: ChannelFleet,
        site: IngestSite,
        leading: Leading,
        shop: Shop,
        sender: str,
        key: str,
    ):
        await imported(leading, key, room=sender, sender=sender)

        for number in range(2):
            await site.post(f"hello {number}", sender=sender)
            await wait_until(lambda n=number: len(shop.replies) == n + 1)

        assert [text for _, text in await fleet.messages(key)] == [
            *("old", "older", "hello 0", "re: hello 0", "hello 1", "re: hello 1"),
        ]
        row = await fleet.row(key)
        assert (row["agent_alias"], row["channel_id"]) == ("anna", "webhook.shop")
        # Also after a start, when nothing is remembered, and the channel is in the store.
        again = await fleet.site()
        await again.post("hello 2", sender=sender)
        await wait_until(lambda: len(shop.replies) == 3)
        assert len(await fleet.messages(key)) == 8

    async def test_another_persons_session_is_not(
        self, fleet: ChannelFleet, site: IngestSite, leading: Leading, shop: Shop
    ):
        """Both names become the same key."""
        await imported(leading, "webhook_a_b_c_a_b_c", room="a.b@c", sender="a.b@c")

        await site.post("hello", sender="a_b_c")

        await wait_until(lambda: shop.replies)
        assert len(await fleet.messages("webhook_a_b_c_a_b_c")) == 2

    async def test_another_agent_cannot_make_such_a_session(
        self, fleet: ChannelFleet, site: IngestSite
    ):
        token, _ = create_token(fleet.settings.workspace, scope=TokenScope.SEND, agent="bert")
        event = {"type": "append", "session": "webhook_ada_ada", "role": "user", "content": "x"}
        headers = {"Authorization": f"Bearer {token}"}
        answer = await site.http.post("/api/events", json=event, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "reserved_key")

    async def test_each_reply_thread_of_telegram_is_a_thread(
        self,
        fleet: ChannelFleet,
        site: IngestSite,
        leading: Leading,
        telegram: tuple[BotApi, str],
    ):
        bot = telegram[0]
        key = "telegram_home_-100_42_42_Ada"
        await imported(leading, key, channel=HOME, room="42", sender="Ada")
        chat = {"id": -100, "type": "supergroup", "title": "Kitchen"}
        said = update("hello", chat=-100, message_thread_id=42)
        said["message"]["chat"] = chat

        await push(site.http, said, SECRET_TOKEN)

        await wait_until(lambda: bot.sent)
        assert [text for _, text in await fleet.messages(key)][-2:] == ["hello", "re: hello"]
        # It is no topic, and Telegram sends to topics only.
        assert bot.sent == [{"chat_id": "-100", "text": "re: hello"}]
