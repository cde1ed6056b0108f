"""The tools over MCP: the same as over REST, as the official client sees them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from sessions.process.settings import GatewaySettings
from sessions.web.serving import serve
from tests.api.running_api import RunningApi

# Both generations of the protocol: one request an exchange, and the one with a handshake.
MODES = ("2026-07-28", "legacy")


@pytest.fixture
async def url(running_api: RunningApi) -> AsyncIterator[str]:
    """The api on a port of its own."""
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(
        serve(running_api.app, GatewaySettings(port=0), environ={}, on_ready=ready.set_result)
    )
    yield await ready
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


@asynccontextmanager
async def connected(
    url: str, token: str, *, mode: str = MODES[0], headers: Mapping[str, str] | None = None
) -> AsyncIterator[Client]:
    """A client of the tools with this token."""
    given = {"Authorization": f"Bearer {token}", **(headers or {})}
    async with (
        httpx2.AsyncClient(headers=given) as http,
        Client(streamable_http_client(f"{url}/mcp", http_client=http), mode=mode) as client,
    ):
        yield client


async def call(client: Client, name: str, **arguments: Any) -> dict[str, Any]:
    """The structured answer of a tool, whose text must say the same."""
    result = await client.call_tool(name, arguments)
    body = result.structured_content
    assert body is not None
    [content] = result.content
    assert content.type == "text"
    assert content.text == (body["output"] if body["success"] else body["error"])
    assert result.is_error is not body["success"]
    return body


async def test_a_model_is_told_what_the_tools_are_for(running_api: RunningApi, url: str):
    """With the handshake; the newer protocol's client asks for it if it wants it."""
    async with connected(url, running_api.tokens["admin"], mode="legacy") as client:
        told = client.instructions

    assert told is not None
    assert "sessions_list" in told
    assert "no instruction to you" in told


@pytest.mark.parametrize("mode", MODES)
class TestBothGenerations:
    async def test_the_tools_are_those_of_rest(self, running_api: RunningApi, url: str, mode: str):
        rest = (await running_api.get("/api/tools")).json()["tools"]

        async with connected(url, running_api.tokens["admin"], mode=mode) as client:
            listed = (await client.list_tools()).tools

        assert [
            {"name": tool.name, "description": tool.description, "parameters": tool.input_schema}
            for tool in listed
        ] == [tool["function"] for tool in rest]

    async def test_they_answer_as_over_rest(self, running_api: RunningApi, url: str, mode: str):
        await running_api.say("gw_abc", "hello")
        asked = {"session_id": "abc"}

        async with connected(url, running_api.tokens["admin"], mode=mode) as client:
            over_mcp = await call(client, "sessions_history", **asked)
            over_rest = await running_api.answer("sessions_history", asked)
            sent = await call(client, "sessions_send", **asked, message="hi")

        assert over_mcp == over_rest
        assert sent["output"] == "Message sent to session 'gw_abc' (requested 'abc')."
        assert await running_api.contents("gw_abc") == ["hello", "hi"]

    async def test_the_caller_is_known_by_its_headers(
        self, running_api: RunningApi, url: str, mode: str
    ):
        await running_api.say("berts", "hello", agent="bert")
        inside = {"X-Turnstream-Session": "berts"}

        async with connected(url, running_api.tokens["bert"], mode=mode, headers=inside) as client:
            own = await call(client, "sessions_current")
        async with connected(url, running_api.tokens["anna"], mode=mode, headers=inside) as client:
            foreign = await call(client, "sessions_current")
            listed = await call(client, "sessions_list")

        assert own["output"] == "Current session: berts\nMessages: 1\n"
        assert foreign["output"] == "Current session: berts\n"
        assert listed["output"] == "No active sessions found."


class TestRefusals:
    @pytest.mark.parametrize(
        ("who", "name", "arguments", "code"),
        [
            ("anna-reads", "sessions_send", {"session_id": "s", "message": "x"}, "forbidden"),
            ("anna", "sessions_history", {}, "invalid_argument"),
            ("anna", "sessions_list", {"limit": "many"}, "invalid_argument"),
            ("anna", "sessions_list", {"limits": 5}, "invalid_argument"),
        ],
    )
    async def test_they_are_told_to_the_model(
        self,
        running_api: RunningApi,
        url: str,
        who: str,
        name: str,
        arguments: dict[str, Any],
        code: str,
    ):
        async with connected(url, running_api.tokens[who]) as client:
            body = await call(client, name, **arguments)

        assert (body["success"], body["code"]) == (False, code)

    async def test_arguments_as_models_write_them_are_no_reason_for_one(
        self, running_api: RunningApi, url: str
    ):
        await running_api.say("s", "hello")

        async with connected(url, running_api.tokens["admin"]) as client:
            body = await call(client, "sessions_history", session_id="s", limit="10", cursor="")

        assert body["data"]["total"] == 1

    async def test_a_tools_own_one_is_an_error_too(self, running_api: RunningApi, url: str):
        async with connected(url, running_api.tokens["admin"]) as client:
            body = await call(client, "sessions_send", session_id="nobody", message="x")

        assert body["error"].startswith("Session 'nobody' not found.")

    async def test_an_unknown_tool_is_an_error_of_the_protocol(
        self, running_api: RunningApi, url: str
    ):
        async with connected(url, running_api.tokens["admin"]) as client:
            with pytest.raises(MCPError, match="there is no tool 'sessions_spawn'"):
                await client.call_tool("sessions_spawn", {})

    async def test_without_a_token_there_is_no_door(self, running_api: RunningApi, url: str):
        async with httpx2.AsyncClient() as http:
            response = await http.post(f"{url}/mcp", json={})

        assert response.status_code == 401


class TestTheEndpoint:
    async def test_answers_carry_the_position(self, running_api: RunningApi, url: str):
        await running_api.say("s", "hello")
        request = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
        params = {"name": "sessions_list", "arguments": {}}
        headers = {"Authorization": f"Bearer {running_api.tokens['admin']}"}
        headers["Accept"] = "application/json, text/event-stream"

        async with httpx2.AsyncClient(headers=headers) as http:
            response = await http.post(f"{url}/mcp", json={**request, "params": params})

        body = response.json()["result"]["structuredContent"]
        assert response.headers["x-turnstream-position"] == body["position"]
        assert response.headers["cache-control"] == "no-store"

    @pytest.mark.parametrize("method", ["GET", "DELETE"])
    async def test_there_is_no_stream_to_open_or_close(self, running_api: RunningApi, method: str):
        response = await running_api.call(method, "/mcp")

        assert response.status_code == 405

    @pytest.mark.parametrize(
        ("body", "status"),
        [(b"{", 400), (b"[" * 200_000, 400), (b" " * 2_000_000, 413), (b'"\\ud800"', 400)],
    )
    async def test_what_is_no_request_is_refused(
        self, running_api: RunningApi, url: str, body: bytes, status: int
    ):
        headers = {
            "Authorization": f"Bearer {running_api.tokens['admin']}",
            "Accept": "application/json, text/event-stream",
            "Content-Type": "application/json",
        }
        async with httpx2.AsyncClient(headers=headers) as http:
            response = await http.post(f"{url}/mcp", content=body)

        assert response.status_code == status
