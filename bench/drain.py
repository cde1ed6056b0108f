"""How fast the worker drains a backlog, against plainly writing what it wrote."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import baseline
from bench.corpus import CorpusTurn
from harness.system import SystemUnderTest
from harness.waiting import wait_until
from sessions import SessionReader
from sessions.models import Event, EventType
from sessions.stream.turns import TurnStream
from worker.batches import BATCH_COUNT

# Bytes: a whole backlog waits in Redis.
MAXMEMORY: Final = 2 * 1024**3
# Events of one publish call: enough that Redis is not the one who is measured.
_PUBLISH_STEP: Final = 200
# Seconds that a drain may take at most.
_LONGEST: Final = 600.0


@dataclass(frozen=True)
class DrainFigures:
    """Figures of one run. Rows a second, and the worker's highest resident size in MB."""

    turns: int
    worker: float
    plain: float
    worker_mb: float

    @property
    def ratio(self) -> float:
        """The worker's rate as a share of the plain one."""
        return self.worker / self.plain


async def reached(store: SessionReader, resolved: int) -> bool:
    """Whether a worker leads and has applied that many entries."""
    cursor = await store.cursor()
    return cursor.epoch > 0 and cursor.resolved >= resolved


async def measure(turns: list[CorpusTurn], backend: str, folder: Path) -> DrainFigures:
    """Let a backlog gather before a stopped worker, let it go, then write the same plainly."""
    async with SystemUnderTest.running(folder, maxmemory=MAXMEMORY) as system:
        system.forks = False
        system.backend = backend
        worker = await system.worker()
        store = await system.store()
        worker.freeze()
        await publish(turns, system.stream)
        began = time.perf_counter()
        worker.thaw()
        await wait_until(lambda: reached(store, len(turns)), within=_LONGEST)
        took = time.perf_counter() - began
        peak = worker.peak_mb()
    sessions = system.workspace / "sessions"
    if backend == "jsonl":
        rows, plain = baseline.of_files(sessions, folder / "plain", batch=BATCH_COUNT)
    else:
        rows, plain = baseline.of_rows(
            sessions / "turnstream.db", folder / "plain.db", batch=BATCH_COUNT
        )
    return DrainFigures(len(turns), len(turns) / took, rows / plain, peak)


async def publish(turns: Iterable[CorpusTurn], stream: TurnStream) -> None:
    """Put the turns on the stream as fast as it goes."""
    pending: list[Event] = []
    for number, turn in enumerate(turns):
        pending.append(
            Event(
                id=f"bench-{number:08d}",
                type=EventType.APPEND,
                session=turn.session,
                role=turn.role,
                content=turn.content,
            )
        )
        if len(pending) == _PUBLISH_STEP:
            await stream.publish(pending)
            pending.clear()
    if pending:
        await stream.publish(pending)
