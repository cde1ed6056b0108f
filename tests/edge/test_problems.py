"""The same fault is answered alike by api and ingest: status, code and the headers beside them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

import api.app
import ingest.app
from proof.redis_refusals import WAYS
from sessions.access.tokens import ShownToken, TokenScope, create_token
from sessions.errors import (
    AccessRefused,
    InvalidEvent,
    PositionLost,
    RedisRefused,
    Retryable,
    ShareFull,
    StoreBehind,
    StoreMismatch,
    StoreMoved,
    StoreUnavailable,
    StreamFull,
)
from sessions.models import Event, EventType
from sessions.process.settings import Settings
from sessions.stream.redis import connect
from sessions.web.share import ShareLimiter
from tests.edge.served import running
from tests.leading import Leading

HELLO = Event("e1", EventType.APPEND, "s", "user", "hello", agent="anna")
# What one call of each service publishes.
CHANGES: Final = {
    "api": ("PUT", "/api/sessions/s", {"name": "Kitchen"}),
    "ingest": ("POST", "/api/events", {"type": "rename", "session": "s", "name": "Kitchen"}),
}
MIB: Final = 1024 * 1024


@dataclass
class SplitServices:
    """api and ingest, each served by itself, and the tokens of their callers."""

    urls: Mapping[str, str]
    tokens: Mapping[str, str]

    async def answers(
        self,
        *,
        who: str | None = "admin",
        method: str | None = None,
        path: str | None = None,
        headers: Mapping[str, str | bytes] | None = None,
        **body: Any,
    ) -> list[httpx.Response]:
        """How each of them answers its change, told with these things instead."""
        given = {name.encode(): _bytes(value) for name, value in (headers or {}).items()}
        if who is not None:
            given[b"Authorization"] = b"Bearer " + self.tokens[who].encode()
        found: list[httpx.Response] = []
        async with httpx.AsyncClient(headers=given) as client:
            for name, (verb, place, change) in CHANGES.items():
                url = f"{self.urls[name]}{path or place}?consistency=any"
                told = body or {"json": change}
                found.append(await client.request(method or verb, url, **told))
        return found


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


@pytest.fixture
async def services(
    settings: Settings, workspace: Path, leading: Leading
) -> AsyncIterator[SplitServices]:
    """Both services on one store, in which anna has a session."""
    await leading.publish(HELLO)
    tokens = {
        "admin": create_token(workspace, scope=TokenScope.ADMIN)[0],
        "anna": create_token(workspace, scope=TokenScope.SEND, agent="anna")[0],
        "anna-reads": create_token(workspace, scope=TokenScope.READ, agent="anna")[0],
        "nobody": "ts_made_up",
    }
    async with AsyncExitStack() as stack:
        there = await stack.enter_async_context(api.app.opened(settings))
        api_url = await stack.enter_async_context(running(there))
        own = settings.replace(api_url=api_url)
        app = await stack.enter_async_context(
            ingest.app.opened(own, token=ShownToken(tokens["admin"]))
        )
        ingest_url = await stack.enter_async_context(running(app))
        yield SplitServices({"api": api_url, "ingest": ingest_url}, tokens)


def shown(answer: httpx.Response) -> tuple[Any, ...]:
    """What a program goes by: the status, the code, the fields, and the headers that say more."""
    body = answer.json()
    names = ("retry-after", "www-authenticate", "allow")
    told = [answer.headers.get(name) for name in names]
    return (answer.status_code, body["code"], {*body}, *told)


# What a caller does wrong, and how that is answered.
CALLERS: Final[dict[str, tuple[int, str, dict[str, Any]]]] = {
    "no token": (401, "unauthorized", {"who": None}),
    "nobody's token": (401, "unauthorized", {"who": "nobody"}),
    "another scheme": (
        401,
        "unauthorized",
        {"who": None, "headers": {"Authorization": "Basic ts_made_up"}},
    ),
    "a scope that is too small": (403, "forbidden", {"who": "anna-reads"}),
    "another agent": (403, "forbidden", {"who": "anna", "headers": {"X-Turnstream-Agent": "bert"}}),
    "an agent that is no text": (
        422,
        "invalid_argument",
        {"headers": {"X-Turnstream-Agent": b"\xff"}},
    ),
    "a body that is no JSON": (400, "invalid_json", {"content": b"{"}),
    "a body that is too large": (413, "body_too_large", {"content": b" " * (9 * MIB)}),
    "another host": (421, "host_not_allowed", {"headers": {"Host": "evil.example"}}),
    "another origin": (
        403,
        "origin_not_allowed",
        {"headers": {"Origin": "http://evil.example"}},
    ),
    "no route": (404, "http_error", {"path": "/nothing"}),
}


@pytest.mark.parametrize("fault", CALLERS)
async def test_what_a_caller_does_wrong(services: SplitServices, fault: str):
    status, code, given = CALLERS[fault]

    first, second = await services.answers(**given)

    assert shown(first) == shown(second)
    assert (first.status_code, first.json()["code"]) == (status, code)


# What goes wrong behind the entry points: its status, its code, and the seconds of Retry-After.
FAULTS: Final[tuple[tuple[Exception, int, str, str | None], ...]] = (
    (ShareFull(3), 429, "agent_share_full", "1"),
    (StreamFull("Redis has no room"), 503, "stream_full", "1"),
    (StoreBehind("not applied yet", lag=3), 503, "store_behind", "1"),
    (StoreUnavailable("locked", retry_after=2.4), 503, "store_unavailable", "3"),
    (Retryable("not now"), 503, "unavailable", "1"),
    (RedisRefused("NOPERM"), 503, "redis_refused", "10"),
    (StoreMismatch("another store"), 503, "store_mismatch", None),
    (StoreMoved("a path", backend="jsonl"), 503, "store_moved", None),
    (PositionLost("another stream"), 410, "position_lost", None),
    (AccessRefused("another key", code="reserved_key"), 403, "reserved_key", None),
    (InvalidEvent("too_large", "content is too large"), 422, "too_large", None),
    (RuntimeError("a path, an address"), 500, "internal", None),
)


@pytest.mark.parametrize(
    ("fault", "status", "code", "wait"), FAULTS, ids=[code for _, _, code, _ in FAULTS]
)
async def test_what_goes_wrong_behind_the_doors(
    services: SplitServices,
    monkeypatch: pytest.MonkeyPatch,
    fault: Exception,
    status: int,
    code: str,
    wait: str | None,
):
    async def publish(*args: object, **options: object) -> None:
        raise fault

    monkeypatch.setattr(ShareLimiter, "publish", publish)

    first, second = await services.answers()

    assert shown(first) == shown(second)
    assert first.json() == second.json()
    assert (first.status_code, first.json()["code"]) == (status, code)
    assert first.headers.get("retry-after") == wait


async def test_a_redis_that_is_full(services: SplitServices, leading: Leading, redis_url: str):
    await leading.pause()
    redis = connect(redis_url)
    async with WAYS["out of memory"](redis_url, redis):
        first, second = await services.answers()
    await redis.aclose()

    assert shown(first) == shown(second)
    assert (first.status_code, first.json()["code"]) == (503, "stream_full")
    assert int(first.headers["retry-after"]) > 0


async def test_no_answer_is_kept_by_a_cache(services: SplitServices):
    for answer in [*await services.answers(), *await services.answers(who=None)]:
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
