"""`WS /ws/chat`, as a client of ZeroClaw's protocol sees it, over a real socket."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Opcode

import api.app
from harness.waiting import wait_until
from ingest.agents.base import Progress, Reply
from ingest.app import client_within, joined
from ingest.failures import ABORTED, AgentError
from ingest.gateway import outbox
from ingest.gateway.chat import RateLimiter
from ingest.gateway.outbox import Outbox, SlowReader
from ingest.prompt import PromptMessage
from ingest.services import Services
from sessions.access.tokens import TokenFile, TokenScope, create_token, ensure_admin_token
from sessions.models import Event, EventType
from sessions.process.settings import GatewaySettings, Settings
from sessions.stream.lanes.values import lane_of
from sessions.stream.redis import connect as redis_client
from sessions.web.serving import serve
from tests.ingest.logged import logging_as_a_process_does
from tests.ingest.replicas import HeldScript, ScriptedAgent
from tests.ingest.serving import serving
from tests.ingest.stand_ins import put_agent
from tests.leading import Leading


@dataclass
class Gateway:
    """A running web process and what its clients need to know."""

    url: str
    token: str
    services: Services
    agent: ScriptedAgent
    settings: Settings
    app: FastAPI

    @asynccontextmanager
    async def client(self, session: str | None = "one", **query: str) -> AsyncIterator[ChatClient]:
        """A client that has got its session_start."""
        given = {"agent": "anna", **query} | ({} if session is None else {"session_id": session})
        text = "&".join(f"{name}={value}" for name, value in given.items())
        headers = {"Authorization": f"Bearer {self.token}"}
        async with connect(f"{self.url}/ws/chat?{text}", additional_headers=headers) as socket:
            client = ChatClient(socket, {})
            client.start = await client.next()
            yield client

    async def call(self, method: str, path: str, **more: Any) -> httpx.Response:
        """One request to the api, as the administrator."""
        headers = {"Authorization": f"Bearer {self.token}"}
        url = self.url.replace("ws://", "http://")
        async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False) as api:
            return await api.request(method, path, **more)


@dataclass
class ChatClient:
    """A connected client; `start` is its session_start."""

    socket: ClientConnection
    start: dict[str, Any]

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(10):
            return json.loads(await self.socket.recv())

    async def send(self, **frame: Any) -> None:
        await self.socket.send(json.dumps(frame))

    async def say(self, text: str, **more: Any) -> None:
        await self.send(type="message", content=text, **more)

    async def until(self, kind: str) -> dict[str, Any]:
        while (frame := await self.next())["type"] != kind:
            pass
        return frame

    async def greet(self) -> None:
        await self.send(type="connect")
        assert (await self.next())["type"] == "connected"


@asynccontextmanager
async def opened_gateway(settings: Settings) -> AsyncIterator[Gateway]:
    """A web process on the store of these settings, which somebody leads."""
    token = ensure_admin_token(settings.workspace)
    async with (
        api.app.opened(settings) as app,
        client_within(app, token) as within,
        joined(app, settings, tokens=TokenFile(settings.workspace), api=within),
        serving(app) as address,
    ):
        services: Services = app.state.ingest
        agent = ScriptedAgent()
        put_agent(services, "anna", agent)
        yield Gateway(f"ws://{address}", token, services, agent, settings, app)


@pytest.fixture
async def gateway(settings: Settings, leading: Leading) -> AsyncIterator[Gateway]:
    async with opened_gateway(settings) as gateway:
        yield gateway


async def never_answered(session: str, lines: Sequence[PromptMessage], progress: Progress) -> Reply:
    """What the provider refuses for good, so that the message is taken back."""
    raise AgentError("no", status=400, reason="refused")


async def refused(gateway: Gateway, query: str, **headers: str) -> tuple[int, str]:
    with pytest.raises(InvalidStatus) as caught:
        async with connect(f"{gateway.url}/ws/chat{query}", additional_headers=headers):
            pass
    return caught.value.response.status_code, (caught.value.response.body or b"").decode()


class TestHandshake:
    async def test_without_a_token_nobody_gets_in(self, gateway: Gateway):
        assert await refused(gateway, "?agent=anna") == (
            401,
            "Unauthorized: provide Authorization header, Sec-WebSocket-Protocol bearer, "
            "or ?token= query param",
        )

    async def test_the_agent_must_be_given_and_known(self, gateway: Gateway):
        token = {"Authorization": f"Bearer {gateway.token}"}
        status, text = await refused(gateway, "", **token)
        assert status == 400
        assert text.startswith("Missing required `agent` query parameter — pass `?agent=<alias>`")
        assert await refused(gateway, "?agent=zed", **token) == (
            400,
            "Unknown agent `zed` — no [agents.zed] entry configured.",
        )
        status, _ = await refused(gateway, "?agent=anna&agentAlias=anna", **token)
        assert status == 400

    async def test_a_token_may_come_in_the_header_the_subprotocols_or_the_query(
        self, gateway: Gateway
    ):
        url = f"{gateway.url}/ws/chat?agent=anna"
        protocols: Any = ["zeroclaw.v1", f"bearer.{gateway.token}"]
        async with connect(url, subprotocols=protocols) as socket:
            assert socket.subprotocol == "zeroclaw.v1"
        async with connect(f"{url}&token={gateway.token}") as socket:
            assert json.loads(await socket.recv())["type"] == "session_start"
        header = {"Authorization": "Bearer nobody"}
        assert (await refused(gateway, f"?agent=anna&token={gateway.token}", **header))[0] == 401

    async def test_no_log_line_shows_the_token_or_what_was_said(
        self, gateway: Gateway, caplog: pytest.LogCaptureFixture
    ):
        with logging_as_a_process_does(caplog):
            url = f"{gateway.url}/ws/chat?agent=anna&session_id=one&token={gateway.token}"
            async with connect(url) as socket:
                await socket.send('{"type":"message","content":"a secret of ours"}')
                await ChatClient(socket, {}).until("done")
        # The client of this test logs too.
        ours = [record for record in caplog.records if record.name != "websockets.client"]
        text = "\n".join(record.getMessage() for record in ours)
        assert gateway.token not in text
        assert "a secret of ours" not in text

    async def test_an_agents_token_is_for_that_agent_only(self, gateway: Gateway):
        token, _ = create_token(gateway.settings.workspace, scope=TokenScope.SEND, agent="bert")
        status, _ = await refused(gateway, "?agent=anna", Authorization=f"Bearer {token}")
        assert status == 403

    async def test_a_page_of_another_origin_is_refused(self, gateway: Gateway):
        status, _ = await refused(
            gateway,
            "?agent=anna",
            Authorization=f"Bearer {gateway.token}",
            Origin="https://evil.example",
        )
        assert status == 403


class TestConversation:
    async def test_a_new_session_starts_and_answers(self, gateway: Gateway):
        async with gateway.client() as client:
            assert client.start == {
                **{"type": "session_start", "session_id": "one"},
                **{"resumed": False, "message_count": 0},
            }
            await client.greet()
            await client.say("hello")
            done = await client.until("done")
        assert (done["full_response"], done["provider"]) == ("re: hello", "script")
        assert done["tokens_used"] is None

    async def test_a_first_frame_may_be_the_first_message(self, gateway: Gateway):
        async with gateway.client() as client:
            await client.say("hello")
            assert (await client.until("done"))["full_response"] == "re: hello"

    async def test_without_a_session_id_a_new_one_is_made(self, gateway: Gateway):
        async with gateway.client(None) as client:
            assert len(client.start["session_id"]) == 36

    async def test_a_client_that_comes_again_finds_its_session_and_its_name(self, gateway: Gateway):
        async with gateway.client(name="Trip") as client:
            assert client.start["name"] == "Trip"
            await client.say("hello")
            await client.until("done")
        async with gateway.client() as client:
            start = client.start
        assert (start["resumed"], start["message_count"], start["name"]) == (True, 2, "Trip")

    async def test_chunks_and_tools_are_told_as_they_happen(self, gateway: Gateway):
        async def script(session: str, lines: Any, progress: Any):
            progress.tool_call("c", "sessions_list", {"limit": 1})
            progress.tool_result("c", "sessions_list", "none")
            progress.chunk("a")
            return Reply("a")

        gateway.agent.script = script
        async with gateway.client() as client:
            await client.say("go")
            seen = [await client.next() for _ in range(4)]
        assert seen[:3] == [
            {"type": "tool_call", "id": "c", "name": "sessions_list", "args": {"limit": 1}},
            {"type": "tool_result", "id": "c", "name": "sessions_list", "output": "none"},
            {"type": "chunk", "content": "a"},
        ]

    async def test_the_session_belongs_to_the_agent(self, gateway: Gateway):
        async with gateway.client() as client:
            await client.say("hello")
            await client.until("done")
        async with gateway.client(agent="bert") as client:
            await client.say("mine now")
            frame = await client.until("error")
        assert frame["code"] == "SESSION_UNAVAILABLE"

    async def test_a_message_that_is_sent_again_under_its_id_is_one_message(self, gateway: Gateway):
        async with gateway.client() as client:
            await client.say("hello", id="m1")
            await client.until("done")
            await client.say("hello", id="m1")
            assert (await client.until("done"))["full_response"] == "re: hello"
        assert gateway.agent.asked == ["hello"]

    @pytest.mark.parametrize("way", ["deleted", "reset", "taken back"])
    async def test_a_message_that_is_sent_again_after_its_turn_went_is_answered_at_once(
        self, gateway: Gateway, way: str
    ):
        async with gateway.client() as client:
            if way == "taken back":
                gateway.agent.script = never_answered
            await client.say("hello", id="m1")
            await client.until("error" if way == "taken back" else "done")
            gateway.agent.script = None
            await wait_until(lambda: gateway.services.queue.table.holds == [])
            if way == "deleted":
                answer = await gateway.call("DELETE", "/api/sessions/one")
                assert answer.status_code == 200, answer.text
            if way == "reset":
                asked = {"session_id": "gw_one"}
                answer = await gateway.call("POST", "/api/tools/sessions_reset", json=asked)
                assert answer.json()["success"], answer.text
            await client.say("hello", id="m1")
            frame = await client.until("error")
            assert (frame["code"], frame["message"]) == (
                "MESSAGE_GONE",
                "This message was taken before, and the session does not hold it any more. "
                "Send it under a new id to have it answered",
            )
            await client.say("hello", id="m2")
            assert (await client.until("done"))["full_response"] == "re: hello"

    @pytest.mark.parametrize(("count", "kind"), [(100, "done"), (1000, "error")])
    async def test_a_message_that_is_sent_again_much_later_is_answered_at_once(
        self, gateway: Gateway, leading: Leading, count: int, kind: str
    ):
        async with gateway.client() as client:
            await client.say("hello", id="m1")
            await client.until("done")
            first = Event("e0", EventType.APPEND, "gw_one", "user", "x", agent="anna")
            await leading.publish(*(first._replace(id=f"e{n}") for n in range(count)))
            await wait_until(lambda: leading.backend.outcome(f"e{count - 1}"))
            await client.say("hello", id="m1")
            frame = await client.until(kind)
        if kind == "done":
            assert frame["full_response"] == "re: hello"
        else:
            assert frame["code"] == "MESSAGE_GONE"
            assert "before the newest 1000 messages" in frame["message"]
        assert gateway.agent.asked == ["hello"]

    async def test_a_reply_that_ends_as_a_stopped_one_does_is_a_reply_all_the_same(
        self, gateway: Gateway
    ):
        async def script(*_: Any) -> Reply:
            return Reply(f"you would read {ABORTED}")

        gateway.agent.script = script
        async with gateway.client() as client:
            for _ in range(2):
                await client.say("hello", id="m1")
                frame = await client.until("done")
                assert frame["full_response"] == f"you would read {ABORTED}"

    async def test_a_long_history_is_said_to_be_trimmed(self, gateway: Gateway, leading: Leading):
        await leading.publish(
            *(
                Event(
                    f"e{n}",
                    EventType.APPEND,
                    session="gw_one",
                    role="user",
                    content="x",
                    agent="anna",
                )
                for n in range(60)
            )
        )
        async with gateway.client() as client:
            await client.greet()
            frame = await client.next()
        assert (frame["type"], frame["dropped_messages"], frame["kept_turns"]) == (
            *("history_trimmed", 10, 50),
        )


class TestBrokenFrames:
    @pytest.mark.parametrize(
        "frame",
        [
            r'{"type":"message","content":"half a pair \ud800"}',
            r'{"type":"message","content":"hello","id":"\udc00"}',
            r'{"type":"message","content":"hello","\ud800":1}',
            r'{"type":"message","content":"hello","id":NaN}',
            r'{"type":"message","content":"hello","id":1e999}',
            '{"type":"message","content":' + "[" * 5000 + "]" * 5000 + "}",
        ],
    )
    async def test_what_cannot_be_stored_is_an_error_and_the_connection_stays(
        self, gateway: Gateway, frame: str
    ):
        async with gateway.client() as client:
            await client.greet()
            await client.socket.send(frame)
            assert (await client.next())["code"] == "INVALID_JSON"
            await client.say("hello")
            assert (await client.until("done"))["full_response"] == "re: hello"
        assert gateway.agent.asked == ["hello"]

    async def test_as_the_first_frame_it_is_an_error_too(self, gateway: Gateway):
        async with gateway.client() as client:
            await client.socket.send(r'{"type":"message","content":"\ud800"}')
            assert (await client.next())["message"].startswith("Invalid JSON. Send ")
            await client.say("hello")
            assert (await client.until("done"))["full_response"] == "re: hello"

    async def test_an_error_that_nobody_foresaw_is_answered(
        self, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
    ):
        async def broken(*_: Any, **__: Any) -> Any:
            raise ZeroDivisionError

        async with gateway.client() as client:
            await client.greet()
            with monkeypatch.context() as patch:
                patch.setattr(gateway.services.queue.lanes, "enqueue", broken)
                await client.say("hello")
                assert (await client.next())["type"] == "error"
            await client.say("hello again")
            assert (await client.until("done"))["full_response"] == "re: hello again"


class TestNotices:
    """What is posted into a session is shown to the pages that are open on it."""

    @asynccontextmanager
    async def api(self, gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
        headers = {"Authorization": f"Bearer {gateway.token}"}
        url = gateway.url.replace("ws", "http", 1)
        async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False) as api:
            yield api

    async def listeners(self, gateway: Gateway) -> int:
        """How many processes hear notices."""
        url, prefix = gateway.settings.redis_url, gateway.settings.turnstream.prefix
        assert url is not None
        async with aclosing(redis_client(url)) as redis:
            return (await redis.execute_command("PUBSUB", "NUMSUB", f"{prefix}notices"))[1]

    async def test_a_posted_message_comes_to_the_open_page_once(self, gateway: Gateway):
        await wait_until(lambda: self.listeners(gateway))
        async with gateway.client() as client, self.api(gateway) as api:
            await client.say("hello")
            await client.until("done")
            for key in ("k1", "k1", "k2"):
                posted = await api.post(
                    "/api/sessions/one/messages",
                    json={"content": f"by {key}"},
                    headers={"Idempotency-Key": key},
                )
                assert posted.status_code == 200
            frame = await client.next()
            assert datetime.fromisoformat(frame.pop("timestamp")).tzinfo is not None
            assert frame == {
                **{"type": "message", "session_id": "one", "role": "assistant"},
                **{"content": "by k1", "source": "api"},
            }
            assert (await client.next())["content"] == "by k2"

    async def test_pages_of_other_sessions_and_of_other_agents_see_nothing_of_it(
        self, gateway: Gateway
    ):
        await wait_until(lambda: self.listeners(gateway))
        async with (
            gateway.client() as owner,
            gateway.client("two") as elsewhere,
            gateway.client(agent="bert") as stranger,
            self.api(gateway) as api,
        ):
            await owner.say("hello")
            await owner.until("done")
            await api.post("/api/sessions/one/messages", json={"content": "a secret"})
            assert (await owner.next())["content"] == "a secret"
            for other in (elsewhere, stranger):
                await other.greet()


class TestErrors:
    async def test_wrong_first_frames_get_an_error_without_a_code(self, gateway: Gateway):
        hint = 'Send {"type":"message","content":"your text"}'
        for text, expected in (
            ("{", f"Invalid JSON. {hint}"),
            ('{"type":"dance"}', f'Unsupported message type "dance". {hint}'),
        ):
            async with gateway.client() as client:
                await client.socket.send(text)
                assert await client.next() == {"type": "error", "message": expected}

    @pytest.mark.parametrize("more", ["", ',"request_id":"r","decision":"approve"'])
    async def test_an_approval_as_the_first_frame_is_of_an_unsupported_type(
        self, gateway: Gateway, more: str
    ):
        async with gateway.client() as client:
            await client.socket.send(f'{{"type":"approval_response"{more}}}')
            frame = await client.next()
        assert frame["message"].startswith('Unsupported message type "approval_response". Send {')
        assert "code" not in frame

    async def test_an_empty_first_message_is_dropped(self, gateway: Gateway):
        async with gateway.client() as client:
            await client.say("")
            await client.say("hello")
            assert (await client.until("done"))["full_response"] == "re: hello"

    @pytest.mark.parametrize(
        ("text", "code", "start"),
        [
            ("{", "INVALID_JSON", "Invalid JSON: "),
            ('{"type":"dance"}', "UNKNOWN_MESSAGE_TYPE", 'Unsupported message type "dance". Send'),
            ('{"type":"message"}', "EMPTY_CONTENT", "Message content cannot be empty"),
            ('{"type":"message","content":""}', "EMPTY_CONTENT", "Message content cannot be"),
            ('{"type":"message","content":7}', "EMPTY_CONTENT", "Message content cannot be"),
            ('["message"]', "UNKNOWN_MESSAGE_TYPE", 'Unsupported message type "". Send'),
            ('{"type":"connect"}', "UNKNOWN_MESSAGE_TYPE", 'Unsupported message type "connect"'),
            ('{"type":"approval_response"}', "INVALID_APPROVAL_RESPONSE", "approval_response req"),
            (
                '{"type":"approval_response","request_id":"r","decision":"perhaps"}',
                *("INVALID_APPROVAL_RESPONSE", "approval_response requires request_id and dec"),
            ),
            (
                '{"type":"approval_response","kind":"sop","run_id":"r","decision":"approve"}',
                *("SOP_DISABLED", ""),
            ),
        ],
    )
    async def test_wrong_later_frames_get_an_error_with_a_code(
        self, gateway: Gateway, text: str, code: str, start: str
    ):
        async with gateway.client() as client:
            await client.greet()
            await client.socket.send(text)
            frame = await client.next()
        assert (frame["type"], frame["code"]) == ("error", code)
        assert frame["message"].startswith(start)

    async def test_an_answer_to_a_question_that_nobody_asked_is_ignored(self, gateway: Gateway):
        async with gateway.client() as client:
            await client.greet()
            await client.send(type="approval_response", request_id="r", decision="always")
            await client.say("hello")
            assert (await client.next())["type"] == "done"

    async def test_during_a_turn_wrong_frames_are_ignored_but_for_what_is_no_json(
        self, gateway: Gateway
    ):
        gate = HeldScript()
        gateway.agent.script = gate
        async with gateway.client() as client:
            await client.say("hello")
            await wait_until(lambda: gate.waiting)
            await client.send(type="dance")
            await client.send(type="approval_response")
            await client.socket.send("{")
            assert await client.next() == {
                **{"type": "error", "code": "INVALID_JSON"},
                "message": 'Invalid JSON. Send {"type":"message","content":"your text"}',
            }
            gate.open()
            assert (await client.next())["type"] == "done"

    @pytest.mark.parametrize(
        ("error", "code"),
        [
            (AgentError("overloaded", status=529), "PROVIDER_ERROR"),
            (AgentError("incorrect api key provided", status=401), "AUTH_ERROR"),
            (AgentError("it lost its thread"), "AGENT_ERROR"),
        ],
    )
    async def test_a_failed_turn_is_an_error_with_its_code(
        self, gateway: Gateway, error: AgentError, code: str
    ):
        async def script(session: str, lines: Any, progress: Any):
            raise error

        gateway.agent.script = script
        async with gateway.client() as client:
            await client.say("hello")
            assert await client.until("error") == {
                **{"type": "error", "message": str(error), "code": code}
            }

    async def test_a_message_that_waits_for_too_long_gets_an_error(
        self, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr(gateway.services.queue.waiting, "_patience", 0.2)
        gate = HeldScript()
        gateway.agent.script = gate
        async with gateway.client() as client:
            await client.say("first")
            await client.say("second")
            frame = await client.until("error")
            assert frame["code"] == "SESSION_QUEUE_TIMEOUT"
            assert frame["message"] == "Timed out waiting for session gw_one"
            gate.open()
            assert (await client.until("done"))["full_response"] == "re: first"

    async def test_the_ninth_message_at_once_gets_an_error_and_the_first_of_a_client_ends_it(
        self, gateway: Gateway
    ):
        gate = HeldScript()
        gateway.agent.script = gate
        async with gateway.client() as client:
            for number in range(9):
                await client.say(f"m{number}")
            frame = await client.until("error")
            assert frame["code"] == "SESSION_QUEUE_FULL"
            assert frame["message"] == "Session gw_one queue full (8 pending requests)"
            async with gateway.client() as other:
                await other.say("me too")
                assert (await other.until("error"))["code"] == "SESSION_QUEUE_FULL"
                with pytest.raises(ConnectionClosed):
                    await other.next()
            gate.open()
            for _ in range(8):
                await client.until("done")


class TestAllowance:
    async def test_a_client_may_send_a_burst_and_then_a_steady_rate(
        self, monkeypatch: pytest.MonkeyPatch
    ):
        clock = [0.0]
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: clock[0])
        allowance = RateLimiter()
        assert [allowance.try_acquire() for _ in range(21)] == [True] * 20 + [False]
        clock[0] = 1.0
        assert [allowance.try_acquire() for _ in range(6)] == [True] * 5 + [False]


class TestSurvival:
    async def test_a_turn_goes_on_when_its_client_leaves(self, gateway: Gateway):
        gate = HeldScript()
        gateway.agent.script = gate
        async with gateway.client() as client:
            await client.say("hello")
            await wait_until(lambda: gate.waiting)
        gate.open()
        await wait_until(lambda: gateway.services.queue.running(lane_of("gw_one", "anna")) is None)
        async with gateway.client() as client:
            assert client.start["message_count"] == 2

    async def test_a_client_that_comes_again_sees_the_end_of_its_running_turn(
        self, gateway: Gateway
    ):
        gate = HeldScript()
        gateway.agent.script = gate
        async with gateway.client() as client:
            await client.say("hello")
            await wait_until(lambda: gate.waiting)
        async with gateway.client() as client:
            assert client.start["state"] == "running"
            gate.open()
            assert (await client.until("done"))["full_response"] == "re: hello"

    async def test_an_abort_is_told_to_the_client(self, gateway: Gateway):
        gate = HeldScript()
        gateway.agent.script = gate
        async with gateway.client() as client:
            await client.say("hello", id="m1")
            await wait_until(lambda: gate.waiting)
            assert await gateway.services.queue.lanes.abort("gw_one", "anna")
            await client.until("aborted")
            await client.say("hello", id="m1")
            await client.until("aborted")
        async with gateway.client() as client:
            assert client.start["message_count"] == 2


class TestKeepalive:
    @asynccontextmanager
    async def pinging(self, gateway: Gateway, **pings: Any) -> AsyncIterator[None]:
        """The gateway as a process serves it, pinging every second."""
        ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        own = GatewaySettings(port=0, websocket_ping_interval_secs=1)
        process = asyncio.create_task(
            serve(gateway.app, own, environ={}, on_ready=ready.set_result, **pings)
        )
        gateway.url = (await ready).replace("http", "ws")
        yield
        process.cancel()
        await asyncio.gather(process, return_exceptions=True)

    async def test_a_client_is_pinged_as_often_as_the_settings_say(self, gateway: Gateway):
        async with self.pinging(gateway), gateway.client() as client:
            pings: list[float] = []
            process = client.socket.process_event

            def processing(event: Any) -> None:
                if event.opcode is Opcode.PING:
                    pings.append(asyncio.get_running_loop().time())
                process(event)

            # Listening in: websockets answers pings itself and tells nobody.
            socket: Any = client.socket
            socket.process_event = processing
            await wait_until(lambda: len(pings) > 1)
        assert 0.9 < pings[1] - pings[0] < 5

    async def test_a_client_that_is_gone_without_a_word_is_noticed(self, gateway: Gateway):
        async with self.pinging(gateway, pong_timeout=0.2), gateway.client() as client:
            assert gateway.services.clients
            client.socket.transport.pause_reading()
            await wait_until(lambda: not gateway.services.clients)
            client.socket.transport.abort()

    async def test_a_client_that_reads_nothing_more_is_given_up(
        self, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
    ):
        async def script(session: str, lines: Any, progress: Any) -> Reply:
            for _ in range(200):
                # Nothing that compresses well.
                progress.chunk(secrets.token_hex(50_000))
                await asyncio.sleep(0)
            return Reply("x")

        monkeypatch.setattr(outbox, "SEND_TIMEOUT", 0.2)
        gateway.agent.script = script
        async with gateway.client() as client:
            client.socket.transport.pause_reading()
            await client.say("hello")
            await wait_until(lambda: not gateway.services.clients)
            client.socket.transport.abort()
        await wait_until(lambda: gateway.services.queue.running(lane_of("gw_one", "anna")) is None)


class TestOutbox:
    async def test_a_frame_that_is_too_large_ends_the_connection_at_once(self, gateway: Gateway):
        async def script(session: str, lines: Any, progress: Any) -> Reply:
            progress.tool_call("c", "sessions_send", {"message": "x" * 1_100_000})
            return Reply("x")

        gateway.agent.script = script
        async with gateway.client() as client:
            await client.say("hello")
            with pytest.raises(ConnectionClosed):
                await client.until("done")
            assert client.socket.close_code == 1013

    async def test_a_slow_reader_is_given_up_while_a_frame_is_on_its_way(self, gateway: Gateway):
        async def script(session: str, lines: Any, progress: Any) -> Reply:
            for _ in range(200):
                # Nothing that compresses well.
                progress.chunk(secrets.token_hex(50_000))
                await asyncio.sleep(0)
            return Reply("x")

        gateway.agent.script = script
        async with gateway.client() as client:
            client.socket.transport.pause_reading()
            await client.say("hello")
            # Far sooner than a single frame may take to leave.
            await wait_until(lambda: not gateway.services.clients, within=outbox.SEND_TIMEOUT / 3)
            client.socket.transport.abort()

    async def test_a_client_that_does_not_read_is_given_up(self):
        sent: list[str] = []

        async def send(text: str) -> None:
            sent.append(text)

        outbox = Outbox()
        for _ in range(20):
            outbox.chunk("x" * 100_000)
        with pytest.raises(SlowReader):
            await outbox.drain(send)
        assert sum(map(len, sent)) < 1024 * 1024
