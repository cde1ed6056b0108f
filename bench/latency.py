"""How long a turn takes from XADD to visible, one at a time and with nothing else going on."""

from __future__ import annotations

import time
from contextlib import aclosing
from pathlib import Path
from statistics import quantiles
from typing import Final

from bench.drain import PREFIX, reached, redis_server, until, worker_process
from sessions import TurnStream, make_session_backend
from sessions.models import Event, EventType
from sessions.stream.redis import connect

_TURNS: Final = 300


async def measure(folder: Path) -> tuple[float, float]:
    """Median and 99th percentile in milliseconds."""
    taken: list[float] = []
    async with (
        redis_server(folder) as url,
        worker_process(folder, url),
        make_session_backend(folder, "sqlite") as store,
        aclosing(connect(url)) as redis,
    ):
        stream = TurnStream(redis, url=url, prefix=PREFIX)
        await until(lambda: reached(store, 0))
        for number in range(_TURNS):
            event = Event(f"e{number}", EventType.APPEND, "s", "user", "hello")
            began = time.perf_counter()
            await stream.publish([event])
            await until(lambda seen=number: reached(store, seen + 1), pause=0)
            taken.append(1000 * (time.perf_counter() - began))
    cuts = quantiles(taken, n=100)
    return cuts[49], cuts[98]
