"""Accidents of the stream itself: some lose entries by their nature, and all must be noticed.

In each the leader is frozen for a moment, so that it is known what waited. That may be lost, and
nothing else; what comes afterwards is applied as ever.
"""

from __future__ import annotations

import re
import shutil
import signal
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final

from harness.waiting import Stuck
from proof.checker import Fault, Finding, check
from proof.evidence import Leftovers, read_store
from proof.history import read_histories
from proof.report import RunReport
from proof.stack import WORKERS, Stack, StackSetup

# Entries applied before an accident, and again after it.
_SOME: Final = 150
# Entries that wait when it happens, at least.
_WAITING: Final = 20
# Entries that a foreign trimming leaves.
_LEFT: Final = 5


@dataclass(frozen=True)
class Accident:
    """What happens; it gives the ids that may be lost. `notice` must then stand in a log."""

    happen: Callable[[Stack], Awaitable[Iterable[str]]]
    notice: str


async def run_accident(setup: StackSetup, name: str) -> RunReport:
    """Let one accident happen, and judge whether it was noticed and what it cost."""
    accident = ACCIDENTS[name]
    report = RunReport(setup.backend, setup.seed)
    began = time.monotonic()
    try:
        async with Stack.running(setup) as stack:
            await stack.publish()
            await _let_apply(stack)
            happened = time.monotonic()
            lost = await accident.happen(stack)
            await stack.until(
                lambda: _told(setup, accident) is not None, f"a log: {accident.notice}"
            )
            report.faults = [(name, time.monotonic() - happened)]
            await _let_apply(stack)
            _judge(setup, report, set(lost), accident, await stack.quiet())
    except Stuck as error:
        report.fail(error)
    report.seconds = time.monotonic() - began
    return report


def _judge(
    setup: StackSetup, report: RunReport, lost: set[str], accident: Accident, leftovers: Leftovers
) -> None:
    """All sessions that lost nothing must be whole; the count of what vanished must be right."""
    told, stored = read_histories(setup.histories), read_store(setup.workspace, setup.backend)
    hurt = {
        key
        for key, operations in told.sessions.items()
        if any(operation.step.id in lost for operation in operations)
    }
    vanished = leftovers.added - stored.resolved - stored.skipped
    noticed = _told(setup, accident) or 0
    counted = replace(leftovers, added=leftovers.added - noticed, whole=False)
    judgement = check(told, stored, counted, excused=hurt)
    if vanished != noticed:
        text = f"{vanished} entries vanished, the log says {noticed}"
        judgement.findings.append(Finding(Fault.COUNT, text))
    report.judge(judgement)


def _told(setup: StackSetup, accident: Accident) -> int | None:
    """The number in the notice, 0 where it has none; None while no log has it."""
    for name in WORKERS:
        text = (setup.folder / f"{name}.log").read_text()
        if found := re.search(accident.notice, text):
            return int(found["count"]) if "count" in found.groupdict() else 0
    return None


async def _let_apply(stack: Stack) -> None:
    before = stack.store.resolved()
    await stack.until(lambda: stack.store.resolved() > before + _SOME, "turns are applied")


@asynccontextmanager
async def _backlog(stack: Stack) -> AsyncGenerator[None]:
    """A backlog that no worker has seen: they are frozen while they have nothing in hand."""

    async def enough() -> bool:
        return len(await stack.waiting()) > _WAITING

    await stack.pause_publishers()
    for name in WORKERS:
        stack.children.kill(name, signal.SIGSTOP)
    try:
        stack.resume_publishers()
        await stack.until(enough, "turns wait")
        yield
    finally:
        for name in WORKERS:
            stack.children.kill(name, signal.SIGCONT)


# -- accidents ---------------------------------------------------------------------------------


async def _flush(stack: Stack) -> Iterable[str]:
    """FLUSHALL while entries wait."""
    async with _backlog(stack):
        return await stack.stream.empty(stack.applied())


async def _shorten(stack: Stack) -> Iterable[str]:
    """Somebody trims the stream to a length while entries wait."""
    async with _backlog(stack):
        return await stack.stream.shorten(stack.applied(), _LEFT)


async def _restore(stack: Stack) -> Iterable[str]:
    """Redis comes back with its files of a while ago; all that was in it was applied by then."""
    files, copy = stack.redis.directory, stack.setup.folder / "redis-before"
    await stack.pause_publishers()
    shutil.copytree(files, copy)
    stack.resume_publishers()
    await _let_apply(stack)
    await stack.pause_publishers()
    await stack.end_redis()
    shutil.rmtree(files)
    copy.rename(files)
    await stack.start_redis()
    stack.resume_publishers()
    return ()


ACCIDENTS: Final = {
    "FLUSHALL": Accident(_flush, r"stream epoch 2 begins"),
    "foreign trim": Accident(_shorten, r"(?P<count>\d+) stream entries vanished"),
    "older Redis files": Accident(_restore, r"stream epoch 2 begins"),
}
