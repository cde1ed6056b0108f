"""A whole system in one process: store, leader, api and ingest, and short ways to call it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
from fastapi import FastAPI

import api.app
from harness.waiting import wait_until
from ingest.agents.base import Progress, Reply
from ingest.app import client_within, joined
from ingest.prompt import PromptMessage
from ingest.services import Services
from sessions.access.tokens import TokenFile, TokenScope, create_token, ensure_admin_token
from sessions.models import Event
from sessions.process.settings import OwnSettings, Settings
from sessions.stream.lanes.values import lane_of
from tests.ingest.replicas import ScriptedAgent
from tests.ingest.stand_ins import put_agent
from tests.leading import Leading, opened_stream
from tests.security.sockets import Socket

AGENTS: Final = ("anna", "bert", "carl")
SECRET: Final = "a secret of thirty-two characters"
# A turn whose message begins so runs until the world's gate is opened.
HOLD: Final = "hold"
# What one caller may ask for is not what these tests are about.
_WIDE: Final = {
    "max_requests_per_token": 10_000,
    "requests_per_second": 1_000_000,
    "requests_burst": 1_000_000,
    "max_chats_per_token": 10_000,
    "max_share_entries": 1_000_000,
    "max_share_bytes": 1 << 30,
    "max_searches": 1000,
    "max_searches_per_agent": 1000,
}


def settings_of(workspace: Path, redis_url: str) -> Settings:
    """Three agents, each with a webhook of its own; carl may send to bert."""
    own = {"workspace": str(workspace), "redis_url": redis_url}
    own["prefix"] = f"security-{uuid.uuid4().hex[:12]}:"
    wide = {name: most for name, most in _WIDE.items() if name in OwnSettings.model_fields}
    agents = {name: {"channels": [f"webhook.{name}"]} for name in AGENTS}
    agents["carl"]["may_send_to"] = ["bert"]
    webhook = {name: {"secret": SECRET} for name in AGENTS}
    return Settings.model_validate(
        {"turnstream": {**own, **wide}, "agents": agents, "channels": {"webhook": webhook}}
    )


@dataclass
class World:
    """One system; `tokens` are named by their callers."""

    settings: Settings
    app: FastAPI
    http: httpx.AsyncClient
    leading: Leading
    tokens: Mapping[str, str]
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    held: int = 0
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    @property
    def services(self) -> Services:
        """What ingest has open."""
        return self.app.state.ingest

    async def script(
        self, session: str, lines: Sequence[PromptMessage], progress: Progress
    ) -> Reply:
        """How all agents answer: an echo, which may be held up."""
        text = lines[-1].written
        if HOLD in text:
            self.held += 1
            await self.gate.wait()
        return Reply(f"re: {text}")

    def headers(self, who: str) -> dict[str, str]:
        """Those of a caller; `admin as bert` narrows itself."""
        whose, _, agent = who.partition(" as ")
        given = {"authorization": f"Bearer {self.tokens[whose]}"} if whose else {}
        return {**given, "x-turnstream-agent": agent} if agent else given

    async def publish(self, events: Sequence[Event]) -> None:
        """Publish as any program on the stream may."""
        if events:
            await self.leading.stream.publish(events)

    async def admin(self, method: str, path: str, **options: Any) -> Any:
        """The JSON of an administrator's call, which waits for a worker that is behind."""
        headers = self.headers("admin")

        async def asked() -> httpx.Response | None:
            response = await self.http.request(method, path, headers=headers, **options)
            return None if response.status_code == 503 else response

        response = await wait_until(asked)
        assert response is not None
        return response.json()

    def chat(self, agent: str, session_id: str) -> Any:
        """A chat of an agent's own client."""
        query = str(httpx.QueryParams({"agent": agent, "session_id": session_id}))
        return Socket.opened(self.app, query, self.headers(agent))

    async def rests(self, key: str, agent: str) -> None:
        """Wait until no turn of the agent runs there in this process."""
        lane = lane_of(key, agent)
        await wait_until(lambda: self.services.queue.running(lane) is None)

    async def free(self, keys: Sequence[str], agent: str) -> None:
        """Wait until nothing of the agent runs or waits in these sessions."""
        lanes = self.services.queue.lanes
        left = [lane_of(key, agent) for key in keys]

        async def is_free() -> bool:
            while left and await lanes.at_work(left[-1]) is None:
                left.pop()
            return not left

        await wait_until(is_free)


@asynccontextmanager
async def opened_world(workspace: Path, redis_url: str) -> AsyncIterator[World]:
    """A new system, whose leader applies whatever comes."""
    settings = settings_of(workspace, redis_url)
    admin = ensure_admin_token(settings.workspace)
    tokens = {"admin": admin, "nobody": "ts_nobody"}
    for agent in AGENTS:
        tokens[agent] = create_token(workspace, scope=TokenScope.SEND, agent=agent)[0]
        tokens[f"{agent}-reads"] = create_token(workspace, scope=TokenScope.READ, agent=agent)[0]
    tokens["serve"] = create_token(workspace, scope=TokenScope.SERVE)[0]
    async with (
        opened_stream(settings) as stream,
        Leading.of(settings, stream) as leading,
        api.app.opened(settings) as app,
        app.router.lifespan_context(app),
        client_within(app, tokens["serve"]) as inner,
        joined(app, settings, tokens=TokenFile(settings.workspace), api=inner),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app, raise_app_exceptions=False),
            base_url="http://localhost",
            timeout=30,
        ) as http,
        AsyncExitStack() as stack,
    ):
        await leading.resume()
        world = World(settings, app, http, leading, tokens, stack=stack)
        for agent in AGENTS:
            put_agent(world.services, agent, ScriptedAgent(world.script))
        try:
            yield world
        finally:
            world.gate.set()


__all__ = ["AGENTS", "HOLD", "World", "opened_world", "settings_of"]
