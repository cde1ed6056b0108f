"""/metrics and /readyz of a worker. They only tell: nothing that happens here stops the worker."""

from __future__ import annotations

import logging
import shutil
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sessions.access.tokens import TokenFile
from sessions.models import OutcomeKind, Reason
from sessions.process.progress import ProgressReporter
from sessions.process.settings import Settings
from sessions.store.backend import OutcomeCount
from sessions.web.edge import Edge
from sessions.web.edge.metrics import EdgeCollector, MetricsApp
from sessions.web.exposition import histogram, process_registry
from sessions.web.hosts import HostGuard, allowed_names
from sessions.web.serving import served_beside
from worker.consumer import Consumer

log = logging.getLogger(__name__)

# Seconds without anything done after which a worker makes no progress: its supervisor's measure.
SILENT: Final = 10.0


class WorkerCollector(Collector):
    """What one worker does."""

    def __init__(self, consumer: Consumer, workspace: Path) -> None:
        self._consumer = consumer
        self._workspace = workspace

    def collect(self) -> Iterable[Metric]:
        """The numbers of this moment."""
        yield from self._phase()
        yield from self._work()
        yield from self._redis()
        yield from self._disk()

    def _phase(self) -> Iterable[Metric]:
        consumer = self._consumer
        for name, text, is_so in (
            ("leading", "Whether this worker leads.", consumer.leading),
            ("standing_by", "Whether this worker waits for the lead.", consumer.standing_by),
            ("hindered", "Whether a passing problem stops this worker.", consumer.hindered),
        ):
            yield GaugeMetricFamily(f"turnstream_worker_{name}", text, float(is_so))

    def _work(self) -> Iterable[Metric]:
        yield CounterMetricFamily(
            "turnstream_worker_applied_entries",
            "Stream entries that this worker has applied.",
            self._consumer.applied_entries,
        )
        yield histogram(
            "turnstream_worker_publish_to_applied_seconds",
            "Time from an entry's arrival in Redis to its commit.",
            self._consumer.delays,
        )
        outcomes = CounterMetricFamily(
            "turnstream_worker_outcomes",
            "Entries that this worker has applied, by what became of them.",
            labels=["type", "outcome", "reason"],
        )
        for key, count in _counted(self._consumer.outcomes).items():
            outcomes.add_metric(key, count)
        yield outcomes

    def _redis(self) -> Iterable[Metric]:
        memory = self._consumer.redis_memory
        if memory is None:
            return
        for name, text, size in (
            ("memory_used", "Bytes that Redis uses, as the leader saw it last.", memory.used),
            ("memory_limit", "Bytes that Redis may use; 0 is no limit.", memory.limit),
            ("stream", "Bytes of the stream in Redis, estimated.", memory.stream),
        ):
            yield GaugeMetricFamily(f"turnstream_redis_{name}_bytes", text, size)

    def _disk(self) -> Iterable[Metric]:
        try:
            disk = shutil.disk_usage(self._workspace)
        except OSError:
            return
        yield GaugeMetricFamily(
            "turnstream_workspace_free_bytes", "Bytes free on the workspace's disk.", disk.free
        )
        yield GaugeMetricFamily(
            "turnstream_workspace_size_bytes", "Bytes of the workspace's disk.", disk.total
        )


# There from the start, so that the first dead letter is an increase.
_DEAD: Final = {
    ("unknown", OutcomeKind.DEAD, reason): 0
    for reason in (
        Reason.UNDECODABLE,
        Reason.UNKNOWN_VERSION,
        Reason.UNKNOWN_TYPE,
        Reason.INVALID_FIELD,
        Reason.TOO_LARGE,
        Reason.ID_CONFLICT,
        Reason.APPLY_FAILED,
    )
}


def _counted(outcomes: Iterable[OutcomeCount]) -> Mapping[tuple[str, str, str], int]:
    """The counts by their labels."""
    found: dict[tuple[str, str, str], int] = {**_DEAD}
    for type, outcome, reason, count in outcomes:
        found[type or "unknown", outcome or "duplicate", reason or ""] = count
    return found


def readiness(consumer: Consumer, progress: ProgressReporter) -> dict[str, str]:
    """Whether the worker leads or stands by, and as `error` what keeps it from getting on."""
    found = {"status": "leading" if consumer.leading else "standing by"}
    if progress.silence > SILENT:
        return {**found, "error": f"nothing got done for {progress.silence:.0f} s"}
    if consumer.trouble is not None:
        return {**found, "error": f"waiting: {consumer.trouble}"}
    return found


def _registry_of(settings: Settings, consumer: Consumer, edge: Edge) -> CollectorRegistry:
    registry = process_registry(settings.channels.session_backend)
    registry.register(WorkerCollector(consumer, settings.workspace))
    registry.register(EdgeCollector(edge))
    return registry


@asynccontextmanager
async def metrics_served(
    settings: Settings, consumer: Consumer, progress: ProgressReporter
) -> AsyncGenerator[None]:
    """Answer /metrics and /readyz inside, on the settings' port, else on a free one; 0 does not.

    An address that cannot be listened on is logged, and the worker goes without.
    """
    port = settings.turnstream.worker_metrics_port
    if port == 0:
        yield
        return
    edge = Edge.of(settings.turnstream, TokenFile(settings.workspace))
    registry = _registry_of(settings, consumer, edge)
    pages = MetricsApp(registry, edge, lambda: readiness(consumer, progress))
    app = HostGuard(pages, allowed_names(settings))
    async with served_beside(app, edge, host=settings.gateway.host, port=port) as url:
        if url is not None:
            log.info("metrics on %s/metrics", url)
        yield
