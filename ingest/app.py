"""The composition root of ingest: a process of its own, or a part of the web process.

async with opened(settings, token=...) as app:          # ingest alone
    await serve(app, ...)

async with joined(app, settings, tokens=..., api=...):  # beside the api's routes
    await serve(app, ...)
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from typing import Final

import httpx
from fastapi import FastAPI
from httpx_aiohttp import AiohttpTransport
from prometheus_client import CollectorRegistry, ProcessCollector

from ingest import rest
from ingest.agents.factory import opened_agents
from ingest.agents.tools import SessionTools
from ingest.api_tokens import ApiTokens
from ingest.channels import push_route
from ingest.channels.dispatch import Dispatch
from ingest.channels.factory import opened_channels
from ingest.channels.keys import SessionKeys
from ingest.channels.listening import listening
from ingest.channels.presence import Presence
from ingest.channels.reception import Reception
from ingest.channels.troubles import Troubles
from ingest.desk import Desk
from ingest.gateway import chat_route
from ingest.gateway.chat import Chat
from ingest.gateway.notices import showing
from ingest.keeper import keeping
from ingest.metrics import IngestMetrics
from ingest.reads import ApiReads
from ingest.services import Services
from ingest.turn import TurnRunner
from ingest.unavailable import Refusals
from routing.answers import answer_errors_outside_routes
from sessions.access.check import Access
from sessions.access.tokens import TokenVerifier
from sessions.errors import ConfigError
from sessions.process.settings import Settings
from sessions.stream.lanes import Lanes
from sessions.stream.notices import Notices
from sessions.stream.redis import connect
from sessions.stream.turns import TurnStream
from sessions.web.asgi import inside
from sessions.web.edge import Edge
from sessions.web.edge.metrics import EdgeCollector
from sessions.web.hosts import HostGuard, allowed_names
from sessions.web.share import Share

DEFAULT_REDIS: Final = "redis://127.0.0.1:6379/0"
# Seconds that the api may take: its reads wait 2 s at most to be fresh.
_API_TIMEOUT: Final = 10.0
# Requests to the api at a time; the others wait in line. More would only wait there.
_API_REQUESTS: Final = 32
# Seconds that an idle connection to the api is kept: less than the 5 s after which uvicorn closes
# it, so that no request is sent into a closing one.
_API_KEPT: Final = 4.0


@asynccontextmanager
async def opened(settings: Settings, *, token: str | None = None) -> AsyncGenerator[FastAPI]:
    """Ingest as a process of its own, which needs two addresses: Redis and the api.

    `token` is what it shows to the api, of the scope `serve`: with it turns are read, and it
    narrows itself to an agent for that one's tools. Redis and the api may be away now.
    Raises ConfigError for what only a person can mend.
    """
    if settings.turnstream.api_url is None:
        raise ConfigError("ingest asks the api for tokens and history: set TURNSTREAM_API_URL")
    app = FastAPI(title="Turnstream ingest", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(HostGuard, names=allowed_names(settings))
    answer_errors_outside_routes(app)
    app.include_router(rest.health)
    async with (
        api_client(settings.turnstream.api_url, token) as api,
        api_client(settings.turnstream.api_url, token) as turns_api,
    ):
        tokens = ApiTokens(api)
        app.state.edge = Edge.of(settings.turnstream, tokens)
        _registry_of(app).register(EdgeCollector(app.state.edge))
        ProcessCollector(registry=_registry_of(app))
        async with _served(app, settings, tokens=tokens, api=api, turns_api=turns_api):
            yield app


@asynccontextmanager
async def joined(
    app: FastAPI, settings: Settings, *, tokens: TokenVerifier, api: httpx.AsyncClient
) -> AsyncGenerator[None]:
    """Put the routes of ingest into the api's app, on the same workspace."""
    async with _served(app, settings, tokens=tokens, api=api, turns_api=api):
        yield


@asynccontextmanager
async def _served(
    app: FastAPI,
    settings: Settings,
    *,
    tokens: TokenVerifier,
    api: httpx.AsyncClient,
    turns_api: httpx.AsyncClient,
) -> AsyncGenerator[None]:
    """`turns_api` is for turns alone: they do not stand in line behind clients that come back."""
    url = settings.redis_url or DEFAULT_REDIS
    own = settings.turnstream
    troubles = Troubles()
    async with (
        aclosing(connect(url)) as redis,
        opened_agents(
            settings.agents,
            tools=lambda alias: SessionTools(turns_api, agent=alias),
            environ=os.environ,
            most=own.max_content_bytes,
        ) as agents,
        opened_channels(
            settings, environ=os.environ, tokens=tokens, redis=redis, url=url, troubles=troubles
        ) as channels,
    ):
        limits = {"url": url, "prefix": own.prefix}
        stream = TurnStream(redis, **limits, max_content=own.max_content_bytes)
        lanes = Lanes(redis, **limits, max_content=own.max_content_bytes)
        share = _share_of(app, stream, _edge_of(app, settings, tokens), settings)
        reads = ApiReads(turns_api)
        refusals = Refusals()
        dispatch = Dispatch(
            channels, reads=reads, lanes=lanes, redis=redis, url=url, prefix=own.prefix
        )
        async with (
            Desk(lanes, TurnRunner(lanes, reads, agents, refusals=refusals), dispatch) as desk,
            keeping(desk),
            Presence.opened() as presence,
        ):
            access = Access(settings)
            keys = SessionKeys(ApiReads(api))
            reception = Reception(desk, settings, access.seats, keys, presence)
            clients: set[Chat] = set()
            app.state.ingest = Services(
                settings=settings,
                access=access,
                stream=stream,
                share=share,
                tokens=tokens,
                api=api,
                desk=desk,
                reads=ApiReads(api),
                agents=agents,
                channels=channels,
                reception=reception,
                refusals=refusals,
                troubles=troubles,
                metrics=IngestMetrics(_registry_of(app), desk, clients, refusals, troubles),
                clients=clients,
            )
            _include_routes(app)
            async with (
                listening(channels, reception, troubles, refuse=desk.refuse),
                showing(Notices(redis, **limits), app.state.ingest.clients, refuse=desk.refuse),
            ):
                yield


def _include_routes(app: FastAPI) -> None:
    for part in (rest, chat_route, push_route):
        app.include_router(part.router)


def _share_of(app: FastAPI, stream: TurnStream, edge: Edge, settings: Settings) -> Share:
    """The share that the api beside publishes from as well, else a new one."""
    beside: Share | None = getattr(app.state, "share", None)
    return beside or Share(stream, settings.turnstream, edge.refusals)


def _registry_of(app: FastAPI) -> CollectorRegistry:
    """The metrics of the app that ingest is a part of, else new ones."""
    if not hasattr(app.state, "registry"):
        app.state.registry = CollectorRegistry()
    return app.state.registry


def _edge_of(app: FastAPI, settings: Settings, tokens: TokenVerifier) -> Edge:
    """The edge that the app has, else a new one."""
    if not hasattr(app.state, "edge"):
        app.state.edge = Edge.of(settings.turnstream, tokens)
    return app.state.edge


def api_client(url: str, token: str | None) -> httpx.AsyncClient:
    """A client for the api at that address, never by way of a proxy."""
    limits = httpx.Limits(max_connections=_API_REQUESTS, keepalive_expiry=_API_KEPT)
    transport = AiohttpTransport(trust_env=False, limits=limits)
    return httpx.AsyncClient(
        base_url=url, headers=_showing(token), timeout=_API_TIMEOUT, transport=transport
    )


def client_within(app: FastAPI, token: str | None) -> httpx.AsyncClient:
    """A client for an api that is part of the same process."""
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(inside(app)),
        base_url="http://127.0.0.1",
        headers=_showing(token),
    )


def _showing(token: str | None) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"} if token else {}


__all__ = ["api_client", "client_within", "joined", "opened"]
