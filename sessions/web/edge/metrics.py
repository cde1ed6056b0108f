"""What an edge tells Prometheus, and /metrics for processes that have no other route."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sessions.access.tokens import TokenScope
from sessions.errors import AccessRefused, SessionError
from sessions.web.asgi import AsgiScope, Receive, Send, answer_json, headers_of
from sessions.web.authentication import authenticate
from sessions.web.edge import Edge, Limit
from sessions.web.problems import problem_of, send_problem
from sessions.web.rejections import NotFound

_TYPE: Final = (b"content-type", CONTENT_TYPE_LATEST.encode())


class EdgeCollector(Collector):
    """Refusals by limit, and connections that are open."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    def collect(self) -> Iterable[Metric]:
        """The numbers of this moment."""
        refused = CounterMetricFamily(
            "turnstream_refused", "Requests that a limit has refused.", labels=["limit"]
        )
        for kind in Limit:
            refused.add_metric([kind], self._edge.refusals.counts[kind])
        yield refused
        connections = GaugeMetricFamily(
            "turnstream_connections", "Connections that are open.", labels=["kind"]
        )
        connections.add_metric(["http"], self._edge.http.open)
        connections.add_metric(["websocket"], self._edge.websockets.open)
        yield connections


class MetricsApp:
    """`/metrics`, `/healthz` and `/readyz` as an app, for a process without other routes.

    For /metrics callers on this machine need no token, others one of the scope metrics or admin.
    `readiness` gives the object of /readyz, whose `error` says what is wrong, if anything is.
    """

    def __init__(
        self, registry: CollectorRegistry, edge: Edge, readiness: Callable[[], dict[str, str]]
    ) -> None:
        self._registry = registry
        self._edge = edge
        self._readiness = readiness

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        path = scope["path"] if scope["method"] == "GET" else None
        if path == "/metrics":
            await self._show(scope, send)
        elif path == "/healthz":
            await answer_json(send, 200, {"status": "ok"})
        elif path == "/readyz":
            found = self._readiness()
            await answer_json(send, 503 if "error" in found else 200, found)
        else:
            await send_problem(send, problem_of(NotFound("Not Found")))

    async def _show(self, scope: AsgiScope, send: Send) -> None:
        try:
            await check_reader(self._edge, scope)
        except SessionError as error:
            await send_problem(send, problem_of(error))
            return
        page = generate_latest(self._registry)
        headers = [_TYPE, (b"content-length", b"%d" % len(page))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": page})


async def check_reader(edge: Edge, scope: AsgiScope) -> None:
    """Raise what keeps the caller from reading /metrics; nothing does on this machine.

    It is what `authenticate` raises, and AccessRefused for a scope that is too small.
    """
    if edge.proxies.is_local(scope):
        return
    principal = await authenticate(edge.tokens, headers_of(scope))
    if not principal.may(TokenScope.METRICS):
        raise AccessRefused("this needs the scope metrics or admin")
