"""What ingest tells Prometheus: its requests, its lanes, its turns, its chats."""

from __future__ import annotations

from collections.abc import Iterable, Sized

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ingest.desk import Desk
from ingest.live import Ending


class IngestMetrics:
    """Counts the requests of ingest's own routes; the rest is read from where it happens."""

    def __init__(self, registry: CollectorRegistry, desk: Desk, clients: Sized) -> None:
        self._requests = Counter(
            "turnstream_ingest_requests",
            "Requests answered by ingest.",
            ("route", "method", "status"),
            registry=registry,
        )
        registry.register(_DeskCollector(desk, clients))

    def request(self, route: str, method: str, status: int) -> None:
        """Count an answered request, under its route and not its path."""
        self._requests.labels(route, method, str(status)).inc()


class _DeskCollector(Collector):
    def __init__(self, desk: Desk, clients: Sized) -> None:
        self._desk = desk
        self._clients = clients

    def collect(self) -> Iterable[Metric]:
        """The numbers of this moment."""
        yield GaugeMetricFamily(
            "turnstream_ingest_lanes", "Lanes that this process holds.", self._desk.lanes_held
        )
        yield GaugeMetricFamily(
            "turnstream_ingest_chats", "Chats that are open.", len(self._clients)
        )
        turns = CounterMetricFamily(
            "turnstream_ingest_turns", "Turns that ended here.", labels=["ending"]
        )
        for ending in Ending:
            turns.add_metric([ending], self._desk.endings[ending])
        yield turns
