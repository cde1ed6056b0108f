"""Traces follow a `traceparent` from the publisher through the stream to the reply."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import FastAPI, Request
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from harness.services import environment
from harness.system import STREAM, SystemUnderTest
from harness.waiting import wait_until
from ingest.channels.webhook import sign
from sessions.errors import ConfigError
from sessions.process.tracing import (
    carried,
    carrying,
    configure_tracing,
    is_tracing,
    span,
    traced,
)
from tests.ingest.serving import serving
from tests.walk.site import running_site

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
SECRET = "a secret of sixteen bytes"


class Collector:
    """Takes spans by OTLP, and the replies of a webhook channel."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, str, str, str, str]] = []
        self.replies: list[Any] = []
        self.app = FastAPI()
        self.app.add_api_route("/v1/traces", self._take, methods=["POST"])
        self.app.add_api_route("/replies", self._reply, methods=["POST"])

    async def _take(self, request: Request) -> dict[str, str]:
        told = ExportTraceServiceRequest.FromString(await request.body())
        for resource in told.resource_spans:
            names = {a.key: a.value.string_value for a in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans += [(names["service.name"], one.name, *_ids(one)) for one in scope.spans]
        return {}

    async def _reply(self, request: Request) -> dict[str, str]:
        self.replies.append(await request.json())
        return {}

    def of(self, trace: str) -> set[tuple[str, str]]:
        """The services and names of the spans of a trace."""
        return {(service, name) for service, name, found, _, _ in self.spans if found == trace}


def _ids(one: Any) -> tuple[str, str, str]:
    return one.trace_id.hex(), one.span_id.hex(), one.parent_span_id.hex()


@asynccontextmanager
async def collector() -> AsyncIterator[tuple[Collector, str]]:
    found = Collector()
    async with serving(found.app) as url:
        yield found, f"http://{url}"


def signed(message: Mapping[str, str]) -> tuple[bytes, dict[str, str]]:
    body, stamp = json.dumps(message).encode(), str(int(time.time()))
    return body, {
        "webhook-id": "m1",
        "webhook-timestamp": stamp,
        "webhook-signature": sign(SECRET.encode(), "m1", stamp, body),
        "traceparent": PARENT,
    }


async def test_a_turn_is_one_trace_over_all_processes(
    system: SystemUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with collector() as (found, url):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        config = system.workspace.parent / "turnstream.toml"
        config.write_text(
            f'[channels.webhook.shop]\nsecret = "{SECRET}"\nsend_url = "{url}/replies"\n'
            '[agents.main]\nchannels = ["webhook.shop"]\n',
            encoding="utf-8",
        )
        await system.worker()
        async with running_site(system, config=str(config)) as site:
            body, headers = signed({"sender": "ada", "content": "hello"})
            taken = await site.http.post("/channels/webhook/shop", content=body, headers=headers)
            assert taken.is_success, taken.text
            await wait_until(lambda: found.replies)
            web = {("turnstream-web", name) for name in ("publish", "turn", "agent", "deliver")}
            expected = {
                *web,
                ("turnstream-web", "queue wait"),
                ("turnstream-worker", "stream wait"),
                ("turnstream-worker", "apply"),
            }
            await wait_until(lambda: found.of(TRACE) >= expected)
    parents = {own: (name, parent) for _, name, _, own, parent in found.spans}
    for _, name, _, _, parent in found.spans:
        if name in ("agent", "deliver"):
            assert parents[parent][0] == "turn"
        if name == "apply":
            assert parents[parent][0] == "publish"


async def test_without_an_exporter_the_publishers_trace_is_carried_on(
    system: SystemUnderTest,
) -> None:
    await system.worker()
    event = {"id": "e1", "type": "append", "session": "s", "role": "user", "content": "x"}
    async with running_site(system) as site:
        for parent in (PARENT, "00-no-trace-01"):
            # The same event again: the field is no part of what is compared.
            sent = await site.http.post("/api/events", json=event, headers={"traceparent": parent})
            assert sent.status_code == 202
    await wait_until(lambda: applied(system, 2))
    entries = await system.redis_says("XRANGE", STREAM, "-", "+")
    found = [fields.get(b"traceparent") for _, fields in entries]
    assert found == [PARENT.encode(), None]
    outcome = await system.outcome("e1")
    assert (outcome.outcome, outcome.duplicates) == ("applied", 1)


async def applied(system: SystemUnderTest, count: int) -> bool:
    return (await (await system.store()).cursor()).resolved == count


async def test_a_program_may_publish_the_field_itself(system: SystemUnderTest) -> None:
    await system.worker()
    fields = ("v", "1", "id", "e1", "type", "append", "session", "s", "role", "user")
    await system.xadd(*fields, "content", "x", "traceparent", "\xff no trace at all")
    assert (await system.outcome("e1")).outcome == "applied"


@pytest.mark.parametrize(
    "text", [None, "", "x", PARENT.upper(), f"ff{PARENT[2:]}", f"00-{'0' * 32}-{'1' * 16}-01"]
)
def test_what_is_no_traceparent_counts_as_absent(text: str | None) -> None:
    with carrying(text):
        assert carried() is None
        assert traced({"v": "1"}) == {"v": "1"}


def test_nothing_is_traced_unless_an_exporter_is_named() -> None:
    configure_tracing("test", {})
    configure_tracing(
        "test", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_SDK_DISABLED": "true"}
    )
    assert not is_tracing()
    with carrying(PARENT), span("turn", agent="main"):
        assert carried() == PARENT
        assert traced({"v": "1"}) == {"v": "1", "traceparent": PARENT}


def test_an_exporter_without_its_packages_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sessions.process.otel", None)
    with pytest.raises(ConfigError, match=r"turnstream\[otel\]"):
        configure_tracing("test", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"})


def test_the_sdk_is_not_imported_for_nothing() -> None:
    program = (
        "import sys, worker.app, cli.supervision.web\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry.sdk')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"
