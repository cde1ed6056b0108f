"""Heartbeats, sweeps and signals: what keeps a replica's lanes its own and finds the dead ones'."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from ingest.desk import Desk
from ingest.tasks import beside
from sessions.errors import RedisRefused, SessionError
from sessions.stream.lanes import DEAD_AFTER, Watch

log = logging.getLogger(__name__)

# Seconds between two beats: ten of them fit into the time after which silence is death.
BEAT: Final = 1.0
# Seconds between two looks at the others' beats.
LOOK: Final = 0.5


@asynccontextmanager
async def keeping(
    desk: Desk,
    *,
    beat: float = BEAT,
    look: float = LOOK,
    dead_after: float = DEAD_AFTER,
) -> AsyncGenerator[None]:
    """Keep the desk's lanes as long as the context is open. Redis being away interrupts nothing.

    A defect in one of the loops ends the process by SIGTERM: a replica that does not keep its
    lanes must not run turns. So does what Redis refuses for good, which is raised at the end.
    """
    watch = Watch(dead_after)

    async def look_once() -> None:
        try:
            dead = watch.look(await desk.lanes.beats(), ignore=desk.lanes.replica)
            await desk.sweep(dead)
        except RedisRefused as error:
            desk.refuse(error)
        except SessionError:
            watch.forget()
            raise

    loops = {
        "beats of the lanes": _every(beat, desk.beat),
        "sweeps of the lanes": _every(look, look_once),
        "signals of the lanes": _listen(desk),
    }
    async with beside(loops):
        yield


async def _every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    loop = asyncio.get_running_loop()
    failing = False
    while True:
        began = loop.time()
        try:
            await work()
            failing = False
        except RedisRefused:
            raise
        except SessionError as error:
            # Once for each outage.
            log.log(logging.DEBUG if failing else logging.WARNING, "lanes are not kept: %s", error)
            failing = True
        await asyncio.sleep(max(0.0, began + seconds - loop.time()))


async def _listen(desk: Desk) -> None:
    while True:
        try:
            async for hint in desk.lanes.signals():
                if hint is not None:
                    desk.hint(hint.word, hint.lane)
        except RedisRefused as error:
            desk.refuse(error)
        except SessionError as error:
            log.debug("signals are not heard: %s", error)
        await asyncio.sleep(LOOK)
