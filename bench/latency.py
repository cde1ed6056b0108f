"""How long a turn takes from XADD to visible, one at a time and with nothing else going on."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import quantiles
from typing import Final

from bench.drain import MAXMEMORY, reached
from harness.system import SystemUnderTest
from harness.waiting import wait_until
from sessions.models import Event, EventType

_TURNS: Final = 300


async def measure(folder: Path) -> tuple[float, float]:
    """Median and 99th percentile in milliseconds."""
    taken: list[float] = []
    async with SystemUnderTest.running(folder, maxmemory=MAXMEMORY) as system:
        system.forks = False
        await system.worker()
        store = await system.store()
        for number in range(_TURNS):
            event = Event(f"e{number}", EventType.APPEND, "s", "user", "hello")
            began = time.perf_counter()
            await system.stream.publish([event])
            await wait_until(lambda seen=number: reached(store, seen + 1), pause=0)
            taken.append(1000 * (time.perf_counter() - began))
    cuts = quantiles(taken, n=100)
    return cuts[49], cuts[98]
