"""The api of these tests: on a real store and a real Redis, called without a network."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from api.app import create_app
from sessions.access.tokens import TokenFile, TokenScope, create_token
from sessions.process.settings import Settings
from sessions.store.factory import make_session_backend
from sessions.stream.lanes.lanes import Lanes
from sessions.stream.lanes.waking import Waking
from sessions.stream.replies.replies import Replies
from sessions.stream.turns import TurnStream
from tests.api.running_api import RunningApi
from tests.leading import Leading, opened_lanes, opened_replies


@pytest.fixture(scope="session")
def made_tokens(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Mapping[str, str]]:
    """A workspace with the tokens of all tests: each is synced to the disk when it is made."""
    workspace = tmp_path_factory.mktemp("tokens")
    made = {
        scope.value: create_token(workspace, scope=scope)[0]
        for scope in (TokenScope.ADMIN, TokenScope.METRICS, TokenScope.SERVE)
    }
    for agent in ("anna", "bert"):
        made[agent] = create_token(workspace, scope=TokenScope.SEND, agent=agent)[0]
        made[f"{agent}-reads"] = create_token(workspace, scope=TokenScope.READ, agent=agent)[0]
    return workspace, made


@pytest.fixture
def tokens(workspace: Path, made_tokens: tuple[Path, Mapping[str, str]]) -> Mapping[str, str]:
    """Tokens of the scopes without an agent; for each agent one that sends and one that reads."""
    prepared, made = made_tokens
    shutil.copytree(prepared, workspace, dirs_exist_ok=True)
    return made


@pytest.fixture
def patience() -> float:
    """Seconds that readers wait; tests in which they wait in vain ask for less."""
    return 2.0


@pytest.fixture
async def replies(settings: Settings) -> AsyncIterator[Replies]:
    """The replies that were not taken, on the Redis of `settings`."""
    async with opened_replies(settings) as replies:
        yield replies


@pytest.fixture
async def all_lanes(settings: Settings) -> AsyncIterator[tuple[Lanes, Waking]]:
    """The lanes, and the way into them from outside, on the Redis of `settings`."""
    async with opened_lanes(settings) as all_lanes:
        yield all_lanes


@pytest.fixture
async def app(
    settings: Settings,
    stream: TurnStream,
    replies: Replies,
    all_lanes: tuple[Lanes, Waking],
    leading: Leading,
    patience: float,
) -> AsyncIterator[FastAPI]:
    """The api on the store that `leading` writes. No replica runs what is in the lanes."""
    lanes, waking = all_lanes
    async with make_session_backend(settings.workspace, "sqlite") as backend:
        yield create_app(
            settings,
            backend=backend,
            stream=stream,
            replies=replies,
            tokens=TokenFile(settings.workspace),
            aborter=lanes,
            queues=lanes.queues,
            lanes=waking,
            patience=patience,
        )


@pytest.fixture
async def running_api(
    app: FastAPI, leading: Leading, tokens: Mapping[str, str]
) -> AsyncIterator[RunningApi]:
    """The api with all that a test needs to call it."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        yield RunningApi(app, http, leading, tokens)
