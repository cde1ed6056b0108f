"""Every route, tool, error code and metric stands in the pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from fastapi import FastAPI
from prometheus_client import generate_latest

from api.app import create_app
from api.metrics import Metrics
from api.tools import TOOLS, Tool
from ingest import rest as ingest_rest
from ingest.channels import push_route
from ingest.channels.failure_counts import ChannelFailures
from ingest.counters import Counters
from ingest.metrics import IngestMetrics
from ingest.turns.table import EndedTurns, TurnTable
from ingest.turns.timings import TurnTimings
from ingest.turns.unavailable import OwnerRefusals
from sessions.access.tokens import TokenFile
from sessions.process.durations import QUICK, Durations
from sessions.process.settings import OwnSettings, Settings
from sessions.store.memory.backend import MemoryBackend
from sessions.stream.redis import connect
from sessions.stream.replies.replies import Replies
from sessions.stream.turns import RedisMemory, TurnStream
from sessions.web.edge import Edge
from sessions.web.exposition import PublishCollector, process_registry
from sessions.web.problems import TABLE, ProblemRow
from tests.docs.pages import Pages, section
from worker.metrics import WorkerCollector

NOWHERE = "redis://127.0.0.1:1/0"
# Routes that need not be in the OpenAPI document: pages, other documents, a protocol of its own.
UNLISTED = {
    ("GET", "/"),
    ("GET", "/openapi.json"),
    ("GET", "/asyncapi.json"),
    ("POST", "/mcp"),
}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    """The web process' routes; nothing is connected."""
    app = create_app(
        Settings(),
        backend=MemoryBackend(),
        stream=TurnStream(connect(NOWHERE), url=NOWHERE, prefix="docs:"),
        replies=Replies(connect(NOWHERE), url=NOWHERE, prefix="docs:", give_up=1),
        tokens=TokenFile(tmp_path_factory.mktemp("workspace")),
    )
    app.include_router(ingest_rest.router)
    app.include_router(push_route.router)
    return app


def operations(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Method and path of every route in the OpenAPI document."""
    for path, methods in app.openapi()["paths"].items():
        for method in methods:
            yield method.upper(), path


def told(pages: Pages) -> set[tuple[str, str]]:
    """Method and path of every route that the page names."""
    return set(re.findall(r"`(GET|POST|PUT|DELETE) (/[^` ]*)`", pages["http-api.md"]))


def test_every_route_is_documented(pages: Pages, app: FastAPI) -> None:
    assert set(operations(app)) - told(pages) == set()


def test_no_route_is_documented_that_does_not_exist(pages: Pages, app: FastAPI) -> None:
    assert told(pages) - UNLISTED == set(operations(app)) - UNLISTED


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_every_tool_is_documented_with_its_arguments(pages: Pages, tool: Tool[Any]) -> None:
    [row] = re.findall(rf"^\| `{tool.name}` \|.*$", pages["http-api.md"], re.M)
    _, _, scope, arguments, _, _ = row.split("|")
    assert scope.strip() == tool.scope
    assert set(re.findall(r"`(\w+)`", arguments)) == set(tool.arguments.model_fields)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.code)
def test_every_error_code_is_documented_with_its_status(pages: Pages, row: ProblemRow) -> None:
    text = section(pages["http-api.md"], "## Errors")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    told = [line for line in rows if str(row.status) in line.split("|")[1]]
    assert any(f"`{row.code}`" in line for line in told)


def _others() -> str:
    """The metrics of ingest and of the worker, which have collected nothing."""
    registry = process_registry("sqlite")
    consumer = SimpleNamespace(
        leading=True,
        standing_by=False,
        hindered=False,
        applied_entries=0,
        outcomes=(),
        delays=Durations(QUICK),
        redis_memory=RedisMemory(1, 2, 3),
    )
    registry.register(WorkerCollector(cast("Any", consumer), Path("/")))
    PublishCollector(registry)
    queue = SimpleNamespace(
        table=TurnTable(), ended=EndedTurns(), counters=Counters(), timings=TurnTimings(["main"])
    )
    IngestMetrics(registry, cast("Any", queue), (), OwnerRefusals(), ChannelFailures())
    return generate_latest(registry).decode()


def test_every_metric_is_documented(pages: Pages) -> None:
    sizes = ("waiting_readers", "stream_epoch", "stream_entries", "lag_entries", "lag_seconds")
    counts = ("sessions", "messages", "dead_letters", "events")
    metrics = Metrics(Edge.of(OwnSettings()), process_registry("sqlite"))
    page = metrics.page(dict.fromkeys((*sizes, *counts), 0.0)).decode()
    names = set(re.findall(r"^# TYPE (turnstream_\w+)", page + _others(), re.M))
    told = section(pages["operating.md"], "## Metrics")
    assert {n for n in names if f"`{n}`" not in told and not n.endswith("_created")} == set()
