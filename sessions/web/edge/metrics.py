"""What an edge tells Prometheus, and /metrics for processes that have no other route."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sessions.access.tokens import TokenScope
from sessions.errors import Retryable
from sessions.web.asgi import AsgiScope, Receive, Send, answer_json
from sessions.web.edge import Edge, Refusal
from sessions.web.edge.accounts import token_of

_TYPE: Final = (b"content-type", CONTENT_TYPE_LATEST.encode())


class EdgeCollector(Collector):
    """Refusals by limit, and connections that are open."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    def collect(self) -> Iterable[Metric]:
        """The numbers of this moment."""
        refused = CounterMetricFamily(
            "turnstream_refused", "What a limit has refused.", labels=["limit"]
        )
        for kind in Refusal:
            refused.add_metric([kind], self._edge.refusals.counts[kind])
        yield refused
        connections = GaugeMetricFamily(
            "turnstream_connections", "Connections that are open.", labels=["kind"]
        )
        connections.add_metric(["http"], self._edge.http.open)
        connections.add_metric(["websocket"], self._edge.websockets.open)
        yield connections


class MetricsApp:
    """`GET /metrics` and `GET /healthz` as an app of its own, for a process with no other door.

    Callers on this machine need no token, others one of the scope metrics or admin.
    """

    def __init__(self, registry: CollectorRegistry, edge: Edge) -> None:
        self._registry = registry
        self._edge = edge

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        if scope["method"] != "GET" or scope["path"] not in ("/metrics", "/healthz"):
            await answer_json(send, 404, {"error": "Not Found", "code": "not_found"})
        elif scope["path"] == "/healthz":
            await answer_json(send, 200, {"status": "ok"})
        else:
            await self._show(scope, send)

    async def _show(self, scope: AsgiScope, send: Send) -> None:
        problem = await self._problem(scope)
        if problem is not None:
            status, text, code = problem
            await answer_json(send, status, {"error": text, "code": code})
            return
        page = generate_latest(self._registry)
        headers = [_TYPE, (b"content-length", b"%d" % len(page))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": page})

    async def _problem(self, scope: AsgiScope) -> tuple[int, str, str] | None:
        if self._edge.proxies.is_local(scope):
            return None
        token = token_of(scope)
        try:
            known = self._edge.tokens if token else None
            principal = await known.verify(token) if known and token else None
        except Retryable:
            return 503, "whose this token is cannot be told now; try again", "unavailable"
        if principal is None:
            return 401, "send Authorization: Bearer <token>", "unauthorized"
        if not principal.may(TokenScope.METRICS):
            return 403, "this needs the scope metrics or admin", "forbidden"
        return None
