"""What Redis refuses in passing is waited for; what it will never permit ends the process."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import AsyncExitStack, aclosing
from typing import Any, Final

import httpx
import pytest
from fastapi import FastAPI
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as chat_with

import api.app
from harness.system import SystemUnderTest
from harness.waiting import wait_until
from ingest.app import client_within, joined
from ingest.turns.live import Ending
from proof.botapi import TOKEN
from proof.redis_refusals import WAYS
from sessions.access.tokens import TokenFile, ensure_admin_token
from sessions.errors import ConfigError, SessionError, StreamFull, StreamUnavailable
from sessions.models import Event, EventType
from sessions.process.settings import Settings
from sessions.stream.redis import connect
from sessions.stream.turns import TurnStream
from tests.ingest.botapi import bot_api
from tests.ingest.channel_fleet import ChannelFleet
from tests.ingest.replicas import HeldScript, ReplicaFleet, ended, say
from tests.redis_says import redis_that_says

EVENT = Event("e1", EventType.APPEND, "s", "user", "a secret ) of pipeline caused error: (-OOM")
# Seconds. Once longer than any call goes on by itself.
# The ways that `make test` waits for; the others take as long, and `make endure` waits for them.
_QUICK: Final = frozenset({"no replicas", "out of memory"})


def _timed(way: str) -> Any:
    return pytest.param(way, marks=() if way in _QUICK else pytest.mark.endurance)


_EVERY: Final = [*map(_timed, WAYS)]
_LASTS = dict.fromkeys(WAYS, 1.0) | {"no replicas": 9.0}
WRITES_ONLY = ("no replicas", "read only", "out of memory", "no snapshots")


@pytest.fixture
def settings(system: SystemUnderTest) -> Settings:
    own = {"workspace": str(system.workspace), "redis_url": system.redis_url}
    return Settings.model_validate({"turnstream": own, "agents": {"main": {}}})


class TestPassing:
    @pytest.mark.parametrize("way", _EVERY)
    async def test_an_answer_that_was_finished_meanwhile_is_stored_once_when_it_is_over(
        self, system: SystemUnderTest, settings: Settings, way: str
    ):
        await system.worker()
        gate = HeldScript()
        async with ReplicaFleet.of(settings) as fleet:
            replica = await fleet.replica(gate)
            turns = [await say(replica, "hello", session=f"s{n}") for n in range(3)]
            await wait_until(lambda: gate.waiting == 3)
            async with WAYS[way](system.redis_url, system.client):
                gate.open()
                done, _ = await asyncio.wait([turn.end for turn in turns], timeout=_LASTS[way])
                assert not done
            for turn in turns:
                assert (await ended(turn)).ending is Ending.REPLIED
                stored = await fleet.messages(turn.inbound.session)
                assert stored == [("user", "hello"), ("assistant", "re: hello")]
                assert await fleet.state(turn.inbound.session) == "idle"

    @pytest.mark.parametrize("way", _EVERY)
    async def test_a_client_that_cannot_wait_is_told_to_try_again_and_succeeds_when_it_is_over(
        self, system: SystemUnderTest, settings: Settings, way: str
    ):
        await system.worker()
        async with AsyncExitStack() as stack:
            client = await _web(stack, settings)
            async with WAYS[way](system.redis_url, system.client):
                refused = await client.post("/api/events", json=_EVENT, timeout=30)
                assert refused.status_code == 503, refused.text
                assert int(refused.headers["retry-after"]) > 0
                changed = await client.request("DELETE", "/api/sessions/s", timeout=30)
                assert changed.status_code in (404, 503), changed.text
            taken = await client.post("/api/events", json=_EVENT)
            assert taken.status_code == 202, taken.text
            assert (await system.outcome("e1")).duplicates <= 1

    @pytest.mark.parametrize("way", WRITES_ONLY)
    async def test_what_is_stored_can_be_read_while_nothing_can_be_written(
        self, system: SystemUnderTest, settings: Settings, way: str
    ):
        await system.worker()
        await system.append("e1", "one")
        await system.outcome("e1")
        async with AsyncExitStack() as stack:
            client = await _web(stack, settings)
            async with WAYS[way](system.redis_url, system.client):
                page = await client.get("/api/sessions/s/messages")
                assert page.status_code == 200, page.text
                assert [row["content"] for row in page.json()["messages"]] == ["one"]

    @pytest.mark.parametrize("way", [*map(_timed, ["no replicas", "paused"])])
    async def test_a_chat_is_told_so_in_a_frame_and_goes_on_over_the_same_socket(
        self, system: SystemUnderTest, settings: Settings, way: str
    ):
        await system.worker()
        async with ChannelFleet.of(settings) as fleet:
            site = await fleet.site(agent="main")
            headers = {"Authorization": f"Bearer {ensure_admin_token(settings.workspace)}"}
            url = f"{site.url.replace('http', 'ws')}/ws/chat?agent=main&session_id=one"
            async with chat_with(url, additional_headers=headers) as chat:
                await chat.send('{"type": "connect"}')
                async with WAYS[way](system.redis_url, system.client):
                    await chat.send('{"type": "message", "id": "m1", "content": "hello"}')
                    error = await _next(chat, "error")
                    assert error["code"] in ("STREAM_UNAVAILABLE", "STORE_BEHIND"), error
                await chat.send('{"type": "message", "id": "m1", "content": "hello"}')
                assert (await _next(chat, "done"))["full_response"] == "re: hello"
            assert await fleet.messages("gw_one") == [("user", "hello"), ("assistant", "re: hello")]

    @pytest.mark.parametrize("way", [*map(_timed, ["no replicas", "busy"])])
    async def test_a_bot_that_is_polled_answers_when_it_is_over(
        self,
        system: SystemUnderTest,
        settings: Settings,
        way: str,
        caplog: pytest.LogCaptureFixture,
    ):
        await system.worker()
        async with bot_api() as (bot, url):
            document = settings.model_dump()
            home = {"bot_token": TOKEN, "api_base_url": url, "allowed_users": ["ada"]}
            document["channels"]["telegram"] = {"home": home}
            async with ChannelFleet.of(Settings.model_validate(document)) as fleet:
                site = await fleet.site(agent="main")
                await wait_until(lambda: bot.pollers)
                async with WAYS[way](system.redis_url, system.client):
                    said = bot.say("hello")
                    await wait_until(lambda: "cannot be polled now" in caplog.text)
                    assert bot.confirmed <= said["update_id"]
                await wait_until(lambda: bot.texts == ["re: hello"], within=30)
                assert site.agent.asked == ["hello"]


async def _next(chat: ClientConnection, kind: str) -> dict[str, Any]:
    async with asyncio.timeout(30):
        while (frame := json.loads(await chat.recv()))["type"] != kind:
            pass
        return frame


_EVENT = {"id": "e1", "type": "append", "session": "s", "role": "user", "content": "hello"}


async def _web(stack: AsyncExitStack, settings: Settings) -> httpx.AsyncClient:
    """A client of the web process of `up`."""
    app = FastAPI()
    token = ensure_admin_token(settings.workspace)
    app = await stack.enter_async_context(api.app.opened(settings))
    inner = await stack.enter_async_context(client_within(app, token))
    tokens = TokenFile(settings.workspace)
    await stack.enter_async_context(joined(app, settings, tokens=tokens, api=inner))
    return await stack.enter_async_context(client_within(app, token))


def in_script(error: str) -> str:
    """The error as Redis 6.2 tells it of a script."""
    return f"ERR Error running script (call to f_{'0' * 40}): @user_script:12: {error}"


class TestMeaning:
    @pytest.mark.parametrize(
        "error",
        [
            "NOREPLICAS Not enough good replicas to write.",
            "READONLY You can't write against a read only replica.",
            "LOADING Redis is loading the dataset in memory",
            "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
            "UNBLOCKED force unblock from blocking operation, instance state changed",
            "TRYAGAIN Multiple keys request during rehashing of slot",
            "CLUSTERDOWN The cluster is down",
            "BUSY Redis is busy running a script. You can only call SCRIPT KILL",
            "MISCONF Errors writing to the AOF file: No space left on device",
            "NOMASTERLINK Can't SYNC while not connected with my master",
            "NOGOODSLAVE No suitable replica to promote",
            "INPROG Failover already in progress",
            "NOSCRIPT No matching script. Please use EVAL.",
            "SOMETHINGNEW that a later Redis says",
            "ERR max number of clients reached",
            "ERR max number of clients + cluster connections reached",
            "ERR Script killed by user with SCRIPT KILL",
            "ERR upstream failure",
            "EXECABORT Transaction discarded because of: BUSY Redis is busy running a script.",
            in_script("@user_script: 12: -NOREPLICAS Not enough good replicas to write."),
            in_script("@user_script: 12: -READONLY You can't write against a read only replica."),
        ],
    )
    async def test_what_redis_says_of_its_state_is_worth_another_try(self, error: str):
        explained = await _explained(error)
        assert isinstance(explained, StreamUnavailable)
        assert "refuses for now" in str(explained)

    @pytest.mark.parametrize(
        "error",
        [
            "OOM command not allowed when used memory > 'maxmemory'.",
            in_script("@user_script: 12: -OOM command not allowed when used memory > 'maxmemory'."),
        ],
    )
    async def test_a_full_redis_is_called_full(self, error: str):
        assert isinstance(await _explained(error), StreamFull)

    @pytest.mark.parametrize(
        ("error", "names"),
        [
            ("NOPERM User x has no permissions to run the 'xadd' command", "'xadd'"),
            ("NOPERM No permissions to access a key", "a key"),
            ("NOPERM No permissions to access a channel", "a channel"),
            ("ERR ACL failure in script: No permissions to access a key", "a key"),
            ("ERR unknown command 'XADD', with args beginning with: 'a secret'", "'XADD'"),
            ("NOAUTH Authentication required.", "password"),
            ("WRONGPASS invalid username-password pair or user is disabled.", "password"),
            ("MOVED 3999 127.0.0.1:6381", "no cluster"),
            ("ASK 3999 127.0.0.1:6381", "no cluster"),
            ("WRONGTYPE Operation against a key holding the wrong kind of value", "prefix"),
            ("ERR DB index is out of range", "DB index"),
            ("ERR Script attempted to access a non local key in a cluster node", "no cluster"),
            ("ERR command 'INFO' is not available", "'INFO'"),
            ("DENIED Redis is running in protected mode", "protected mode"),
        ],
    )
    async def test_what_only_a_person_can_change_is_a_configuration_error_that_names_it(
        self, error: str, names: str
    ):
        explained = await _explained(error)
        assert isinstance(explained, ConfigError)
        assert names in str(explained)

    async def test_a_command_that_is_wrong_is_neither(self):
        explained = await _explained("ERR syntax error")
        assert type(explained) is SessionError

    @pytest.mark.parametrize("error", ["NOREPLICAS no", "ERR syntax error", "NOPERM no 'xadd'"])
    async def test_no_error_tells_what_somebody_wrote(
        self, error: str, caplog: pytest.LogCaptureFixture
    ):
        explained = await _explained(error)
        with caplog.at_level(logging.ERROR):
            logging.getLogger().error("failed", exc_info=explained)
        assert "secret" not in caplog.text


async def _explained(error: str) -> SessionError:
    """What a publisher is told where Redis says this to everything."""
    async with redis_that_says(error) as url, aclosing(connect(url)) as redis:
        stream = TurnStream(redis, url=url, prefix="t:")
        with pytest.raises(SessionError) as caught:
            await stream.publish([EVENT], patience=0.0)
        with pytest.raises(type(caught.value)):
            await stream.facts()
    return caught.value
