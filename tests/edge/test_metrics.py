"""/metrics of every process: who may read it, and what limits have refused."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

import api.app
import ingest.app
from harness.services import free_port
from harness.system import SystemUnderTest
from harness.waiting import wait_until
from sessions.access.tokens import ShownToken, TokenScope, create_token
from sessions.models import Event, EventType
from sessions.process.settings import Settings
from tests.edge.served import running
from tests.leading import Leading

# A client that came through a proxy is not on this machine.
REMOTE = {"X-Forwarded-For": "10.0.0.7"}
HELLO = {"type": "append", "session": "s", "role": "user", "content": "hello"}


@pytest.fixture
def tokens(workspace: Path) -> Mapping[str, str]:
    """A token of each scope."""
    made = {
        scope.value: create_token(workspace, scope=scope)[0]
        for scope in (TokenScope.ADMIN, TokenScope.METRICS, TokenScope.SERVE)
    }
    made["send"] = create_token(workspace, scope=TokenScope.SEND, agent="anna")[0]
    return made


@asynccontextmanager
async def ingest_alone(settings: Settings, tokens: Mapping[str, str]) -> AsyncIterator[str]:
    """The URL of an ingest process that asks an api over the network."""
    async with (
        api.app.opened(settings) as there,
        running(there) as there_url,
        ingest.app.opened(
            settings.replace(api_url=there_url), token=ShownToken(tokens["admin"])
        ) as app,
        running(app) as url,
    ):
        yield url


async def page(url: str, token: str | None = None, **headers: str) -> httpx.Response:
    """What /metrics answers."""
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    async with httpx.AsyncClient() as client:
        return await client.get(f"{url}/metrics", headers=headers)


async def check_access(url: str, tokens: Mapping[str, str]) -> None:
    """Free for this machine, else for the scopes metrics and admin."""
    assert (await page(url)).status_code == 200
    assert (await page(url, **REMOTE)).status_code == 401
    assert (await page(url, "ts_made_up", **REMOTE)).status_code == 401
    for who, status in {"send": 403, "serve": 403, "metrics": 200, "admin": 200}.items():
        assert (await page(url, tokens[who], **REMOTE)).status_code == status, who


async def _shows(url: str, line: str) -> bool:
    return line in (await page(url)).text


async def test_ingest_alone_has_metrics_of_its_own(
    settings: Settings, tokens: Mapping[str, str], leading: Leading
):
    async with ingest_alone(settings, tokens) as url:
        await check_access(url, tokens)
        async with httpx.AsyncClient(headers={"Authorization": f"Bearer {tokens['send']}"}) as own:
            assert (await own.post(f"{url}/api/events", json=HELLO)).status_code == 202
        await leading.publish(Event("x", EventType.CONTEXT, "cli_anna_user_user", agent="bert"))
        line = {"id": "1", "content": "whose is this?"}
        admin = {"Authorization": f"Bearer {tokens['admin']}"}
        async with httpx.AsyncClient(headers=admin) as operator:
            taken = await operator.post(f"{url}/channels/cli/anna", json=line)
        assert taken.status_code == 200, taken.text
        refused = "turnstream_ingest_foreign_sessions_total 1.0\n"
        await wait_until(lambda: _shows(url, refused))
        # The lane is let go after the refusal is counted.
        await wait_until(lambda: _shows(url, "turnstream_ingest_lanes 0.0\n"))

        text = (await page(url)).text

    route = 'turnstream_ingest_requests_total{method="POST",route="/api/events",status="202"}'
    for line in (
        f"{route} 1.0",
        'turnstream_refused_total{limit="rate"} 0.0',
        'turnstream_ingest_turns_total{ending="replied"} 0.0',
        "turnstream_ingest_lanes 0.0",
        "turnstream_ingest_chats 0.0",
        "turnstream_ingest_foreign_sessions_total 1.0",
    ):
        assert f"{line}\n" in text


async def test_the_api_shows_what_the_limits_refused(
    settings: Settings, tokens: Mapping[str, str], leading: Leading
):
    limited = settings.replace(requests_per_second=1, requests_burst=2)
    async with (
        api.app.opened(limited) as app,
        running(app) as url,
        httpx.AsyncClient(headers={"Authorization": f"Bearer {tokens['send']}"}) as own,
    ):
        answers = [await own.get(f"{url}/api/tools") for _ in range(3)]
        refused = await page(url, tokens["metrics"])

    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert 'turnstream_refused_total{limit="rate"} 1.0\n' in refused.text
    assert re.search(r'turnstream_connections\{kind="http"\} [12]\.0\n', refused.text)


class TestTheWorker:
    async def test_it_answers_on_its_port(self, system: SystemUnderTest):
        worker = await system.worker(worker_metrics_port=str(free_port()))
        tokens: dict[str, Any] = {
            "send": create_token(system.workspace, scope=TokenScope.SEND, agent="anna")[0],
            **{
                who: create_token(system.workspace, scope=TokenScope(who))[0]
                for who in ("admin", "metrics", "serve")
            },
        }
        url = _url(worker.log)
        await system.append("e1")
        await system.outcome("e1")

        await check_access(url, tokens)
        text = (await page(url)).text
        assert "turnstream_worker_leading 1.0\n" in text
        assert "turnstream_worker_applied_entries_total 1.0\n" in text
        assert 'turnstream_refused_total{limit="head"} 0.0\n' in text

    async def test_a_port_that_is_taken_is_replaced_and_the_worker_works(
        self, system: SystemUnderTest
    ):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            worker = await system.worker(worker_metrics_port=str(port))
            await system.append("e1")
            await system.outcome("e1")
            url = _url(worker.log)

            assert not url.endswith(f":{port}")
            assert (await page(url)).status_code == 200

    async def test_an_address_that_is_not_ours_stops_no_worker(self, system: SystemUnderTest):
        worker = await system.worker(host="192.0.2.1")
        await system.append("e1")
        await system.outcome("e1")

        assert "cannot listen on 192.0.2.1:42618" in worker.log
        assert await worker.stop() == 0

    async def test_0_turns_it_off(self, system: SystemUnderTest):
        worker = await system.worker(worker_metrics_port="0")
        await system.append("e1")
        await system.outcome("e1")

        assert "metrics on" not in worker.log

    async def test_a_flood_on_it_does_not_hold_up_the_turns(self, system: SystemUnderTest):
        worker = await system.worker(worker_metrics_port=str(free_port()))
        url = _url(worker.log)
        async with httpx.AsyncClient(timeout=30) as client:
            flood = [asyncio.create_task(client.get(f"{url}/metrics")) for _ in range(300)]
            await wait_until(lambda: any(task.done() for task in flood))
            await system.append("e1")
            await system.outcome("e1")
            await asyncio.gather(*flood, return_exceptions=True)


def _url(log: str) -> str:
    found = re.search(r"metrics on (\S+)/metrics", log)
    assert found is not None, log
    return found[1]
