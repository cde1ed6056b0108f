"""/metrics of a worker. It is a help for people: nothing that happens here stops the worker."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sessions.access.tokens import TokenFile
from sessions.process.settings import Settings
from sessions.web.edge import Edge
from sessions.web.edge.metrics import EdgeCollector, MetricsApp
from sessions.web.hosts import HostGuard, allowed_names
from sessions.web.serving import served_beside
from worker.consumer import Consumer

log = logging.getLogger(__name__)


class WorkerCollector(Collector):
    """What one worker does."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer

    def collect(self) -> Iterable[Metric]:
        """The numbers of this moment."""
        consumer = self._consumer
        yield GaugeMetricFamily(
            "turnstream_worker_leading", "Whether this worker leads.", float(consumer.leading)
        )
        yield GaugeMetricFamily(
            "turnstream_worker_hindered",
            "Whether a passing problem stops this worker.",
            float(consumer.hindered),
        )
        yield CounterMetricFamily(
            "turnstream_worker_applied_entries",
            "Stream entries that this worker has applied.",
            consumer.applied_entries,
        )


@asynccontextmanager
async def metrics_served(settings: Settings, consumer: Consumer) -> AsyncGenerator[None]:
    """Answer /metrics inside, on the settings' port, else on one that is free; 0 does not.

    An address that cannot be listened on is logged, and the worker goes without.
    """
    port = settings.turnstream.worker_metrics_port
    if port == 0:
        yield
        return
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(WorkerCollector(consumer))
    edge = Edge.of(settings.turnstream, TokenFile(settings.workspace))
    registry.register(EdgeCollector(edge))
    app = HostGuard(MetricsApp(registry, edge), allowed_names(settings))
    async with served_beside(app, edge, host=settings.gateway.host, port=port) as url:
        if url is not None:
            log.info("metrics on %s/metrics", url)
        yield
