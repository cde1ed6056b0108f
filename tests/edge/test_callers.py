"""Limits for each caller: by its token, else by its address."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets

from harness.waiting import wait_until
from sessions.access.tokens import TokenFile, TokenScope, create_token
from sessions.web.asgi import inside
from sessions.web.edge import Limit
from sessions.web.edge.accounts import Accounts
from sessions.web.edge.limits import CallerLimits
from tests.edge.served import App, Served, served


@pytest.fixture
def tokens(workspace: Path) -> Mapping[str, str]:
    """A token of each kind."""
    made = {"admin": create_token(workspace, scope=TokenScope.ADMIN)[0]}
    made["serve"] = create_token(workspace, scope=TokenScope.SERVE)[0]
    made["metrics"] = create_token(workspace, scope=TokenScope.METRICS)[0]
    for agent in ("anna", "bert"):
        made[agent] = create_token(workspace, scope=TokenScope.READ, agent=agent)[0]
    return {**made, "nobody": "ts_made_up"}


@asynccontextmanager
async def caller(
    server: Served, token: str | None = None, *, source: str = "127.0.0.1"
) -> AsyncIterator[httpx.AsyncClient]:
    """A client with that token, from that address of this machine."""
    transport = httpx.AsyncHTTPTransport(
        local_address=source, limits=httpx.Limits(max_connections=200)
    )
    headers = {"authorization": f"Bearer {token}"} if token else {}
    async with httpx.AsyncClient(
        base_url=server.url, transport=transport, headers=headers, timeout=20
    ) as client:
        yield client


async def statuses(client: httpx.AsyncClient, count: int, path: str = "/x") -> list[int]:
    """The statuses of so many requests at once."""
    answers = await asyncio.gather(*(client.get(path) for _ in range(count)))
    return sorted(answer.status_code for answer in answers)


class TestRequestsAtATime:
    async def test_more_than_the_bound_are_refused_and_another_token_is_served(
        self, workspace: Path, tokens: Mapping[str, str]
    ):
        async with (
            served(tokens=TokenFile(workspace), max_requests_per_token=2) as server,
            caller(server, tokens["anna"]) as anna,
            caller(server, tokens["bert"]) as bert,
        ):
            server.app.gate.clear()
            waiting = [asyncio.create_task(anna.get("/x")) for _ in range(2)]
            await wait_until(lambda: server.app.at_work == 2)
            refused = await anna.get("/x")
            served_too = asyncio.create_task(bert.get("/x"))
            await wait_until(lambda: server.app.at_work == 3)
            server.app.gate.set()

            assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
            assert int(refused.headers["retry-after"]) >= 1
            assert [(await task).status_code for task in (*waiting, served_too)] == [200] * 3
            assert server.edge.refusals.counts[Limit.CONCURRENCY] == 1
            assert (await anna.get("/x")).status_code == 200

    @pytest.mark.parametrize("who", ["admin", "serve"])
    async def test_services_have_a_wider_bound(
        self, workspace: Path, tokens: Mapping[str, str], who: str
    ):
        limits: dict[str, Any] = {"max_requests_per_token": 1, "max_requests_per_service_token": 20}
        async with (
            served(tokens=TokenFile(workspace), requests_burst=1, **limits) as server,
            caller(server, tokens[who]) as client,
        ):
            server.app.gate.clear()
            asked = asyncio.create_task(statuses(client, 21))
            await wait_until(lambda: server.edge.refusals.counts[Limit.CONCURRENCY] == 1)
            server.app.gate.set()

            assert await asked == [200] * 20 + [429]

    async def test_a_refusal_is_held_back_so_that_asking_again_at_once_is_slow(
        self, workspace: Path, tokens: Mapping[str, str]
    ):
        async with (
            served(tokens=TokenFile(workspace), max_requests_per_token=1) as server,
            caller(server, tokens["anna"]) as anna,
        ):
            server.app.gate.clear()
            waiting = asyncio.create_task(anna.get("/x"))
            await wait_until(lambda: server.app.at_work == 1)
            began = time.monotonic()

            assert await statuses(anna, 50) == [429] * 50
            assert time.monotonic() - began >= 0.25
            server.app.gate.set()
            await waiting


class TestRequestsASecond:
    async def test_after_the_burst_the_rate_counts_and_another_address_is_not_touched(self):
        async with (
            served(requests_per_second=1, requests_burst=5) as server,
            caller(server) as first,
            caller(server, source="127.0.0.2") as second,
        ):
            assert await statuses(first, 8) == [200] * 5 + [429] * 3
            assert await statuses(second, 5) == [200] * 5
            assert server.edge.refusals.counts[Limit.RATE] == 3

    async def test_a_large_body_costs_as_many_requests_as_it_is_long(self):
        async with (
            served(requests_per_second=1, requests_burst=100) as server,
            caller(server) as client,
        ):
            large = await client.post("/x", content=b"x" * 200 * 16 * 1024)
            refused = await client.get("/x")

            assert (large.status_code, refused.status_code) == (200, 429)
            assert int(refused.headers["retry-after"]) > 50

    @pytest.mark.parametrize("who", ["nobody", None])
    async def test_made_up_tokens_count_for_the_address(
        self, workspace: Path, tokens: Mapping[str, str], who: str | None
    ):
        limits: dict[str, Any] = {"requests_per_second": 1, "requests_burst": 3}
        async with (
            served(tokens=TokenFile(workspace), **limits) as server,
            caller(server) as client,
        ):
            got: list[int] = []
            for number in range(6):
                token = f"{tokens[who]}{number}" if who else "é"
                headers = {b"authorization": f"Bearer {token}".encode("latin-1")}
                got.append((await client.get("/x", headers=headers)).status_code)

            assert got == [200] * 3 + [429] * 3

    async def test_a_token_in_use_is_served_beside_a_flood_from_its_address(
        self, workspace: Path, tokens: Mapping[str, str]
    ):
        limits: dict[str, Any] = {"requests_per_second": 1, "requests_burst": 3}
        async with (
            served(tokens=TokenFile(workspace), **limits) as server,
            caller(server) as flood,
            caller(server, tokens["anna"]) as anna,
        ):
            assert (await anna.get("/x")).status_code == 200
            assert 429 in await statuses(flood, 6)

            assert (await anna.get("/x")).status_code == 200

    async def test_health_checks_have_an_account_of_their_own(self):
        async with (
            served(requests_per_second=1, requests_burst=3) as server,
            caller(server) as client,
        ):
            assert 429 in await statuses(client, 6)

            assert await statuses(client, 3, "/healthz") == [200] * 3


class TestAddresses:
    @pytest.mark.parametrize(
        ("trusted", "forwarded", "shared"),
        [
            ((), "10.0.0.{}", True),
            (("127.0.0.1",), "10.0.0.{}", False),
            (("127.0.0.0/8",), "10.0.0.{}, 127.0.0.9", False),
            (("127.0.0.1",), "10.0.0.{}, 10.0.0.1", True),
            (("127.0.0.1",), "fd00::{}", True),
            (("127.0.0.1",), "fd00:0:0:{}::1", False),
            (("127.0.0.1",), "nonsense{}", True),
        ],
    )
    async def test_x_forwarded_for_counts_from_trusted_proxies_only(
        self, trusted: tuple[str, ...], forwarded: str, shared: bool
    ):
        limits = {"requests_per_second": 1, "requests_burst": 2, "trusted_proxies": trusted}
        async with served(**limits) as server, caller(server) as client:
            got = [
                (await client.get("/x", headers={"x-forwarded-for": forwarded.format(n)}))
                for n in range(1, 5)
            ]

            assert (429 in [answer.status_code for answer in got]) is shared

    async def test_what_is_no_address_in_the_settings_is_named(self):
        with pytest.raises(Exception, match="trusted_proxies: 'proxy' is neither"):
            async with served(trusted_proxies=["proxy"]):
                pass


class TestChats:
    @pytest.mark.parametrize("way", ["header", "query", "subprotocol"])
    async def test_their_number_is_bounded_for_each_token(
        self, workspace: Path, tokens: Mapping[str, str], way: str
    ):
        limits: dict[str, Any] = {"max_chats_per_token": 1, "max_chats_per_service_token": 2}
        async with served(tokens=TokenFile(workspace), **limits) as server:
            async with chat(server, tokens["anna"], way), chat(server, tokens["admin"], way):
                async with chat(server, tokens["bert"], way), chat(server, tokens["admin"], way):
                    pass
                with pytest.raises(websockets.InvalidStatus) as refused:
                    await chat(server, tokens["anna"], way)
            assert refused.value.response.status_code == 429
            assert server.edge.refusals.counts[Limit.CHATS] == 1
            await wait_until(lambda: server.edge.websockets.open == 0)
            async with chat(server, tokens["anna"], way):
                pass


def chat(server: Served, token: str, way: str) -> websockets.connect:
    """A WebSocket that shows its token in one of the ways."""
    url = f"ws://127.0.0.1:{server.port}/"
    if way == "header":
        return websockets.connect(url, additional_headers={"authorization": f"Bearer {token}"})
    if way == "query":
        return websockets.connect(f"{url}?token={token}")
    # The app accepts none of them, which a client takes for an answer as well.
    protocols: list[Any] = ["zeroclaw.v1", f"bearer.{token}"]
    return websockets.connect(url, subprotocols=protocols)


class TestWithinTheProcess:
    async def test_its_own_calls_are_not_limited_and_nobody_can_claim_to_be_one(self):
        async with served(requests_per_second=1, requests_burst=1) as server:
            limited = CallerLimits(App(), server.edge)
            transport = httpx.ASGITransport(inside(limited))
            async with httpx.AsyncClient(transport=transport, base_url="http://x") as own:
                assert await statuses(own, 100) == [200] * 100
            async with caller(server) as outside:
                outside.headers["x-turnstream-inside"] = "1"
                outside.headers["turnstream.inside"] = "1"
                assert 429 in await statuses(outside, 3)

    async def test_accounts_do_not_pile_up(self):
        async with served() as server:
            accounts = Accounts(server.edge)
            for number in range(12_000):
                address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
                await accounts.of({"type": "http", "headers": [], "client": (address, 1)})

            assert len(accounts) == 10_000
