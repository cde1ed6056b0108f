"""One run of one stack, from an empty workspace to a judgement."""

from __future__ import annotations

import random
import time

from harness.waiting import Stuck
from proof.checker import check
from proof.evidence import Leftovers, read_store
from proof.history import read_histories
from proof.nemesis import Nemesis, Schedule
from proof.report import RunReport
from proof.stack import Stack, StackSetup


async def chaos(setup: StackSetup, seconds: float, schedule: Schedule) -> RunReport:
    """Publish and inject for so long, heal, and judge what is left."""
    report = RunReport(setup.backend, setup.seed)
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


async def _inject(stack: Stack, seconds: float, schedule: Schedule, report: RunReport) -> Leftovers:
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
