"""What a storm showed: figures for people and for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from proof.storm.faults import Death
from proof.storm.judge import Evidence, StormFault, StormFinding

# Findings that are told in words.
_EXAMPLES: Final = 12
_FULL: Final = "SESSION_QUEUE_FULL"


@dataclass
class StormReport:
    """What one storm showed. Seconds; `took` is from the first message to the last answer."""

    seed: str
    seconds: float = 0.0
    took: float = 0.0
    findings: list[StormFinding] = field(default_factory=list[StormFinding])
    figures: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def clean(self) -> bool:
        """Whether no promise was broken."""
        return not self.findings

    def add_evidence(self, evidence: Evidence, *, refused: Sequence[str], goes_on: float) -> None:
        """Take the figures over; of nine messages at once one must have been refused, twice."""
        if [*refused] != [_FULL, _FULL]:
            text = f"nine messages at once, by socket and by webhook: refused {[*refused]}"
            self.findings.append(StormFinding(StormFault.SURPRISE, text))
        journal = evidence.journal
        woken = {message.turn for message in evidence.messages if message.waker}
        self.figures = {
            "sessions": len(evidence.store.sessions),
            "messages": len(evidence.messages),
            "delivered again": journal.redelivered,
            "known on arrival": sum(evidence.store.duplicates.values()),
            "agent runs": len(journal.runs),
            "replies at the platform": sum(map(len, journal.replies.values())),
            "of these sent twice": sum(len(sent) - 1 for sent in journal.replies.values()),
            **_kept(evidence),
            "woken": len(woken),
            "woken: parked": len(woken & journal.parked.keys()),
            "woken: sent": len(woken & journal.replies.keys()),
            "interrupted": len(evidence.interrupted),
            "goes on after Redis": round(goes_on, 1),
            **_figures_of(evidence.deaths),
        }
        self.figures["refusals"] = dict(journal.refusals.most_common())

    def as_json(self) -> dict[str, Any]:
        """All figures, and what was found."""
        found = Counter(str(finding.broken) for finding in self.findings)
        return {
            "seed": self.seed,
            "seconds": round(self.seconds),
            "took": round(self.took),
            **self.figures,
            "found": dict(found),
            "examples": [f"{one.broken}: {one.text}" for one in self.findings[:_EXAMPLES]],
        }

    def show(self, console: Console) -> None:
        """Print the tables."""
        table = Table(title="storm", title_justify="left", show_header=False)
        table.add_column("")
        table.add_column("", justify="right")
        for name, value in self.figures.items():
            if name != "refusals":
                table.add_row(name, f"{value:,}")
        console.print(table)
        refusals = Table("refused, and sent again", "times", title_justify="left")
        for code, count in self.figures.get("refusals", {}).items():
            refusals.add_row(code, f"{count:,}")
        console.print(refusals)
        for finding in self.findings[:_EXAMPLES]:
            console.print(f"[red]{finding.broken}[/]: {finding.text}", highlight=False)
        console.print(
            f"{len(self.findings)} broken promises; {self.took:.0f} s of storm, "
            f"{self.seconds:.0f} s in all"
        )


def _kept(evidence: Evidence) -> dict[str, Any]:
    """How many replies were parked, on which channels, and when the last one was sent."""
    parked, outage = evidence.journal.parked, evidence.outage
    if outage is None:
        return {}
    arrivals = [sent[0].at for turn in parked if (sent := evidence.journal.replies.get(turn))]
    return {
        "parked": len(parked),
        **{f"parked: {name}": count for name, count in sorted(Counter(parked.values()).items())},
        "parked: arrived": len(arrivals),
        "parked: all sent after s": round(max(arrivals, default=outage.over) - outage.over, 1),
        "parked: at the sender's death": len(evidence.deaths[-1].parked),
        "parked: sent twice": len(evidence.repeated(parked)),
    }


def _figures_of(deaths: Sequence[Death]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, death in zip(("killed", "frozen", "killed sender"), deaths, strict=False):
        times = [casualty.usable for casualty in death.casualties]
        asked = sorted(c.asked for c in death.casualties if c.asked is not None)
        held = [casualty for casualty in death.casualties if casualty.turn is not None]
        found |= {
            f"{name}: turns at work": len(held),
            f"{name}: messages waiting": sum(len(c.waiting) for c in death.casualties),
            f"{name}: all usable after s": round(max(times, default=0.0), 1),
            f"{name}: agent asked after s, p50": round(_quantile(asked, 0.5), 1),
            f"{name}: agent asked after s, max": round(_quantile(asked, 1.0), 1),
        }
    return found


def _quantile(times: Sequence[float], share: float) -> float:
    return times[min(len(times) - 1, int(share * len(times)))] if times else 0.0
