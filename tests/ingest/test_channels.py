"""What holds for every channel: refusals that pass, the command line, a stop in between."""

from __future__ import annotations

import hmac
import json
import sys
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import pytest

from harness.waiting import wait_until
from ingest.channels.base import (
    ChannelMessage,
    Outgoing,
    PushedMessages,
    PushRequest,
    Take,
)
from ingest.channels.keys import session_key
from sessions.access.channel_agents import ChannelAgents
from sessions.access.tokens import TokenScope, create_token
from sessions.errors import ConfigError
from sessions.ids import derived_id
from sessions.models import Event, EventType
from sessions.process.settings import Settings
from sessions.stream.lanes.values import lane_of
from sessions.stream.redis import connect
from sessions.web.rejections import WrongSignature
from tests.ingest.channel_fleet import SECRET, ChannelFleet, IngestSite, free, with_channels
from tests.ingest.replicas import ReplicaFleet, say
from tests.ingest.stand_ins import put_channel
from tests.leading import Leading


@pytest.fixture
async def fleet(settings: Settings, leading: Leading) -> AsyncIterator[ChannelFleet]:
    changed = with_channels(settings, webhook={"shop": {"secret": SECRET}})
    async with ChannelFleet.of(changed) as fleet:
        yield fleet


@pytest.fixture
async def site(fleet: ChannelFleet) -> IngestSite:
    return await fleet.site()


class TestRefusal:
    async def test_a_full_redis_is_503_with_retry_after_and_stores_nothing(
        self, fleet: ChannelFleet, site: IngestSite, redis_url: str
    ):
        redis = connect(redis_url)
        await redis.execute_command("CONFIG", "SET", "maxmemory", "1")
        try:
            answer = await site.post(id="m1")
            assert (answer.status_code, answer.json()["code"]) == (503, "stream_full")
            assert int(answer.headers["retry-after"]) >= 1
        finally:
            await redis.execute_command("CONFIG", "SET", "maxmemory", "0")
            await redis.aclose()
        assert (await site.post(id="m1")).status_code == 200
        await wait_until(lambda: site.agent.asked == ["hello"])

    async def test_without_redis_it_is_503_with_retry_after(self, fleet: ChannelFleet):
        away = fleet.settings.replace(redis_url="redis://127.0.0.1:1/0")
        site = await fleet.site(settings=away)
        answer = await site.post()
        assert (answer.status_code, answer.json()["code"]) == (503, "stream_unavailable")
        assert int(answer.headers["retry-after"]) >= 1


class SlackLike:
    """A channel as Slack's Events API would want it, written with nothing but the seam."""

    type: str = "slack"
    alias: str = "work"
    delivers: bool = True

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []

    async def open(self, request: PushRequest) -> PushedMessages:
        stamp = request.headers.get("x-slack-request-timestamp", "")
        text = f"v0:{stamp}:".encode() + request.body
        right = f"v0={hmac.new(SECRET.encode(), text, 'sha256').hexdigest()}"
        if not hmac.compare_digest(request.headers.get("x-slack-signature", ""), right):
            raise WrongSignature("not Slack's")
        body = json.loads(request.body)
        if body["type"] == "url_verification":
            return PushedMessages([], {"challenge": body["challenge"]})
        said = body["event"]
        incoming = ChannelMessage(
            id=derived_id("slack", self.alias, body["event_id"]),
            text=said["text"],
            sender=said["user"],
            target=said["channel"],
            address=said["channel"],
            at=int(float(said["ts"]) * 1_000_000),
        )
        return PushedMessages([incoming])

    def split(self, text: str) -> Sequence[str]:
        return [text]

    async def send(self, reply: Outgoing) -> None:
        self.sent.append((reply.address, reply.text))

    async def show_work(self, address: str) -> None: ...

    async def listen(self, take: Take) -> None: ...


class TestSeam:
    """Another kind of channel needs no more than the methods of `Channel`."""

    async def post(self, site: IngestSite, body: dict[str, Any]) -> httpx.Response:
        raw = json.dumps(body).encode()
        stamp = "1531420618"
        digest = hmac.new(SECRET.encode(), f"v0:{stamp}:".encode() + raw, "sha256").hexdigest()
        headers = {"x-slack-request-timestamp": stamp, "x-slack-signature": f"v0={digest}"}
        return await site.http.post("/channels/slack/work", content=raw, headers=headers)

    async def test_it_answers_a_challenge_takes_messages_and_sends_replies(
        self, fleet: ChannelFleet
    ):
        with_slack = with_channels(fleet.settings, anna=("slack.work",))
        site = await fleet.site(settings=with_slack)
        channel = SlackLike()
        put_channel(site.services, "slack.work", channel)
        asked = {"token": "t", "challenge": "3eZbrw1aBm2rZgRNFdxV", "type": "url_verification"}
        assert (await self.post(site, asked)).json() == {"challenge": "3eZbrw1aBm2rZgRNFdxV"}
        said = {"type": "message", "channel": "C2147483705", "user": "U2147483697"}
        event = {
            "type": "event_callback",
            "event_id": "Ev9UQ52YNA",
            "event": {**said, "text": "Hello world", "ts": "1355517523.000005"},
        }
        for _ in range(2):
            assert (await self.post(site, event)).status_code == 200
        await wait_until(lambda: channel.sent)
        await free(site, "slack_work_C2147483705_U2147483697")
        assert channel.sent == [("C2147483705", "re: Hello world")]
        assert len(await fleet.messages("slack_work_C2147483705_U2147483697")) == 2
        wrong = await site.http.post("/channels/slack/work", json=event)
        assert wrong.status_code == 401


class TestStop:
    async def test_an_acknowledged_message_is_not_lost_with_a_process_that_could_not_begin(
        self, settings: Settings, leading: Leading
    ):
        async with ReplicaFleet.of(settings) as fleet:
            async with ReplicaFleet.of(settings) as closing:
                leaving = await closing.replica()
                await leading.pause()
                await leading.publish(
                    Event("x", EventType.APPEND, "s", role="user", content="before", agent="main")
                )
                await say(leaving, "hello", attended=False)
                await wait_until(lambda: leaving.queue.running(lane_of("s", "main")))
            living = await fleet.replica()
            await leading.resume()
            await wait_until(lambda: living.agent.asked)
            assert ("user", "hello") in await fleet.messages()


class TestCommandLine:
    async def post(self, site: IngestSite, token: str | None, **body: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        given = {"id": "1", "content": "hello", **body}
        return await site.http.post("/channels/cli/anna", json=given, headers=headers)

    async def test_it_wants_a_token_of_its_agent(self, fleet: ChannelFleet, site: IngestSite):
        workspace = fleet.settings.workspace
        read, _ = create_token(workspace, scope=TokenScope.READ, agent="anna")
        other, _ = create_token(workspace, scope=TokenScope.SEND, agent="bert")
        own, _ = create_token(workspace, scope=TokenScope.SEND, agent="anna")
        assert (await self.post(site, None)).status_code == 401
        assert (await self.post(site, "nobody's")).status_code == 401
        assert (await self.post(site, read)).status_code == 403
        assert (await self.post(site, other)).status_code == 403
        assert (await self.post(site, own)).status_code == 200


class TestKeys:
    @pytest.mark.parametrize(
        ("channel", "more", "key"),
        [
            ("telegram.home", {}, "telegram_home_C1_ada"),
            ("slack.work", {"thread": "12", "sender": "U1"}, "slack_work_C1_12_U1"),
            ("matrix.home", {"thread": "$event"}, "matrix_home_C1_ada"),
            (
                "wecom_ws.work",
                {"target": "group--room-1", "by_room": True},
                "wecom_ws_work_group--room-1",
            ),
            ("telegram.home", {"sender": "Алиса"}, "telegram_home_C1_Алиса"),
        ],
    )
    def test_a_session_is_called_as_upstream_calls_it(
        self, channel: str, more: dict[str, Any], key: str
    ):
        given = {"sender": "ada", "target": "C1", **more}
        assert session_key(channel, ChannelMessage("i", "text", address="", at=0, **given)) == key


class TestSeats:
    def test_the_agent_of_a_channel_has_its_name_or_its_type_or_is_the_only_one(
        self, settings: Settings
    ):
        def channel_agents(**channels: tuple[str, ...]) -> ChannelAgents:
            agents = {alias: {"channels": listed} for alias, listed in channels.items()}
            return ChannelAgents(
                Settings.model_validate({**settings.model_dump(), "agents": agents})
            )

        several = channel_agents(anna=("telegram",), bert=("telegram.club",))
        assert several.answering("telegram.club") == "bert"
        assert several.answering("telegram.home") == "anna"
        assert channel_agents(main=()).answering("webhook.x") == "main"
        with pytest.raises(ConfigError, match=r"no agent has webhook\.x"):
            several.answering("webhook.x")

    async def test_a_channel_that_two_agents_list_is_warned_of(
        self, fleet: ChannelFleet, caplog: pytest.LogCaptureFixture
    ):
        document = fleet.settings.model_dump()
        document["agents"]["bert"]["channels"] = ("webhook.shop",)
        site = await fleet.site(settings=Settings.model_validate(document))
        assert any("webhook.shop" in record.getMessage() for record in caplog.records)
        await site.post("hello")
        await wait_until(lambda: site.agent.asked == ["hello"])


@pytest.mark.parametrize("kind", ["slack", "discord", "telegram"])
async def test_a_channel_whose_library_is_missing_names_the_extra(
    fleet: ChannelFleet, kind: str, monkeypatch: pytest.MonkeyPatch
):
    # An import of what is None here fails as one of a module that is not installed.
    monkeypatch.setitem(sys.modules, f"ingest.channels.{kind}.channel", None)
    channels: dict[str, Any] = {kind: {"x": {}}}
    settings = with_channels(fleet.settings, anna=(), **channels)
    with pytest.raises(ConfigError, match=rf"pip install 'turnstream\[{kind}\]'"):
        await fleet.site(settings=settings)
