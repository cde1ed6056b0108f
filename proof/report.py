"""What a run showed, in figures."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from harness.waiting import Stuck
from proof.checker import Judgement

# Findings that are told in words.
_EXAMPLES: Final = 8


@dataclass
class RunReport:
    """What one run showed. Plain values, so that it can be handed from process to process.

    `faults` are kinds with the seconds until what waited was applied, `found` broken promises by
    kind, `ends` processes that ended though nobody made them, `silent` the number of those that
    were killed because they made no progress.
    """

    backend: str
    seed: str
    seconds: float = 0.0
    events: int = 0
    sessions: int = 0
    reads: int = 0
    faults: list[tuple[str, float]] = field(default_factory=list[tuple[str, float]])
    found: dict[str, int] = field(default_factory=dict[str, int])
    examples: list[str] = field(default_factory=list[str])
    ends: list[str] = field(default_factory=list[str])
    silent: int = 0

    @property
    def clean(self) -> bool:
        """Whether no promise was broken."""
        return not self.found and not self.ends

    def as_json(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        return asdict(self)

    def judge(self, judgement: Judgement) -> None:
        """Take over what the checker found."""
        self.events, self.sessions = judgement.events, judgement.sessions
        self.reads = judgement.reads
        self.found |= Counter(str(finding.fault) for finding in judgement.findings)
        told = [f"{finding.fault}: {finding.text}" for finding in judgement.findings]
        self.examples += told[:_EXAMPLES]

    def fail(self, error: Stuck) -> None:
        """Take over that the stack did not recover."""
        self.found["stuck"] = 1
        self.examples.append(f"stuck: {error}")
