"""One run of one stack, from an empty workspace to a judgement."""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from proof.checker import Judgement, check
from proof.children import Stuck
from proof.evidence import Leftovers, read_store
from proof.history import read_histories
from proof.nemesis import EVERYTHING, Nemesis, Schedule
from proof.stack import Setup, Stack

# Findings that are told in words.
_EXAMPLES = 8


@dataclass
class Report:
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
    faults: list[tuple[str, float]] = field(default_factory=list)
    found: dict[str, int] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)
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
        self.found |= Counter(str(finding.fault) for finding in judgement.findings)
        told = [f"{finding.fault}: {finding.text}" for finding in judgement.findings]
        self.examples += told[:_EXAMPLES]

    def fail(self, error: Stuck) -> None:
        """Take over that the stack did not recover."""
        self.found["stuck"] = 1
        self.examples.append(f"stuck: {error}")


async def chaos(setup: Setup, seconds: float, schedule: Schedule = EVERYTHING) -> Report:
    """Publish and inject for so long, heal, and judge what is left."""
    report = Report(setup.backend, setup.seed)
    began = time.monotonic()
    leftovers: Leftovers | None = None
    try:
        async with Stack.running(setup) as stack:
            leftovers = await _inject(stack, seconds, schedule, report)
    except Stuck as error:
        report.fail(error)
    stored = read_store(setup.workspace, setup.backend)
    report.judge(check(read_histories(setup.histories), stored, leftovers))
    report.seconds = time.monotonic() - began
    return report


async def _inject(stack: Stack, seconds: float, schedule: Schedule, report: Report) -> Leftovers:
    nemesis = Nemesis(stack, schedule, random.Random(stack.setup.seed))
    try:
        await stack.publish()
        await nemesis.run(seconds)
        return await stack.quiet()
    finally:
        children = stack.children
        report.faults = [
            (fault.kind, fault.recovered - fault.at)
            for fault in nemesis.injected
            if fault.recovered is not None
        ]
        report.ends = [f"{end.name} ended with {end.code}" for end in children.by_themselves]
        report.silent = sum(end.silent for end in children.ends)
