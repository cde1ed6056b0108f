"""What ingest tells Prometheus: its requests, its lanes, its turns, its chats."""

from __future__ import annotations

from collections.abc import Iterable, Sized
from typing import Final

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from ingest.channels.failure_counts import ChannelFailure, ChannelFailures
from ingest.counters import CounterName
from ingest.turns.live import Ending
from ingest.turns.queue import TurnQueue
from ingest.turns.timings import TurnTimings
from ingest.turns.unavailable import OwnerRefusals
from sessions.web.exposition import histogram


class IngestMetrics:
    """Counts the requests of ingest's own routes; the rest is read from where it happens."""

    def __init__(
        self,
        registry: CollectorRegistry,
        queue: TurnQueue,
        clients: Sized,
        refusals: OwnerRefusals,
        troubles: ChannelFailures,
    ) -> None:
        self._requests = Counter(
            "turnstream_ingest_requests",
            "Requests answered by ingest.",
            ("route", "method", "status"),
            registry=registry,
        )
        registry.register(_TurnCollector(queue, clients))
        registry.register(_TimeCollector(queue.timings))
        registry.register(_TroubleCollector(queue, refusals, troubles))

    def request(self, route: str, method: str, status: int) -> None:
        """Count an answered request, under its route and not its path."""
        self._requests.labels(route, method, str(status)).inc()


class _TurnCollector(Collector):
    def __init__(self, queue: TurnQueue, clients: Sized) -> None:
        self._queue = queue
        self._clients = clients

    def collect(self) -> Iterable[Metric]:
        """The numbers of this moment."""
        yield GaugeMetricFamily(
            "turnstream_ingest_lanes",
            "Lanes that this process holds.",
            len(self._queue.table.holds),
        )
        yield GaugeMetricFamily(
            "turnstream_ingest_waiting_messages",
            "Messages of this process that wait for their turn.",
            sum(len(self._queue.table.waiting(lane)) for lane in self._queue.table.waiting_lanes),
        )
        yield GaugeMetricFamily(
            "turnstream_ingest_chats", "Chats that are open.", len(self._clients)
        )
        turns = CounterMetricFamily(
            "turnstream_ingest_turns", "Turns that ended here.", labels=["ending"]
        )
        for ending in Ending:
            turns.add_metric([ending], self._queue.ended.endings[ending])
        yield turns


class _TimeCollector(Collector):
    def __init__(self, timings: TurnTimings) -> None:
        self._timings = timings

    def collect(self) -> Iterable[Metric]:
        """The durations up to this moment."""
        yield histogram(
            "turnstream_ingest_queue_wait_seconds",
            "Time that a message waited for its turn, from its place in the lane on.",
            self._timings.waits,
        )
        yield histogram(
            "turnstream_ingest_turn_seconds",
            "Time from the begin of a turn to its end on the stream.",
            self._timings.turns,
        )
        calls = HistogramMetricFamily(
            "turnstream_ingest_agent_seconds",
            "Time that an agent took for a turn, its tools included.",
            labels=["agent", "result"],
        )
        for labels, durations in self._timings.agents.items():
            calls.add_metric(labels, buckets=durations.buckets, sum_value=durations.total)
        yield calls


# What each count means, and the labels that it has.
_COUNTS: Final[dict[CounterName | ChannelFailure, tuple[str, tuple[str, ...]]]] = {
    CounterName.MESSAGES_ACCEPTED: ("Messages that are safe in their lane.", ()),
    CounterName.MESSAGES_REFUSED: ("Messages that were not taken.", ("reason",)),
    CounterName.TURN_ERRORS: ("Errors that nobody foresaw, in turns.", ()),
    CounterName.TURNS_GIVEN_UP: ("Turns that were closed after the last such error.", ()),
    CounterName.TURNS_FAILED: (
        "Turns whose agent could not answer.",
        ("agent", "status", "reason"),
    ),
    ChannelFailure.UNREADABLE: ("Updates of a channel that were skipped.", ("channel",)),
    ChannelFailure.LEFT_OUT: ("Messages of a channel that were left out.", ("channel",)),
    ChannelFailure.PARKED: ("Replies that were parked.", ("channel",)),
    ChannelFailure.LATE: ("Parked replies that were delivered.", ("channel",)),
    ChannelFailure.UNDELIVERED: ("Replies that are not tried any more.", ("channel",)),
    ChannelFailure.FORGOTTEN: ("Undelivered replies that went for newer ones.", ("channel",)),
    ChannelFailure.LOST: ("Kept replies that Redis lost.", ("channel",)),
    ChannelFailure.FAILED: ("Times that a channel began again after an error.", ("channel",)),
}


class _TroubleCollector(Collector):
    def __init__(
        self, queue: TurnQueue, refusals: OwnerRefusals, troubles: ChannelFailures
    ) -> None:
        self._queue = queue
        self._refusals = refusals
        self._troubles = troubles

    def collect(self) -> Iterable[Metric]:
        """The counts of this moment; those that never were counted are there without a value."""
        families = {
            what: CounterMetricFamily(f"turnstream_ingest_{what}", text, labels=labels)
            for what, (text, labels) in _COUNTS.items()
        }
        for what, labels, count in (*self._queue.counters, *self._troubles):
            names = _COUNTS[what][1]
            families[what].add_metric([labels.get(name, "") for name in names], count)
        yield from families.values()
        yield CounterMetricFamily(
            "turnstream_ingest_foreign_sessions",
            "Messages that were refused because their session is another agent's.",
            self._refusals.count,
        )
