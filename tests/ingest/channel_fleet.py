"""Web processes with channels, on real ports, and programs that talk with them as platforms do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

import api.app
from harness.waiting import wait_until
from ingest.app import client_within, joined
from ingest.channels.dispatch import Dispatch
from ingest.channels.reply_texts import ReplyTexts
from ingest.channels.webhook import sign
from ingest.ids import new_id
from ingest.services import Services
from ingest.turns.memory import SessionMemory
from ingest.turns.records import AllRecords
from sessions.access.tokens import TokenFile, TokenScope, create_token, ensure_admin_token
from sessions.process.settings import Settings
from sessions.stream.lanes.values import lane_of
from sessions.stream.redis import connect
from sessions.stream.replies.replies import Replies
from tests.ingest.replicas import ScriptedAgent
from tests.ingest.serving import serving
from tests.ingest.stand_ins import put_agent

SECRET: Final = "a secret of thirty-two characters"


@dataclass
class IngestSite:
    """One ingest process: its address, its services, and the agent that answers in it."""

    url: str
    services: Services
    agent: ScriptedAgent
    http: httpx.AsyncClient

    async def post(
        self,
        content: str = "hello",
        *,
        id: str | None = None,
        alias: str = "shop",
        secret: str = SECRET,
        at: float | None = None,
        **more: str,
    ) -> httpx.Response:
        """Post a message to a webhook channel, signed."""
        body = httpx.Request("POST", "http://_", json={"sender": "ada", "content": content, **more})
        raw = body.content
        headers = signed(raw, id=id or new_id(), secret=secret, at=at)
        return await self.http.post(f"/channels/webhook/{alias}", content=raw, headers=headers)


def signed(raw: bytes, *, id: str, secret: str = SECRET, at: float | None = None) -> dict[str, str]:
    stamp = str(int(time.time() if at is None else at))
    return {
        "webhook-id": id,
        "webhook-timestamp": stamp,
        "webhook-signature": sign(secret.encode(), id, stamp, raw),
        "content-type": "application/json",
    }


@dataclass
class Shop:
    """A program that takes replies; `refusals` are the statuses that it answers first.

    While it has a `trouble`, that is the status of every answer, with `asks` as Retry-After. If it
    is `slow`, it takes so many seconds for an answer.
    """

    slow: float = 0.0
    is_asked: bool = False
    trouble: int | None = None
    asks: int | None = None
    refusals: list[int] = field(default_factory=list)
    tries: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    replies: list[dict[str, Any]] = field(default_factory=list)

    def app(self) -> FastAPI:
        app = FastAPI()
        app.add_api_route("/replies", self._take, methods=["POST"])
        return app

    async def _take(self, request: Request) -> JSONResponse:
        raw = await request.body()
        self.tries.append((dict(request.headers), raw))
        if self.trouble is not None:
            asked = {} if self.asks is None else {"Retry-After": str(self.asks)}
            return JSONResponse({}, self.trouble, headers=asked)
        if self.refusals:
            return JSONResponse({}, self.refusals.pop(0))
        self.is_asked = True
        await asyncio.sleep(self.slow)
        self.replies.append(await request.json())
        return JSONResponse({})

    @property
    def texts(self) -> list[str]:
        return [reply["content"] for reply in self.replies]


@dataclass
class ChannelFleet:
    """The api and any number of ingest processes on one store, all with the same channels."""

    settings: Settings
    admin: httpx.AsyncClient
    serve: httpx.AsyncClient
    stack: AsyncExitStack
    admin_token: str

    @classmethod
    @asynccontextmanager
    async def of(cls, settings: Settings) -> AsyncIterator[ChannelFleet]:
        token = ensure_admin_token(settings.workspace)
        # Ingest needs no more than this.
        serve, _ = create_token(settings.workspace, scope=TokenScope.SERVE)
        async with (
            api.app.opened(settings) as app,
            client_within(app, token) as admin,
            client_within(app, serve) as client,
            AsyncExitStack() as stack,
        ):
            yield cls(settings, admin, client, stack, token)

    async def site(self, *, agent: str = "anna", settings: Settings | None = None) -> IngestSite:
        """A site that is there until the test ends."""
        site = self.passing_site(agent=agent, settings=settings)
        return await self.stack.enter_async_context(site)

    @asynccontextmanager
    async def passing_site(
        self, *, agent: str = "anna", settings: Settings | None = None
    ) -> AsyncIterator[IngestSite]:
        """A site that stops at the end of the block."""
        app = FastAPI()
        tokens = TokenFile(self.settings.workspace)
        async with (
            joined(app, settings or self.settings, tokens=tokens, api=self.serve),
            serving(app) as address,
            httpx.AsyncClient(base_url=f"http://{address}", trust_env=False, timeout=30) as http,
        ):
            services: Services = app.state.ingest
            scripted = ScriptedAgent()
            put_agent(services, agent, scripted)
            yield IngestSite(f"http://{address}", services, scripted, http)

    async def rows(self, session: str) -> list[dict[str, Any]]:
        answer = await self.admin.post(
            "/api/tools/sessions_history", json={"session_id": session, "limit": 1000}
        )
        return answer.json()["data"]["messages"]

    async def messages(self, session: str) -> list[tuple[str, str]]:
        """The stored messages as (role, content), oldest first, with all that was published."""
        return [(row["role"], row["content"]) for row in await self.rows(session)]

    async def row(self, session: str) -> dict[str, Any]:
        """The session as lists show it."""
        answer = await self.admin.get("/api/sessions", params={"limit": 1000})
        return next(r for r in answer.json()["sessions"] if r["session_key"] == session)

    async def dead_letters(self) -> list[dict[str, Any]]:
        return (await self.admin.get("/api/dead-letters")).json()["dead_letters"]


def with_channels(settings: Settings, *, anna: tuple[str, ...] = (), **channels: Any) -> Settings:
    """The settings with these `[channels]`, where anna has what the second argument lists."""
    document = settings.model_dump()
    document["channels"].update(channels)
    document["agents"]["anna"]["channels"] = ("telegram.home", "webhook.shop", *anna)
    return Settings.model_validate(document)


async def free(site: IngestSite, session: str) -> None:
    """Wait until nothing runs or waits in the session."""

    async def is_free() -> bool:
        lane = lane_of(session, "anna")
        return await site.services.queue.lanes.at_work(lane) is None

    await wait_until(is_free)


def texts_of(services: Services) -> ReplyTexts:
    """The texts of stored replies, as another replica reads them."""
    records = AllRecords.of(services.queue.lanes, services.reads, SessionMemory())
    return ReplyTexts(records)


@asynccontextmanager
async def dispatching(fleet: ChannelFleet, site: IngestSite) -> AsyncIterator[tuple[Dispatch, Any]]:
    """Another replica's dispatch to the same channels, and the Redis that it notes things in."""
    url, prefix = fleet.settings.redis_url, fleet.settings.turnstream.prefix
    assert url is not None
    services = site.services
    async with aclosing(connect(url)) as redis:
        yield (
            Dispatch(
                services.channels,
                texts=texts_of(services),
                replies=Replies(redis, url=url, prefix=prefix, give_up=3600),
                troubles=services.troubles,
                park_after=30,
            ),
            redis,
        )
