"""What every process tells Prometheus of itself: which build it is, and the system's figures."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from importlib.metadata import version
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from sessions.models import EventType
from sessions.process.durations import Durations
from sessions.stream.publish_counts import PublishCounts, PublishRefusal

VERSION: Final = version("turnstream")


def process_registry(backend: str) -> CollectorRegistry:
    """The metrics of one process; `backend` is the kind of store that it works with."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(_BuildCollector(backend))
    return registry


class PublishCollector(Collector):
    """What this process has published, by all of its ways together."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._ways: set[PublishCounts] = set()
        registry.register(self)

    def add(self, counts: PublishCounts) -> None:
        """Show this way's counts too; the same one again changes nothing."""
        self._ways.add(counts)

    def collect(self) -> Iterable[Metric]:
        """The counts of this moment."""
        published = CounterMetricFamily(
            "turnstream_published_events",
            "Events that this process has put on the stream.",
            labels=["type"],
        )
        for kind in EventType:
            published.add_metric([kind], sum(way.published[kind] for way in self._ways))
        yield published
        refused = CounterMetricFamily(
            "turnstream_refused_events",
            "Events of this process that Redis did not take, or not in time.",
            labels=["reason"],
        )
        for reason in PublishRefusal:
            refused.add_metric([reason], sum(way.refused[reason] for way in self._ways))
        yield refused


def histogram(name: str, text: str, durations: Durations) -> HistogramMetricFamily:
    """Durations as a histogram without labels."""
    family = HistogramMetricFamily(name, text)
    family.add_metric([], buckets=durations.buckets, sum_value=durations.total)
    return family


class _BuildCollector(Collector):
    def __init__(self, backend: str) -> None:
        self._backend = backend

    def collect(self) -> Iterable[Metric]:
        """Always 1."""
        build = GaugeMetricFamily(
            "turnstream_build_info",
            "Which Turnstream runs here, on which Python, with which backend.",
            labels=["version", "python", "backend"],
        )
        build.add_metric([VERSION, platform.python_version(), self._backend], 1)
        yield build
