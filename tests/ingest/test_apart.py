"""Two agents on one installation: by no entry point of ingest does one reach the other."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx
import pytest
from websockets.asyncio.client import connect

from harness.waiting import wait_until
from ingest.channels.base import ChannelMessage
from ingest.channels.keys import session_key
from ingest.turns.unavailable import NOTICE
from sessions.access.tokens import TokenScope, create_token
from sessions.ids import derived_id
from sessions.models import Event, EventType
from sessions.process.settings import Settings
from tests.ingest.channel_fleet import SECRET, ChannelFleet, IngestSite, Shop, free, with_channels
from tests.ingest.replicas import HeldScript, ScriptedAgent
from tests.ingest.serving import serving
from tests.ingest.stand_ins import put_agent
from tests.leading import Leading

KEY: Final = "webhook_shop_ada_ada"


def two_shops(settings: Settings, url: str) -> Settings:
    """Anna has `webhook.shop`, bert has `webhook.shop_2`; replies of both go to one program."""
    own = {"secret": SECRET, "send_url": f"http://{url}/replies"}
    document = with_channels(settings, webhook={"shop": own, "shop_2": own}).model_dump()
    document["agents"]["bert"]["channels"] = ("webhook.shop_2",)
    return Settings.model_validate(document)


@pytest.fixture
async def shop() -> Shop:
    return Shop()


@pytest.fixture
async def fleet(settings: Settings, leading: Leading, shop: Shop) -> AsyncIterator[ChannelFleet]:
    async with serving(shop.app()) as url, ChannelFleet.of(two_shops(settings, url)) as fleet:
        yield fleet


@pytest.fixture
async def site(fleet: ChannelFleet) -> IngestSite:
    site = await fleet.site()
    put_agent(site.services, "bert", ScriptedAgent())
    return site


class Talker:
    """An agent's client of the chat; `start` is its session_start."""

    def __init__(self, socket: Any, start: dict[str, Any]) -> None:
        self._socket = socket
        self.start = start

    async def send(self, **frame: Any) -> None:
        await self._socket.send(json.dumps(frame))

    async def say(self, text: str, **more: Any) -> None:
        await self.send(type="message", content=text, **more)

    async def next(self) -> dict[str, Any]:
        return json.loads(await self._socket.recv())

    async def greet(self) -> None:
        """Returns when all that was sent before has been read."""
        await self.send(type="connect")
        assert (await self.next())["type"] in ("connected", "error")

    async def until(self, *kinds: str) -> dict[str, Any]:
        while (frame := await self.next())["type"] not in kinds:
            pass
        return frame


def token_of(fleet: ChannelFleet, agent: str) -> str:
    return create_token(fleet.settings.workspace, scope=TokenScope.SEND, agent=agent)[0]


@asynccontextmanager
async def talking(
    fleet: ChannelFleet, site: IngestSite, agent: str, session: str = "one", **query: str
) -> AsyncIterator[Talker]:
    given = {"agent": agent, "session_id": session, **query}
    url = f"{site.url.replace('http', 'ws', 1)}/ws/chat?{httpx.QueryParams(given)}"
    headers = {"Authorization": f"Bearer {token_of(fleet, agent)}"}
    async with connect(url, additional_headers=headers) as socket:
        yield Talker(socket, json.loads(await socket.recv()))


async def publish(
    fleet: ChannelFleet, site: IngestSite, agent: str, *events: Any
) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token_of(fleet, agent)}"}
    return await site.http.post("/api/events", json={"events": [*events]}, headers=headers)


def start_of(session: str, **more: Any) -> dict[str, Any]:
    """How a session begins that nobody has."""
    start = {"type": "session_start", "session_id": session, "resumed": False}
    return {**start, "message_count": 0, **more}


class TestChat:
    async def test_nothing_of_a_running_turn_shows_to_another_agent(
        self, fleet: ChannelFleet, site: IngestSite
    ):
        gate = HeldScript()
        site.agent.script = gate
        async with talking(fleet, site, "anna") as anna:
            await anna.say("hello", id="m1")
            await wait_until(lambda: gate.waiting)
            async with talking(fleet, site, "bert") as bert, talking(fleet, site, "bert") as still:
                assert bert.start == start_of("one")
                await bert.say("hello", id="m1")
                refusal = await bert.next()
                assert refusal["code"] == "SESSION_UNAVAILABLE"
                gate.open()
                assert (await anna.until("done"))["full_response"] == "re: hello"
                await bert.say("hello", id="m1")
                assert await bert.next() == refusal
                await still.greet()
        other = site.services.agents["bert"]
        assert isinstance(other, ScriptedAgent)
        assert other.asked == []

    async def test_the_refusal_says_the_same_whatever_the_session_holds(
        self, fleet: ChannelFleet, site: IngestSite, leading: Leading
    ):
        await leading.publish(
            Event("x", EventType.CONTEXT, "gw_one", agent="anna"),
            Event("y", EventType.RENAME, "gw_one", agent="anna", name="Trip"),
        )
        async with talking(fleet, site, "bert") as bert:
            assert bert.start == start_of("one")
            await bert.say("hello")
            empty = await bert.next()
        await leading.publish(
            Event("z", EventType.APPEND, "gw_one", role="user", content="a", agent="anna")
        )
        async with talking(fleet, site, "bert", name="Mine") as bert:
            assert bert.start == start_of("one", name="Mine")
            await bert.say("hello")
            assert await bert.next() == empty
        assert (await fleet.row("gw_one"))["name"] == "Trip"

    async def test_a_name_makes_no_session_of_anothers_channel_ones_own(
        self, fleet: ChannelFleet, site: IngestSite, leading: Leading
    ):
        await leading.publish(Event("x", EventType.CONTEXT, "gw_one", channel="webhook.shop"))
        async with talking(fleet, site, "bert", name="Mine") as bert:
            assert bert.start == start_of("one", name="Mine")
            await bert.say("hello")
            assert (await bert.next())["code"] == "SESSION_UNAVAILABLE"
        row = await fleet.row("gw_one")
        assert (row["agent_alias"], row.get("name")) == ("anna", None)

    async def test_another_agents_messages_take_no_places_in_the_lane(
        self, fleet: ChannelFleet, site: IngestSite, leading: Leading
    ):
        gate = HeldScript()
        site.agent.script = gate
        async with talking(fleet, site, "anna") as anna, talking(fleet, site, "bert") as bert:
            # The session is nobody's yet: what bert sends goes into a lane, his own.
            await leading.pause()
            for number in range(8):
                await bert.say(f"b{number}")
            for number in range(8):
                await anna.say(f"a{number}")
            running = site.services.queue.running
            await wait_until(lambda: running("\udcffanna\udcffgw_one"))
            await leading.resume()
            answers = [await anna.until("done", "error") for _ in range(8) if not gate.open()]
            others = [await bert.until("done", "error") for _ in range(8)]
        codes = {answer.get("code") for answer in (*answers, *others)}
        assert codes == {None, "SESSION_UNAVAILABLE"}
        won = [answer["type"] for answer in answers], [answer["type"] for answer in others]
        assert sorted(won) == [["done"] * 8, ["error"] * 8]

    async def test_of_two_agents_that_begin_a_session_at_once_one_is_refused(
        self, fleet: ChannelFleet, site: IngestSite, leading: Leading
    ):
        async with talking(fleet, site, "anna") as anna, talking(fleet, site, "bert") as bert:
            await leading.pause()
            await anna.say("hello")
            await wait_until(lambda: site.services.queue.running("\udcffanna\udcffgw_one"))
            await bert.say("hello")
            await wait_until(lambda: site.services.queue.running("\udcffbert\udcffgw_one"))
            await leading.resume()
            ends = [await anna.until("done", "error"), await bert.until("done", "error")]
        assert sorted(end["type"] for end in ends) == ["done", "error"]
        assert {end.get("code") for end in ends} == {None, "SESSION_UNAVAILABLE"}
        assert len(await fleet.messages("gw_one")) == 2

    async def test_a_session_that_becomes_free_can_be_used_without_connecting_again(
        self, fleet: ChannelFleet, site: IngestSite, leading: Leading
    ):
        await leading.publish(Event("x", EventType.CONTEXT, "gw_one", agent="anna"))
        async with talking(fleet, site, "bert") as bert:
            await bert.say("hello")
            assert (await bert.next())["code"] == "SESSION_UNAVAILABLE"
            await leading.publish(Event("o", EventType.OWNER, "gw_one", agent="bert"))
            await bert.say("hello")
            assert (await bert.until("done"))["full_response"] == "re: hello"


class TestEvents:
    @pytest.mark.parametrize("kind", ["context", "append"])
    async def test_nobody_begins_a_session_under_another_agents_channel(
        self, fleet: ChannelFleet, site: IngestSite, kind: str
    ):
        fine = {"id": "e0", "type": "context", "session": "berts"}
        taken = {"id": "e1", "type": kind, "session": KEY, "role": "user", "content": "planted"}
        answer = await publish(fleet, site, "bert", fine, taken)
        assert (answer.status_code, answer.json()["code"]) == (403, "reserved_key")
        assert answer.json()["index"] == 1

    @pytest.mark.parametrize("more", [{"channel": "webhook.shop"}, {"agent": "anna"}])
    async def test_nobody_publishes_under_anothers_name(
        self, fleet: ChannelFleet, site: IngestSite, more: dict[str, str]
    ):
        event = {"id": "e1", "type": "context", "session": "x", **more}
        answer = await publish(fleet, site, "bert", event)
        assert (answer.status_code, answer.json()["index"]) == (403, 0)

    async def test_nobody_says_by_whom_an_event_is(self, fleet: ChannelFleet, site: IngestSite):
        event = {"id": "e1", "type": "context", "session": "x", "by": "anna"}
        assert (await publish(fleet, site, "anna", event)).status_code == 403
        headers = {"Authorization": f"Bearer {fleet.admin_token}"}
        answer = await site.http.post("/api/events", json=event, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")

    async def test_a_channels_session_cannot_be_claimed_changed_or_deleted(
        self, fleet: ChannelFleet, site: IngestSite
    ):
        said = (await site.post("my PIN is 1234")).json()["accepted"][0]["id"]
        await free(site, KEY)
        for number, more in enumerate(
            (
                {"type": "delete"},
                {"type": "reset"},
                {"type": "rollback", "target": said},
                {"type": "rollback", "target": f"{said}:reply"},
                {"type": "rename", "name": "mine"},
                {"type": "state", "state": "error"},
            )
        ):
            event = {"id": f"e{number}", "session": KEY, **more}
            assert (await publish(fleet, site, "bert", event)).status_code == 202
        assert [role for role, _ in await fleet.messages(KEY)] == ["user", "assistant"]
        row = await fleet.row(KEY)
        assert (row["agent_alias"], row.get("name")) == ("anna", None)

    async def test_a_session_that_had_no_owner_gets_the_channels_agent(
        self, fleet: ChannelFleet, site: IngestSite, leading: Leading
    ):
        await leading.publish(
            Event("old", EventType.CONTEXT, KEY, channel="webhook.shop", room="ada", sender="ada")
        )
        assert (await fleet.row(KEY))["agent_alias"] != "bert"
        await site.post("hello")
        await free(site, KEY)
        for event in (
            {"id": "c", "type": "rename", "session": KEY, "name": "mine"},
            {"id": "d", "type": "delete", "session": KEY},
        ):
            await publish(fleet, site, "bert", event)
        assert len(await fleet.messages(KEY)) == 2
        assert (await fleet.row(KEY))["agent_alias"] == "anna"

    async def test_ids_that_another_agent_uses_first_change_nothing(
        self, fleet: ChannelFleet, site: IngestSite, shop: Shop
    ):
        # As everybody can make them who knows the formula.
        turn = derived_id("wh", "shop", "m1")
        own = {"type": "append", "session": "berts", "role": "user", "content": "x"}
        answer = await publish(
            fleet,
            site,
            "bert",
            {"id": turn, **own},
            {"id": f"{turn}:reply", **own},
            {"id": "r", "type": "rollback", "session": KEY, "target": turn},
        )
        assert answer.status_code == 202
        assert len(await fleet.messages("berts")) == 2
        await site.post("hello", id="m1")
        await wait_until(lambda: shop.texts == ["re: hello"])
        await free(site, KEY)
        assert [role for role, _ in await fleet.messages(KEY)] == ["user", "assistant"]
        assert (await fleet.row(KEY))["state"] == "idle"


class TestPeople:
    @pytest.mark.parametrize(
        ("one", "two"),
        [
            (("shop", "ada.smith@x", None), ("shop", "ada_smith@x", None)),
            (("shop", "2_carol", None), ("shop_2", "carol", None)),
            (("shop", "2_carol", "2"), ("shop_2", "carol", "2")),
            (("shop", "a_b", None), ("shop", "a.b", None)),
        ],
    )
    async def test_no_two_people_share_a_session(
        self,
        fleet: ChannelFleet,
        site: IngestSite,
        shop: Shop,
        one: tuple[str, str, str | None],
        two: tuple[str, str, str | None],
    ):
        keys: list[str] = []
        for alias, sender, thread in (one, two):
            fields = {"sender": sender} | ({} if thread is None else {"thread_id": thread})
            answer = await site.post(f"I am {sender}", alias=alias, at=None, **fields)
            keys.append(answer.json()["accepted"][0]["session"])
        await wait_until(lambda: len(shop.replies) == 2)
        assert {reply["content"] for reply in shop.replies} == {
            f"re: I am {sender}" for _, sender, _ in (one, two)
        }
        assert keys[0] != keys[1]
        alias, sender, thread = one
        fields = {"sender": sender} | ({} if thread is None else {"thread_id": thread})
        await site.post("again", alias=alias, at=None, **fields)
        await wait_until(lambda: len(shop.replies) == 3)
        assert [len(await fleet.messages(key)) for key in keys] == [4, 2]

    async def test_a_person_whose_session_is_another_agents_is_told_so_and_the_log_helps(
        self,
        fleet: ChannelFleet,
        site: IngestSite,
        leading: Leading,
        shop: Shop,
        caplog: pytest.LogCaptureFixture,
    ):
        await leading.publish(
            Event("x", EventType.APPEND, KEY, role="user", content="old", agent="bert")
        )
        for number in range(2):
            await site.post(f"hello {number}", id=f"m{number}")
            await site.post(f"hello {number}", id=f"m{number}")
        await wait_until(lambda: len(shop.replies) == 2)
        assert {(reply["content"], reply["status"]) for reply in shop.replies} == {
            (NOTICE, "failed")
        }
        assert [content for _, content in await fleet.messages(KEY)] == ["old"]
        assert site.agent.asked == []
        lines = [r.getMessage() for r in caplog.records if "sessions owner" in r.getMessage()]
        assert len(lines) == 1

    async def test_starting_again_clears_nothing_of_another_agents_session(
        self, fleet: ChannelFleet, site: IngestSite, leading: Leading, shop: Shop
    ):
        await leading.publish(
            Event("x", EventType.APPEND, KEY, role="user", content="old", agent="bert")
        )
        await site.post("/new")
        await wait_until(lambda: shop.texts == [NOTICE])
        assert [content for _, content in await fleet.messages(KEY)] == ["old"]


class TestKeys:
    def key(self, channel: str, **more: Any) -> str:
        given: dict[str, Any] = {"sender": "ada", "target": "C1", **more}
        return session_key(channel, ChannelMessage("i", "text", address="", at=0, **given))

    @pytest.mark.parametrize(
        "more",
        [
            {"sender": "ada_l"},
            {"sender": "ada.l"},
            {"sender": "ada l"},
            {"target": "C:1"},
            {"thread": "1.2"},
            {"target": "a_b", "by_room": True},
            {"sender": "x-0123456789abcdef"},
        ],
    )
    def test_a_key_that_others_could_have_has_an_ending_of_its_own(self, more: dict[str, Any]):
        head, _, digits = self.key("webhook.shop", **more).rpartition("-")
        assert head.startswith("webhook_shop_")
        assert len(digits) == 16
        assert digits != "0123456789abcdef"

    def test_the_numbers_of_a_chat_and_of_its_topic_need_none(self):
        key = self.key("telegram.home", target="-5:7", thread="7", places=("-5", "7"))
        assert key == "telegram_home_-5_7_7_ada"

    def test_keys_are_told_apart_by_each_of_their_parts(self):
        keys = {
            self.key(f"webhook.{alias}", target=target, sender=sender, **more)
            for alias in ("a", "a_b")
            for target in ("b", "b_c", "c", "b.c")
            for sender in ("c", "c_d", "d", "c.d")
            for more in ({}, {"thread": "b"}, {"thread": "b_c"}, {"by_room": True})
        }
        # With `by_room` the sender does not count.
        assert len(keys) == 2 * 4 * (4 * 3 + 1)
