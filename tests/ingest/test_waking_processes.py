"""Waking over real processes: what waits in a lane survives them, and runs once."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from harness.program import Program
from harness.system import SystemUnderTest
from harness.waiting import wait_until
from ingest.failures import INTERRUPTED
from sessions.models import Event, EventType
from tests.ingest.model_server import ModelServer, model_server

KEY = "annas"


@dataclass
class Street:
    """A worker and an api; ingest comes and goes. The model answers when it is let."""

    system: SystemUnderTest
    http: httpx.AsyncClient
    url: str
    token: str
    config: Path
    model: ModelServer
    open: asyncio.Event

    async def ingest(self) -> Program:
        """Another replica, ready."""
        settings = {"config": str(self.config), "api_url": self.url, "token": self.token}
        program = self.system.start("ingest", port="0", **settings)
        await program.address()
        return program

    async def send(self, message: str, **more: Any) -> dict[str, Any]:
        given = {"session_id": KEY, "message": message, "wake": True, **more}
        key = {"Idempotency-Key": message}
        answer = await self.http.post("/api/tools/sessions_send", json=given, headers=key)
        assert answer.json()["success"], answer.text
        return answer.json()["data"]

    def asked(self) -> list[str]:
        return [
            request["messages"][-1]["content"].split("] ")[-1] for request in self.model.requests
        ]


@pytest.fixture
async def street(tmp_path: Path) -> AsyncIterator[Street]:
    open_gate = asyncio.Event()

    async def answer(request: dict[str, Any]) -> str:
        await open_gate.wait()
        return "yes"

    async with AsyncExitStack() as stack:
        model, model_url = await stack.enter_async_context(model_server(answer))
        config = tmp_path / "turnstream.toml"
        config.write_text(
            f'[agents.anna]\nprovider = "openai"\nbase_url = "{model_url}"\nmodel = "m"\n'
        )
        system = await stack.enter_async_context(SystemUnderTest.running(tmp_path))
        await system.worker(config=str(config))
        url, _ = await system.serving("api", config=str(config))
        token = (system.workspace / "token").read_text().strip()
        headers = {"Authorization": f"Bearer {token}"}
        http = httpx.AsyncClient(base_url=url, headers=headers, trust_env=False, timeout=70)
        await stack.enter_async_context(http)
        await system.stream.publish(
            [Event("e1", EventType.APPEND, KEY, "user", "hi", agent="anna")]
        )
        yield Street(system, http, url, token, config, model, open_gate)


async def test_without_ingest_a_message_waits_and_is_run_when_there_is_one(street: Street):
    street.open.set()
    assert (await street.send("news", await_reply=1))["status"] == "pending"

    await street.ingest()

    assert (await street.send("news", await_reply=60))["text"] == "yes"
    assert street.asked() == ["news"]


async def test_a_message_outlives_redis_being_restarted(street: Street):
    street.open.set()
    await street.send("news")

    await street.system.redis.kill()
    await street.system.redis.start()
    await street.ingest()

    assert (await street.send("news", await_reply=60))["text"] == "yes"
    assert street.asked() == ["news"]


async def test_a_replica_that_dies_while_one_runs_and_one_waits_leaves_both_to_the_next(
    street: Street,
):
    first = await street.ingest()
    await street.send("one")
    await wait_until(lambda: len(street.model.requests) == 1)
    await street.send("two")

    await first.stop(signal.SIGKILL)
    await street.ingest()
    street.open.set()

    one, two = [await street.send(text, await_reply=60) for text in ("one", "two")]
    assert (one["status"], one["text"]) == ("failed", INTERRUPTED)
    assert (two["status"], two["text"]) == ("replied", "yes")
    assert street.asked() == ["one", "two"], "what was begun is not begun again"
    assert await street.system.texts(KEY) == ["hi", "one", INTERRUPTED, "two", "yes"]
