"""The composition root of ingest: a process of its own, or a part of the web process.

async with opened(settings, token=...) as app:          # ingest alone
    await serve(app, ...)

async with joined(app, settings, tokens=..., api=...):  # beside the api's routes
    await serve(app, ...)
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Final, NamedTuple, TypedDict

import httpx
from fastapi import FastAPI
from httpx_aiohttp import AiohttpTransport
from prometheus_client import CollectorRegistry

from ingest import rest
from ingest.agents.base import Agent
from ingest.agents.factory import opened_agents
from ingest.agents.tools import SessionTools
from ingest.api_tokens import ApiTokens
from ingest.channels import push_route
from ingest.channels.base import Channel
from ingest.channels.delivering import delivering
from ingest.channels.dispatch import Dispatch
from ingest.channels.factory import opened_channels
from ingest.channels.failure_counts import ChannelFailures
from ingest.channels.keys import KeyStyle, SessionKeys
from ingest.channels.lease import ChannelLease
from ingest.channels.listening import listening
from ingest.channels.presence import Presence
from ingest.channels.receiver import MessageReceiver
from ingest.channels.reply_texts import ReplyTexts
from ingest.gateway import chat_route
from ingest.gateway.chat import Chat, ChatPlace
from ingest.gateway.notices import showing
from ingest.gateway.woken import WokenTurns
from ingest.metrics import IngestMetrics
from ingest.readiness import IngestReadiness
from ingest.reads import ApiReads
from ingest.services import Services
from ingest.turns.liveness import keeping
from ingest.turns.memory import SessionMemory
from ingest.turns.orphans import Orphans
from ingest.turns.queue import TurnQueue
from ingest.turns.records import AllRecords
from ingest.turns.runner import TurnRunner
from ingest.turns.unavailable import OwnerRefusals
from routing.answers import answer_errors_outside_routes
from sessions.access.check import Access
from sessions.access.tokens import ShownToken, TokenVerifier
from sessions.errors import ConfigError
from sessions.process.settings import Settings
from sessions.process.tasks import ProcessEnd, TaskWatcher, log_failure
from sessions.stream.lanes.lanes import Lanes
from sessions.stream.lanes.waking import MOST_AWAITED
from sessions.stream.notices import Notices
from sessions.stream.redis import RedisClient, connect
from sessions.stream.replies.replies import Replies
from sessions.stream.turns import TurnStream
from sessions.web.asgi import inside
from sessions.web.edge import Edge
from sessions.web.edge.metrics import EdgeCollector
from sessions.web.exposition import PublishCollector, process_registry
from sessions.web.hosts import HostGuard, allowed_names
from sessions.web.share import ShareLimiter

DEFAULT_REDIS: Final = "redis://127.0.0.1:6379/0"
# Seconds that the api may take: its reads wait 2 s at most to be fresh.
_API_TIMEOUT: Final = 10.0
# Seconds that a tool may take beside that: to wait for the answer of a session that it woke.
_TOOL_TIMEOUT: Final = MOST_AWAITED + _API_TIMEOUT
# Requests to the api at a time; the others wait in line. More would only wait there.
_API_REQUESTS: Final = 32
# Seconds that an idle connection to the api is kept: less than the 5 s after which uvicorn closes
# it, so that no request is sent into a closing one.
_API_KEPT: Final = 4.0


@asynccontextmanager
async def opened(settings: Settings, *, token: ShownToken | None = None) -> AsyncGenerator[FastAPI]:
    """Ingest as a process of its own, which needs two addresses: Redis and the api.

    `token` is what it shows to the api, of the scope `serve`: with it turns are read, and it
    narrows itself to an agent for that one's tools. Redis, the api and the token may be missing
    now.
    Raises ConfigError for what only a person can fix.
    """
    if settings.turnstream.api_url is None:
        raise ConfigError("ingest asks the api for tokens and history: set TURNSTREAM_API_URL")
    token = token or ShownToken()
    app = FastAPI(title="Turnstream ingest", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(HostGuard, names=allowed_names(settings))
    answer_errors_outside_routes(app)
    app.include_router(rest.health)
    async with (
        api_client(settings.turnstream.api_url, token) as api,
        api_client(settings.turnstream.api_url, token) as turns_api,
        api_client(settings.turnstream.api_url, token, timeout=_TOOL_TIMEOUT) as tools_api,
    ):
        tokens = ApiTokens(api)
        app.state.edge = Edge.of(settings.turnstream, tokens)
        _registry_of(app, settings).register(EdgeCollector(app.state.edge))
        clients = _Clients(api, turns_api, tools_api, token)
        async with _served(app, settings, tokens=tokens, clients=clients):
            yield app


@asynccontextmanager
async def joined(
    app: FastAPI, settings: Settings, *, tokens: TokenVerifier, api: httpx.AsyncClient
) -> AsyncGenerator[None]:
    """Put the routes of ingest into the api's app, on the same workspace."""
    async with _served(app, settings, tokens=tokens, clients=_Clients(api, api, api, ShownToken())):
        yield


class _Place(TypedDict):
    url: str
    prefix: str


class _Clients(NamedTuple):
    """The ways to the api: for clients, for turns, and for the tools of agents; all show the token.

    Turns do not stand in line behind clients that come back, nor behind tools that wait for turns.
    """

    api: httpx.AsyncClient
    turns: httpx.AsyncClient
    tools: httpx.AsyncClient
    token: ShownToken


@dataclass(frozen=True, slots=True)
class _Opened:
    """What is open before the first turn."""

    settings: Settings
    tokens: TokenVerifier
    clients: _Clients
    redis: RedisClient
    agents: Mapping[str, Agent]
    channels: Mapping[str, Channel]
    troubles: ChannelFailures
    refusals: OwnerRefusals
    memory: SessionMemory

    def lease_of_replies(self, channel: str) -> ChannelLease:
        """The lease for sending the parked replies of a channel."""
        url, prefix = self.place["url"], self.place["prefix"]
        return ChannelLease(self.redis, url=url, key=f"{prefix}reply_sender:{channel}")

    @property
    def place(self) -> _Place:
        """Where everything is in Redis."""
        return {"url": _url_of(self.settings), "prefix": self.settings.turnstream.prefix}


@asynccontextmanager
async def _served(
    app: FastAPI,
    settings: Settings,
    *,
    tokens: TokenVerifier,
    clients: _Clients,
) -> AsyncGenerator[None]:
    with ProcessEnd() as end:
        async with (
            _opened(settings, tokens, clients) as parts,
            _opened_queue(parts, end) as queue,
            TaskWatcher(log_failure) as tasks,
        ):
            services = _services(app, parts, queue, Presence(tasks))
            orphans = Orphans(services.reads, queue.lanes, agents=len(settings.agents))
            # Where nothing is stored, what was stored before is left as it is.
            if settings.channels.session_persistence and settings.gateway.session_persistence:
                tasks.start(orphans.close(), "closing of unanswered messages")
            app.state.ingest = services
            _include_routes(app)
            async with (
                listening(services.channels, services.receiver, services.troubles, end=end),
                showing(Notices(parts.redis, **parts.place), services.clients, end=end),
            ):
                yield


@asynccontextmanager
async def _opened(
    settings: Settings, tokens: TokenVerifier, clients: _Clients
) -> AsyncGenerator[_Opened]:
    url, troubles = _url_of(settings), ChannelFailures()
    async with (
        aclosing(connect(url)) as redis,
        opened_agents(
            settings.agents,
            tools=lambda alias: SessionTools(clients.tools, agent=alias),
            environ=os.environ,
            most=settings.turnstream.max_content_bytes,
        ) as agents,
        opened_channels(
            settings, environ=os.environ, tokens=tokens, redis=redis, url=url, troubles=troubles
        ) as channels,
    ):
        yield _Opened(
            *(settings, tokens, clients, redis, agents, channels, troubles, OwnerRefusals()),
            memory=SessionMemory(),
        )


@asynccontextmanager
async def _opened_queue(parts: _Opened, end: ProcessEnd) -> AsyncGenerator[TurnQueue]:
    """The queue of this replica, kept in step with the others'."""
    redis, place = parts.redis, parts.place
    lanes = Lanes(redis, **place, max_content=parts.settings.turnstream.max_content_bytes)
    reads = ApiReads(parts.clients.turns)
    news = WokenTurns(Notices(redis, **place))
    own, channels, troubles = parts.settings.channels, parts.channels, parts.troubles
    runner = TurnRunner(
        *(lanes, reads, parts.agents),
        timeout=own.message_timeout_secs,
        memory=parts.memory,
        refusals=parts.refusals,
        news=news,
    )
    texts = ReplyTexts(AllRecords.of(lanes, reads, parts.memory))
    replies = Replies(redis, **place, give_up=own.reply_give_up_secs)
    dispatch = Dispatch(
        channels, texts=texts, replies=replies, troubles=troubles, park_after=own.reply_park_secs
    )
    async with (
        TurnQueue(lanes, runner, dispatch, end=end) as queue,
        keeping(queue),
        delivering(channels, texts, replies, troubles, lease=parts.lease_of_replies, end=end),
    ):
        yield queue


def _services(app: FastAPI, parts: _Opened, queue: TurnQueue, presence: Presence) -> Services:
    settings, refusals, troubles = parts.settings, parts.refusals, parts.troubles
    most = settings.turnstream.max_content_bytes
    stream = TurnStream(parts.redis, **parts.place, max_content=most)
    access, reads, clients = Access(settings), ApiReads(parts.clients.api), set[Chat]()
    style = KeyStyle(settings.channels.key_style, access.channel_agents.nameless)
    keys = SessionKeys(reads, style)
    registry = _registry_of(app, settings)
    for way in (stream, queue.lanes):
        app.state.published.add(way.counts)
    chats_stored = settings.gateway.session_persistence
    return Services(
        settings=settings,
        access=access,
        stream=stream,
        share=_share_of(app, stream, _edge_of(app, settings, parts.tokens), settings),
        tokens=parts.tokens,
        api=parts.clients.api,
        queue=queue,
        reads=reads,
        chats=ChatPlace(reads if chats_stored else parts.memory, chats_stored),
        agents=parts.agents,
        channels=parts.channels,
        receiver=MessageReceiver(queue, settings, access.channel_agents, keys, presence),
        refusals=refusals,
        troubles=troubles,
        readiness=IngestReadiness(stream, parts.clients.api, parts.clients.token),
        metrics=IngestMetrics(registry, queue, clients, refusals, troubles),
        clients=clients,
    )


def _url_of(settings: Settings) -> str:
    return settings.redis_url or DEFAULT_REDIS


def _include_routes(app: FastAPI) -> None:
    for part in (rest, chat_route, push_route):
        app.include_router(part.router)


def _share_of(app: FastAPI, stream: TurnStream, edge: Edge, settings: Settings) -> ShareLimiter:
    """The share that the api beside publishes from as well, else a new one."""
    beside: ShareLimiter | None = getattr(app.state, "share", None)
    return beside or ShareLimiter(stream, settings.turnstream, edge.refusals)


def _registry_of(app: FastAPI, settings: Settings) -> CollectorRegistry:
    """The metrics of the app that ingest is a part of, else new ones."""
    if not hasattr(app.state, "registry"):
        app.state.registry = process_registry(settings.channels.session_backend)
        app.state.published = PublishCollector(app.state.registry)
    return app.state.registry


def _edge_of(app: FastAPI, settings: Settings, tokens: TokenVerifier) -> Edge:
    """The edge that the app has, else a new one."""
    if not hasattr(app.state, "edge"):
        app.state.edge = Edge.of(settings.turnstream, tokens)
    return app.state.edge


def api_client(url: str, token: ShownToken, *, timeout: float = _API_TIMEOUT) -> httpx.AsyncClient:
    """A client for the api at that address, never by way of a proxy."""
    limits = httpx.Limits(max_connections=_API_REQUESTS, keepalive_expiry=_API_KEPT)
    transport = AiohttpTransport(trust_env=False, limits=limits)
    return httpx.AsyncClient(
        base_url=url, auth=_Showing(token), timeout=timeout, transport=transport
    )


def client_within(app: FastAPI, token: str | None) -> httpx.AsyncClient:
    """A client for an api that is part of the same process."""
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(inside(app)),
        base_url="http://127.0.0.1",
        auth=_Showing(ShownToken(token)),
    )


class _Showing(httpx.Auth):
    """Shows the token as it is at each request; one that asks about another token keeps that."""

    def __init__(self, token: ShownToken) -> None:
        self._token = token

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response]:
        """The request, with the token if there is one."""
        token = self._token.current()
        if token is not None:
            request.headers.setdefault("authorization", f"Bearer {token}")
        yield request


__all__ = ["api_client", "client_within", "joined", "opened"]
