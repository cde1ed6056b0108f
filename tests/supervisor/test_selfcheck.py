"""A web process that is busy is left alone; one that is stuck is replaced. With real processes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.waiting import wait_until
from tests.supervisor.harness import QUICK, Supervision, python, supervised

# A web process on a free port. `HEALTH` is what its health route does first, `WORK` what goes on
# beside it in the same event loop.
WEB = """
import asyncio, os, time
from sessions.web.serving import serve
from sessions.process.settings import GatewaySettings

started = time.monotonic()

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({"type": kind + ".complete"})
            if kind == "lifespan.shutdown":
                return
    HEALTH
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})

async def work():
    turns = 0
    while True:
        await asyncio.sleep(0.01)
        turns += 1
        WORK

async def main():
    beside = asyncio.create_task(work())
    await serve(app, GatewaySettings(port=0), environ=os.environ)

asyncio.run(main())
"""
NOTHING = "pass"
# Two questions fit into it also when each turn of the loop takes half a second.
LIMITS = replace(QUICK, silence=4.0)


def web(*, health: str = NOTHING, work: str = NOTHING) -> str:
    """The script of such a process."""
    return WEB.replace("HEALTH", health).replace("WORK", work)


async def killed(run: Supervision) -> bool:
    """Whether the supervisor has killed it for its silence, after it had been ready."""
    await wait_until(lambda: run.told("made no progress") == 1)
    return run.told("is ready") == 1


async def test_a_loop_whose_turns_take_half_a_second_is_not_killed() -> None:
    """It gets on, if slowly: what it says in its last turn is heard from the first process."""
    busy = web(work="time.sleep(0.5); turns == 24 and print('worked', flush=True)")
    async with supervised(python("web", busy, watched=True), limits=LIMITS) as run:
        await wait_until(lambda: run.told("worked") == 1, within=40)

        assert len(run.pids("web")) == 1
        assert run.told("made no progress") == 0


@pytest.mark.parametrize(
    "stuck",
    [
        {"work": "time.monotonic() > started + 2 and time.sleep(600)"},
        {"health": "if time.monotonic() > started + 2: await asyncio.sleep(600)"},
        {"health": "if time.monotonic() > started + 2: raise RuntimeError('broken')"},
    ],
    ids=["the loop", "the app", "every request"],
)
async def test_a_process_that_does_not_answer_is_killed(stuck: dict[str, str]) -> None:
    """Be it that its event loop stands, that its requests hang, or that they all fail."""
    script = web(**stuck)
    async with supervised(python("web", script, watched=True), limits=LIMITS) as run:
        assert await killed(run)
