"""One caller cannot starve another: under each attack the other one is answered, and in time."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pytest

from harness.services import free_port
from harness.waiting import wait_until
from tests.security.attacks import ATTACKS
from tests.security.neighbour import Neighbour, Timed
from tests.security.system import Installation, running

# Writes with a read right after each, under one attack: with ten attacks 10,000 reads.
PAIRS: Final = 1000
MIB: Final = 1024 * 1024
# Seconds in which the memory has to be back.
BACK: Final = 60.0


@asynccontextmanager
async def attacked(
    name: str, system: Installation, model_port: int
) -> AsyncIterator[dict[str, int]]:
    """The attack goes on within the block; afterwards, what the attacker was answered."""
    argv = ["-m", "tests.security.attacks", name, system.url, system.tokens["mallory"]]
    found: dict[str, int] = {}
    attacker = await asyncio.create_subprocess_exec(
        sys.executable, *argv, str(model_port), stdout=PIPE, stderr=DEVNULL
    )
    try:
        yield found
    finally:
        attacker.terminate()
        async with asyncio.timeout(30):
            out, _ = await attacker.communicate()
        found |= json.loads(out or b"{}")


@pytest.mark.security
@pytest.mark.alone
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ATTACKS)
async def test_another_agent_is_answered_in_time_during(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
):
    port = free_port()
    with running(tmp_path, f"http://127.0.0.1:{port}/v1") as system:
        neighbour = Neighbour(system.url, system.tokens["anna"])
        idle = await neighbour.work(PAIRS // 2)
        rest = system.memory()
        system.begin()
        watching = asyncio.create_task(system.watch())
        async with attacked(name, system, port) as answers:
            under = await neighbour.work(PAIRS)
        last = await _settled(system, rest)
        watching.cancel()
        await neighbour.close()
    sizes = {"idle": rest, "peak": system.peak, "afterwards": last}
    peak = ", ".join(f"{name} {size / MIB:.0f} MiB" for name, size in sizes.items())
    found = f"{name}\n  idle: {idle}\n  then: {under}\n  {peak}, the attacker: {answers}"
    request.node.user_properties.append(("attack", found))
    _check(idle, under, system, answers)
    assert system.peak <= rest + 150 * MIB
    assert last <= rest * 1.2


async def _settled(system: Installation, rest: int) -> int:
    """The memory once it is back, or when the time for that is over."""
    with suppress(AssertionError):
        await wait_until(lambda: 0 < system.memory() <= rest * 1.2, within=BACK)
    return system.memory()


def _check(idle: Timed, under: Timed, system: Installation, answers: dict[str, Any]) -> None:
    assert len(system.webs) == 1, "the web process was started again"
    assert under.statuses.total() >= 2 * PAIRS
    assert under.answered >= 0.99
    assert under.percentile(0.99) <= max(0.1, 5 * idle.percentile(0.99))
    assert under.reads[200] >= 0.99 * under.reads.total()
    assert under.stale == []
    assert "no answer" not in answers
