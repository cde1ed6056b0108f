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

from ingest import rest
from ingest.access import ApiTokens
from ingest.agents.factory import opened_agents
from ingest.agents.tools import SessionTools
from ingest.channels import door as channel_door
from ingest.channels.dispatch import Dispatch
from ingest.channels.factory import opened_channels
from ingest.channels.listening import listening
from ingest.channels.presence import Presence
from ingest.channels.reception import Reception
from ingest.desk import Desk
from ingest.gateway import door
from ingest.gateway.notices import showing
from ingest.keeper import keeping
from ingest.reads import ApiReads
from ingest.services import Services
from ingest.turn import TurnRunner
from sessions.asgi import HostGuard, allowed_names
from sessions.errors import ConfigError
from sessions.lanes import Lanes
from sessions.notices import Notices
from sessions.redis import connect
from sessions.settings import Settings
from sessions.stream import TurnStream
from sessions.tokens import TokenVerifier

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

    `token` is what it shows to the api: an administrator's, with which it reads the histories of
    all agents and narrows itself to one for that one's tools. Redis and the api may be away now.
    Raises ConfigError for what only a person can mend.
    """
    if settings.turnstream.api_url is None:
        raise ConfigError("ingest asks the api for tokens and history: set TURNSTREAM_API_URL")
    app = FastAPI(title="Turnstream ingest", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(HostGuard, names=allowed_names(settings))
    app.include_router(rest.health)
    async with (
        api_client(settings.turnstream.api_url, token) as api,
        api_client(settings.turnstream.api_url, token) as turns_api,
        _served(app, settings, tokens=ApiTokens(api), api=api, turns_api=turns_api),
    ):
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
    async with (
        aclosing(connect(url)) as redis,
        opened_agents(
            settings.agents,
            tools=lambda alias: SessionTools(turns_api, agent=alias),
            environ=os.environ,
            most=own.max_content_bytes,
        ) as agents,
        opened_channels(
            settings, environ=os.environ, tokens=tokens, redis=redis, url=url
        ) as channels,
    ):
        limits = {"url": url, "prefix": own.prefix}
        stream = TurnStream(redis, **limits, max_content=own.max_content_bytes)
        lanes = Lanes(redis, **limits, max_content=own.max_content_bytes)
        reads = ApiReads(turns_api)
        dispatch = Dispatch(
            channels, reads=reads, lanes=lanes, redis=redis, url=url, prefix=own.prefix
        )
        async with (
            Desk(lanes, TurnRunner(lanes, reads, agents), dispatch) as desk,
            keeping(desk),
            Presence.opened() as presence,
        ):
            reception = Reception(desk, settings, presence)
            app.state.ingest = Services(
                settings, stream, tokens, api, desk, ApiReads(api), agents, channels, reception
            )
            for part in (rest, door, channel_door):
                app.include_router(part.router)
            async with (
                listening(channels, reception),
                showing(Notices(redis, **limits), app.state.ingest.clients),
            ):
                yield


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
        transport=httpx.ASGITransport(app), base_url="http://127.0.0.1", headers=_showing(token)
    )


def _showing(token: str | None) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"} if token else {}


__all__ = ["api_client", "client_within", "joined", "opened"]
