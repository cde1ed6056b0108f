"""Everything through the one port: events, chats, tools, platforms, streams, bounds, addresses."""

from __future__ import annotations

import json
import uuid

import httpx
from websockets.asyncio.client import connect

from tests.stack.stack import Stack


def _event(content: str, session: str = "port") -> dict[str, str]:
    event = {"type": "append", "session": session, "role": "user", "content": content}
    return {"id": uuid.uuid4().hex, **event}


async def test_events_are_published_and_read(admin: httpx.AsyncClient):
    session = uuid.uuid4().hex
    posted = await admin.post("/api/events", json=_event("hello", session))
    assert posted.status_code == 202, posted.text
    found = await admin.get(f"/api/sessions/{session}/messages")
    assert [row["content"] for row in found.json()["messages"]] == ["hello"]


async def test_a_chat_is_answered(stack: Stack, admin: httpx.AsyncClient):
    url = f"{stack.url.replace('http', 'ws')}/ws/chat?agent=main&session_id={uuid.uuid4().hex}"
    headers = {"Authorization": admin.headers["authorization"]}
    async with connect(url, additional_headers=headers, proxy=None) as chat:
        await chat.send(json.dumps({"type": "message", "content": "hello"}))
        while (frame := json.loads(await chat.recv()))["type"] != "done":
            assert frame["type"] != "error", frame
    assert frame["full_response"] == "hello"


async def test_a_call_may_wait_for_its_answer(stack: Stack, admin: httpx.AsyncClient):
    session = uuid.uuid4().hex
    await admin.post("/api/events", json={**_event("hello", session), "agent": "main"})
    body = {"session_id": session, "message": "news?", "await_reply": 30}
    answer = (await admin.post("/api/tools/sessions_send", json=body)).json()
    assert answer["data"]["text"] == "news?", answer


async def test_mcp_answers(admin: httpx.AsyncClient):
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    accept = {"Accept": "application/json, text/event-stream"}
    answer = await admin.post("/mcp", json=body, headers=accept)
    assert "sessions_list" in answer.text, answer.text


async def test_platforms_reach_ingest_and_people_the_front_page(admin: httpx.AsyncClient):
    assert (await admin.post("/channels/webhook/none", json={})).json()["error"]
    front = await admin.get("/", headers={"Accept": "text/html"})
    assert "/readyz" in front.text


async def test_bounds_are_those_of_the_services(stack: Stack, admin: httpx.AsyncClient):
    large = [_event("x" * 200_000) for _ in range(30)]
    assert (await admin.post("/api/events", json={"events": large})).status_code == 202
    too_large = await admin.post("/api/events", json={"events": large * 2})
    assert (too_large.status_code, too_large.json()["code"]) == (413, "body_too_large")
    long = await admin.get("/api/sessions", headers={"X-Long": "x" * 40_000})
    assert (long.status_code, long.json()["code"]) == (431, "headers_too_large")


async def test_a_name_that_is_not_ours_is_refused(admin: httpx.AsyncClient):
    answer = await admin.get("/api/sessions", headers={"Host": "evil.example.org"})
    assert answer.status_code == 421


async def test_metrics_through_the_port_need_a_token(stack: Stack):
    async with httpx.AsyncClient(base_url=stack.url, trust_env=False) as stranger:
        for headers in ({}, {"X-Forwarded-For": "127.0.0.1"}):
            assert (await stranger.get("/metrics", headers=headers)).status_code == 401


async def test_what_a_caller_says_of_its_address_is_not_believed(stack: Stack):
    """Each made-up address would have limits of its own."""
    async with httpx.AsyncClient(base_url=stack.url, trust_env=False) as stranger:
        mark = uuid.uuid4().hex
        await stranger.get(f"/{mark}", headers={"X-Forwarded-For": "203.0.113.9"})
    lines = [
        line for line in stack.compose("logs", "--no-color", "proxy").splitlines() if mark in line
    ]
    assert lines
    assert "203.0.113.9" not in "".join(lines)
