"""An ingest process of its own is ready when Redis, the api and its own token are there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

import api.app
from ingest.app import api_client
from ingest.readiness import IngestReadiness
from sessions.access.tokens import ShownToken, TokenScope, create_token, ensure_token
from sessions.process.settings import Settings
from sessions.stream.redis import connect
from sessions.stream.turns import TurnStream
from tests.edge.served import running
from tests.leading import Leading

NOWHERE: Final = "redis://127.0.0.1:1/0"


@asynccontextmanager
async def readiness(
    settings: Settings,
    token: ShownToken,
    *,
    url: str | None = None,
    host: str | None = None,
    redis_url: str | None = None,
) -> AsyncIterator[IngestReadiness]:
    """What an ingest with that token finds: of an api of the settings, called by the name `host`.

    Or of what is at `url` and `redis_url`.
    """
    redis_url, prefix = redis_url or settings.redis_url or "", settings.turnstream.prefix
    async with (
        api.app.opened(settings) as there,
        running(there) as there_url,
        api_client(url or there_url, token) as client,
        aclosing(connect(redis_url)) as redis,
    ):
        client.headers.update({"host": host} if host else {})
        stream = TurnStream(redis, url=redis_url, prefix=prefix, max_content=1024)
        yield IngestReadiness(stream, client, token)


async def test_a_token_that_is_made_later_is_picked_up(
    settings: Settings, leading: Leading, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    path = tmp_path / "secrets" / "token"
    async with readiness(settings, ShownToken(path=path)) as found:
        missing = await found.missing()
        assert [*missing] == ["token"]
        assert str(path) in missing["token"]
        assert [record.message for record in caplog.records] == [f"not ready: {missing['token']}"]
        ensure_token(settings.workspace, path, scope=TokenScope.SERVE, note="")
        assert await found.missing() == {}


async def test_a_token_that_is_replaced_is_picked_up(
    settings: Settings, leading: Leading, tmp_path: Path
):
    path = tmp_path / "token"
    path.write_text("ts_of_another_store")
    async with readiness(settings, ShownToken(path=path)) as found:
        assert "does not accept the token" in (await found.missing())["token"]
        ensure_token(settings.workspace, path, scope=TokenScope.SERVE, note="")
        assert await found.missing() == {}


async def test_a_token_of_a_smaller_scope_is_none(settings: Settings, leading: Leading):
    token, _ = create_token(settings.workspace, scope=TokenScope.SEND, agent="main")
    async with readiness(settings, ShownToken(token)) as found:
        assert "has the scope send, and needs serve" in (await found.missing())["token"]


async def test_without_any_token_it_says_so(settings: Settings, leading: Leading):
    async with readiness(settings, ShownToken()) as found:
        assert "TURNSTREAM_TOKEN" in (await found.missing())["token"]


async def test_an_api_that_is_away_is_missing(settings: Settings, leading: Leading):
    async with readiness(settings, ShownToken("ts_x"), url="http://127.0.0.1:1") as found:
        assert [*await found.missing()] == ["api"]


async def test_an_api_that_may_not_be_called_so_is_missing_and_its_setting_is_named(
    settings: Settings, leading: Leading
):
    async with readiness(settings, ShownToken("ts_x"), host="api:42617") as found:
        assert "TURNSTREAM_ALLOWED_HOSTS" in (await found.missing())["api"]


async def test_without_redis_it_is_missing(settings: Settings, leading: Leading):
    token, _ = create_token(settings.workspace, scope=TokenScope.SERVE)
    async with readiness(settings, ShownToken(token), redis_url=NOWHERE) as found:
        assert [*await found.missing()] == ["redis"]
