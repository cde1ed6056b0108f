"""`POST /api/events`: everything is checked, then everything is on the stream, or nothing is."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

import api.app
from harness.waiting import wait_until
from ingest import rest
from ingest.api_tokens import ApiTokens
from ingest.app import client_within, joined, opened
from sessions.access.tokens import Principal, TokenFile, TokenScope, create_token, revoke_token
from sessions.errors import ConfigError
from sessions.models import Position
from sessions.process.settings import Settings
from sessions.stream.redis import RedisClient, connect
from sessions.stream.turns import TurnStream
from tests.leading import Leading

ANY = {"consistency": "any"}
HELLO = {"type": "append", "session": "s", "role": "user", "content": "hello"}


@pytest.fixture
async def redis(redis_url: str) -> AsyncGenerator[RedisClient]:
    client = connect(redis_url)
    yield client
    await client.aclose()


@asynccontextmanager
async def ingest_client(
    settings: Settings, *, scope: TokenScope = TokenScope.ADMIN, agent: str | None = None
):
    """A client with a token of that scope, on the routes of ingest."""
    token, _ = create_token(settings.workspace, scope=scope, agent=agent)
    app = FastAPI()
    async with (
        client_within(FastAPI(), None) as api,
        joined(app, settings, tokens=TokenFile(settings.workspace), api=api),
        client_within(app, token) as client,
    ):
        yield client


@pytest.fixture
async def client(settings: Settings) -> AsyncGenerator[httpx.AsyncClient]:
    async with ingest_client(settings) as client:
        yield client


async def entries(redis: RedisClient, settings: Settings) -> list[dict[str, str]]:
    """What is on the stream, oldest first."""
    found = await redis.execute_command("XRANGE", settings.stream_key, "-", "+")
    return [{k.decode(): v.decode() for k, v in fields.items()} for _, fields in found]


def numbered(count: int, **changes: Any) -> dict[str, Any]:
    return {"events": [{**HELLO, "id": f"e{n}", **changes} for n in range(count)]}


class TestTheShareOfAnAgent:
    """What an agent published and the worker has not applied, at both entry points together."""

    async def test_beyond_it_the_agent_gets_429_and_the_others_are_served(
        self, settings: Settings, leading: Leading
    ):
        settings = settings.replace(max_share_entries=3)
        made = {
            agent: create_token(settings.workspace, scope=TokenScope.SEND, agent=agent)[0]
            for agent in ("anna", "bert")
        }
        admin, _ = create_token(settings.workspace, scope=TokenScope.ADMIN)
        async with (
            api.app.opened(settings) as app,
            client_within(app, admin) as own,
            joined(app, settings, tokens=TokenFile(settings.workspace), api=own),
            client_within(app, made["anna"]) as anna,
            client_within(app, made["bert"]) as bert,
        ):
            assert (await anna.post("/api/events", json=numbered(1, session="a"))).is_success
            await wait_until(lambda: known(anna, "a"))
            await leading.pause()
            await leading.announce()
            body = {"events": [{**HELLO, "session": "a", "id": f"x{n}"} for n in range(3)]}
            assert (await anna.post("/api/events", json=body)).status_code == 202

            more = await anna.post("/api/events", json={**HELLO, "session": "a"})
            # Refused before it is read, or it would be a 400.
            unread = await anna.post("/api/events", content=b"{" * 100_000)
            change = await anna.put("/api/sessions/a", json={"name": "x"}, params=ANY)
            other = await bert.post("/api/events", json={**HELLO, "session": "b"})
            operator = await own.post("/api/events", json={**HELLO, "session": "a"})

        for refused in (more, unread, change):
            assert (refused.status_code, refused.json()["code"]) == (429, "agent_share_full")
            assert refused.headers["retry-after"] == "1"
        assert (other.status_code, operator.status_code) == (202, 202)


async def known(client: httpx.AsyncClient, session: str) -> bool:
    """Whether the session exists for this client."""
    return (await client.get(f"/api/sessions/{session}/state", params=ANY)).is_success


class TestAccepted:
    async def test_an_event_is_on_the_stream_with_its_fields_when_the_answer_comes(
        self, client: httpx.AsyncClient, redis: RedisClient, settings: Settings
    ):
        event = {
            **HELLO,
            **{"id": "e1", "turn": "e1", "state": "running", "channel": "telegram.home"},
            **{"room": "42", "sender": "ada", "at": "2026-01-02T03:04:05+00:00"},
        }

        answer = await client.post("/api/events", json=event)

        assert answer.status_code == 202
        [stored] = await entries(redis, settings)
        assert stored == {"v": "1", **event}

    async def test_the_answer_names_each_event_and_its_position(self, client: httpx.AsyncClient):
        answer = await client.post("/api/events", json=numbered(3))

        found = answer.json()
        assert [event["id"] for event in found["events"]] == ["e0", "e1", "e2"]
        assert found["position"] == found["events"][-1]["position"]
        assert answer.headers["x-turnstream-position"] == found["position"]
        assert Position.parse(found["position"]).event_id == "e2"

    async def test_a_list_is_published_in_its_order(
        self, client: httpx.AsyncClient, redis: RedisClient, settings: Settings
    ):
        await client.post("/api/events", json=numbered(500))
        assert [e["id"] for e in await entries(redis, settings)] == [f"e{n}" for n in range(500)]

    async def test_an_event_without_id_gets_one_that_sorts_by_time(self, client: httpx.AsyncClient):
        ids = [
            (await client.post("/api/events", json=HELLO)).json()["events"][0]["id"]
            for _ in range(3)
        ]
        assert len({*ids}) == 3
        assert [i[:13] for i in ids] == sorted(i[:13] for i in ids)

    async def test_the_idempotency_key_becomes_the_id(self, client: httpx.AsyncClient):
        answer = await client.post("/api/events", json=HELLO, headers={"Idempotency-Key": "k-1"})
        assert answer.json()["events"][0]["id"] == "k-1"

    async def test_flags_and_the_version_may_be_written_as_json_has_them(
        self, client: httpx.AsyncClient, redis: RedisClient, settings: Settings
    ):
        event = {**HELLO, "v": 1, "if_exists": True, "turn": None}
        assert (await client.post("/api/events", json=event)).status_code == 202
        [stored] = await entries(redis, settings)
        assert (stored["v"], stored["if_exists"]) == ("1", "1")
        assert "turn" not in stored

    @pytest.mark.parametrize("text", ["\0 \n\t", "😀 שלום \u2028", "[" * 1000])
    async def test_text_arrives_as_it_was_sent(
        self, client: httpx.AsyncClient, redis: RedisClient, settings: Settings, text: str
    ):
        await client.post("/api/events", json={**HELLO, "content": text})
        assert (await entries(redis, settings))[0]["content"] == text


class TestRefused:
    @pytest.mark.parametrize(
        ("change", "field", "reason"),
        [
            ({"session": None}, "session", "invalid_field"),
            ({"session": "x" * 600}, "session", "invalid_field"),
            ({"role": "x" * 33}, "role", "invalid_field"),
            ({"content": 5}, "content", "invalid_field"),
            ({"content": None}, "content", "invalid_field"),
            ({"content": "x" * (256 * 1024 + 1)}, "content", "too_large"),
            ({"type": "shout"}, "type", "unknown_type"),
            ({"v": "2"}, "v", "unknown_version"),
            ({"v": 2}, "v", "invalid_field"),
            ({"id": "no blanks"}, "id", "invalid_field"),
            ({"id": None}, "id", "invalid_field"),
            ({"at": "yesterday"}, "at", "invalid_field"),
            ({"if_exists": 0.5}, "if_exists", "invalid_field"),
            ({"contents": "typo"}, "contents", "invalid_field"),
        ],
    )
    async def test_one_bad_event_is_named_and_nothing_is_published(
        self,
        client: httpx.AsyncClient,
        redis: RedisClient,
        settings: Settings,
        change: dict[str, Any],
        field: str,
        reason: str,
    ):
        body = numbered(3)
        body["events"][1] |= change

        answer = await client.post("/api/events", json=body)

        assert answer.status_code == 422
        found = answer.json()
        assert (found["index"], found["field"], found["code"]) == (1, field, reason)
        assert field in found["error"]
        assert await entries(redis, settings) == []

    @pytest.mark.parametrize(
        "body",
        [[], "text", {"events": {}}, {"events": []}, numbered(501), {"events": [], "v": "1"}],
    )
    async def test_what_is_neither_an_event_nor_a_list_is_refused(
        self, client: httpx.AsyncClient, body: Any
    ):
        answer = await client.post("/api/events", json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_body")

    @pytest.mark.parametrize(
        "body", [b"", b"{", b'{"content": NaN}', b'"\xff"', b'"\\ud800"', b"[" * 200_000]
    )
    async def test_what_is_not_json_is_refused(self, client: httpx.AsyncClient, body: bytes):
        answer = await client.post("/api/events", content=body)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_json")

    async def test_a_body_is_measured_while_it_comes(self, client: httpx.AsyncClient):
        async def endless():
            for _ in range(9):
                yield b" " * 1024 * 1024

        answer = await client.post("/api/events", content=endless())
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")

    async def test_two_different_ids_for_one_event_are_refused(self, client: httpx.AsyncClient):
        answer = await client.post(
            "/api/events", json={**HELLO, "id": "a"}, headers={"Idempotency-Key": "b"}
        )
        assert (answer.status_code, answer.json()["field"]) == (422, "id")


class TestAccess:
    @pytest.mark.parametrize("header", ["", "Bearer nobody", "Basic abc", "Bearer \xff"])
    async def test_without_a_known_token_nobody_gets_in(
        self, client: httpx.AsyncClient, header: str
    ):
        answer = await client.post(
            "/api/events", json=HELLO, headers={b"Authorization": header.encode("latin-1")}
        )
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")

    async def test_a_token_that_may_only_read_publishes_nothing(self, settings: Settings):
        async with ingest_client(settings, scope=TokenScope.READ, agent="main") as client:
            answer = await client.post("/api/events", json=HELLO)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")

    async def test_an_agents_events_are_its_own(self, settings: Settings, redis: RedisClient):
        async with ingest_client(settings, scope=TokenScope.SEND, agent="main") as client:
            answer = await client.post("/api/events", json=HELLO)
        assert answer.status_code == 202
        assert (await entries(redis, settings))[0]["agent"] == "main"

    async def test_an_agent_cannot_publish_as_another(self, settings: Settings, redis: RedisClient):
        body = numbered(2)
        body["events"][1]["agent"] = "other"
        async with ingest_client(settings, scope=TokenScope.SEND, agent="main") as client:
            answer = await client.post("/api/events", json=body)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        assert await entries(redis, settings) == []

    async def test_an_administrator_may_publish_as_an_agent(
        self, settings: Settings, redis: RedisClient, client: httpx.AsyncClient
    ):
        as_main = {"X-Turnstream-Agent": "main"}
        taken = await client.post("/api/events", json=HELLO, headers=as_main)
        other = {**HELLO, "agent": "other"}
        refused = await client.post("/api/events", json=other, headers=as_main)
        assert (taken.status_code, refused.status_code) == (202, 403)
        assert [entry["agent"] for entry in await entries(redis, settings)] == ["main"]

    async def test_an_agent_does_not_become_another_one_by_a_header(self, settings: Settings):
        async with ingest_client(settings, scope=TokenScope.SEND, agent="main") as client:
            headers = {"X-Turnstream-Agent": "other"}
            answer = await client.post("/api/events", json=HELLO, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")

    async def test_dead_letters_are_no_agents_business(self, settings: Settings):
        event = {"type": "dead", "target": "1-1-abc", "action": "purge"}
        async with ingest_client(settings, scope=TokenScope.SEND, agent="main") as client:
            answer = await client.post("/api/events", json=event)
        assert answer.status_code == 403


class TestUnavailable:
    async def test_a_full_redis_is_said_to_be_full(
        self, client: httpx.AsyncClient, redis: RedisClient, settings: Settings
    ):
        await redis.execute_command("CONFIG", "SET", "maxmemory", "1")
        try:
            answer = await client.post("/api/events", json=HELLO)
        finally:
            await redis.execute_command("CONFIG", "SET", "maxmemory", "0")
        assert (answer.status_code, answer.json()["code"]) == (503, "stream_full")
        assert int(answer.headers["retry-after"]) >= 1
        assert await entries(redis, settings) == []

    async def test_without_redis_the_answer_says_so_and_shows_no_address(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr(TurnStream.publish, "__kwdefaults__", {"patience": 0})
        gone = settings.replace(redis_url="redis://:secret@127.0.0.1:1/0")
        async with ingest_client(gone) as client:
            answer = await client.post("/api/events", json=HELLO)
        assert (answer.status_code, answer.json()["code"]) == (503, "stream_unavailable")
        assert "127.0.0.1" not in answer.text


async def test_a_process_of_its_own_asks_the_api_whose_a_token_is(
    settings: Settings, leading: Leading
):
    token, entry = create_token(settings.workspace, scope=TokenScope.SEND, agent="anna")
    async with api.app.opened(settings) as there, client_within(there, None) as asking:
        tokens = ApiTokens(asking)
        found = await tokens.verify(token)
        revoke_token(settings.workspace, entry.id)
        # What the api said is believed for a while, so that not every message asks it again.
        assert await tokens.verify(token) == found
        assert await ApiTokens(asking).verify(token) is None
    assert found == Principal("anna", TokenScope.SEND)


async def test_a_process_of_its_own_wants_the_address_of_the_api(settings: Settings):
    with pytest.raises(ConfigError, match="TURNSTREAM_API_URL"):
        async with opened(settings):
            pass


def test_the_document_of_the_routes_shows_the_fields_of_an_event():
    app = FastAPI()
    app.include_router(rest.router)
    assert '"close_with"' in json.dumps(app.openapi())
