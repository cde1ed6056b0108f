"""What Prometheus may know. A registry for each app, so that several of them fit in one process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

from sessions.stream.replies.values import ReplyCount, ReplyState
from sessions.web.edge import Edge
from sessions.web.edge.metrics import EdgeCollector

# Seconds. From a cached read to the end of a reader's patience, and twice that for a change.
_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0)


class Metrics:
    """Counts what the doors do; sizes are measured when somebody asks for them."""

    def __init__(self, edge: Edge, registry: CollectorRegistry) -> None:
        """`registry` is the process'; ingest adds its own if it is in the same one."""
        self.registry = registry
        registry.register(EdgeCollector(edge))
        self._requests = Counter(
            "turnstream_api_requests",
            "Requests answered.",
            ("route", "method", "status"),
            registry=registry,
        )
        self._seconds = Histogram(
            "turnstream_api_request_seconds",
            "Time to answer a request, waiting for fresh data included.",
            ("route",),
            buckets=_BUCKETS,
            registry=registry,
        )
        self._tools = Counter(
            "turnstream_api_tool_calls",
            "Tool calls answered by a tool.",
            ("tool", "door", "success"),
            registry=registry,
        )
        self._replies = Gauge(
            "turnstream_replies",
            "Replies that their platform has not taken, parked or undelivered.",
            ("channel", "state"),
            registry=registry,
        )
        self._gauges: dict[str, Gauge] = {}

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count an answered request, under its route and not its path."""
        self._requests.labels(route, method, status).inc()
        self._seconds.labels(route).observe(seconds)

    def tool(self, name: str, door: str, *, success: bool) -> None:
        """Count a tool call."""
        self._tools.labels(name, door, str(success).lower()).inc()

    def page(self, sizes: Mapping[str, float], replies: Sequence[ReplyCount] = ()) -> bytes:
        """The text for Prometheus, with these sizes as gauges of this moment."""
        self._replies.clear()
        for channel, parked, undelivered in replies:
            self._replies.labels(channel, ReplyState.PARKED).set(parked)
            self._replies.labels(channel, ReplyState.UNDELIVERED).set(undelivered)
        for name, size in sizes.items():
            if name not in self._gauges:
                self._gauges[name] = Gauge(
                    f"turnstream_{name}", _HELP.get(name, name), registry=self.registry
                )
            self._gauges[name].set(size)
        return generate_latest(self.registry)


_HELP: Final = {
    "ready": "Whether the writer progresses and the store is the stream's.",
    "waiting_readers": "Readers that wait for the store to catch up.",
    "stream_entries": "Entries in the stream, applied ones that are kept included.",
    "stream_entries_vanished": "Entries that were taken out of the stream before they were read.",
    "stream_epoch": "The stream epoch that the store has applied.",
    "lag_entries": "Entries that the store has not applied yet; NaN if Redis does not count.",
    "lag_seconds": "Age of the oldest entry that the store has not applied yet; 0 without one.",
    "sessions": "Sessions in the store.",
    "messages": "Messages in the store.",
    "dead_letters": "Dead letters in the store.",
    "dead_letters_dropped": "Dead letters that went because newer ones of their publisher came.",
}
