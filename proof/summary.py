"""All runs together: figures for people and for programs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from proof.checker import Fault
from proof.job import Job, JobKind
from proof.mutants import MUTANTS
from proof.report import RunReport

# What is counted by name; the rest is told as `other`.
_PROMISES: Final = ("lost", "duplicated", "reordered", "resurrected", "stale")
_BROKEN: Final = frozenset({Fault.DUPLICATED, Fault.ALTERED, Fault.DAMAGE})
# Seconds within which 99 of 100 faults must be recovered from.
_RECOVERY: Final = 10.0


@dataclass(frozen=True)
class FinishedJob:
    """A run and what it showed."""

    job: Job
    report: RunReport

    @property
    def caught(self) -> bool:
        """Whether the check that is meant for the planted bug saw it."""
        found, wanted = self.report.found, MUTANTS[self.job.what].fault
        # What was not applied yet looks lost; what is broken is broken.
        return wanted in found and ("stuck" not in found or wanted in _BROKEN)

    @property
    def good(self) -> bool:
        """Whether the run showed what it must: nothing, or the bug that was planted."""
        return self.caught if self.job.kind is JobKind.PLANTED else self.report.clean

    def line(self) -> str:
        """The run in one line, and examples of what was found in some more."""
        report = self.report
        head = f"{'ok  ' if self.good else 'FAIL'} {self.job.name}: {report.seconds:.0f} s"
        facts = f"{report.events} events, {len(report.faults)} faults"
        found = ", ".join(f"{count} {what}" for what, count in report.found.items()) or "nothing"
        text = f"{head}, {facts}, found {found}"
        if self.job.kind is JobKind.PLANTED:
            text += f", meant to be {MUTANTS[self.job.what].fault}"
        if not self.good:
            text += "".join(f"\n       {line}" for line in (*report.examples, *report.ends))
        return text


@dataclass
class Summary:
    """What all runs showed."""

    finished: list[FinishedJob] = field(default_factory=list[FinishedJob])
    seconds: float = 0.0

    @property
    def failed(self) -> list[FinishedJob]:
        """The runs that did not show what they must."""
        slow = {
            backend
            for backend, figures in self.by_backend().items()
            if figures["recovery_p99"] > _RECOVERY
        }
        return [
            each
            for each in self.finished
            if not each.good or (each.job.kind is JobKind.CHAOS and each.job.backend in slow)
        ]

    def by_backend(self) -> dict[str, dict[str, Any]]:
        """The figures of the chaos for each backend."""
        runs: dict[str, list[RunReport]] = {}
        for each in self.finished:
            if each.job.kind is JobKind.CHAOS:
                runs.setdefault(each.job.backend, []).append(each.report)
        return {backend: _figures(reports) for backend, reports in sorted(runs.items())}

    def planted(self) -> dict[str, bool]:
        """Which planted bugs were caught."""
        return {
            each.job.what: each.caught for each in self.finished if each.job.kind is JobKind.PLANTED
        }

    def as_json(self) -> dict[str, Any]:
        """All figures."""
        return {
            "seconds": round(self.seconds),
            "backends": self.by_backend(),
            "planted": self.planted(),
            "failed": [each.job.name for each in self.failed],
        }

    def show(self, console: Console) -> None:
        """Print the tables."""
        backends = self.by_backend()
        if backends:
            console.print(_table(backends))
            console.print(_kinds(backends))
        if planted := self.planted():
            console.print(f"planted bugs caught: {sum(planted.values())} of {len(planted)}")
        console.print(f"{self.seconds:.0f} s in all")


def _figures(reports: list[RunReport]) -> dict[str, Any]:
    found = sum((Counter(report.found) for report in reports), Counter[str]())
    times = sorted(seconds for report in reports for _, seconds in report.faults)
    return {
        "events": sum(report.events for report in reports),
        "sessions": sum(report.sessions for report in reports),
        "reads": sum(report.reads for report in reports),
        "faults": len(times),
        **{what: found[what] for what in _PROMISES},
        "other": found.total() - sum(found[what] for what in _PROMISES),
        "recovery_p50": _quantile(times, 0.5),
        "recovery_p99": _quantile(times, 0.99),
        "recovery_max": _quantile(times, 1.0),
        "killed_for_silence": sum(report.silent for report in reports),
        "kinds": dict(Counter(kind for report in reports for kind, _ in report.faults)),
    }


def _quantile(times: list[float], share: float) -> float:
    if not times:
        return 0.0
    return round(times[min(len(times) - 1, int(share * len(times)))], 3)


def _table(backends: dict[str, dict[str, Any]]) -> Table:
    table = Table(title="chaos, every fault while entries waited", title_justify="left")
    table.add_column("")
    for backend in backends:
        table.add_column(backend, justify="right")
    for name in next(iter(backends.values())):
        if name != "kinds":
            values = [figures[name] for figures in backends.values()]
            unit = " s" if name.startswith("recovery") else ""
            table.add_row(name.replace("_", " "), *(f"{value:,}{unit}" for value in values))
    return table


def _kinds(backends: dict[str, dict[str, Any]]) -> Table:
    table = Table(title="faults", title_justify="left")
    table.add_column("kind")
    for backend in backends:
        table.add_column(backend, justify="right")
    for kind in sorted({kind for figures in backends.values() for kind in figures["kinds"]}):
        counts = [figures["kinds"].get(kind, 0) for figures in backends.values()]
        table.add_row(kind, *map(str, counts))
    return table
