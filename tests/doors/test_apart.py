"""No answer, at any door, shows one agent what another one has, and nothing of it changes."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from random import Random

from tests.doors.differ import ROLES, Leak, Tally, opened_twins, try_batch

BATCH = 480


async def try_cases(folder: Path, redis_url: str, seed: int, count: int) -> Tally:
    """So many cases, spread over the roles; raises Leak for the first that shows anything."""
    tally, leaks = Tally(), list[Leak]()
    try:
        await _try_cases(folder, redis_url, seed, count, tally)
    except* Leak as group:
        leaks = [*_leaks(group)]
    if leaks:
        raise leaks[0] from None
    return tally


def _leaks(group: BaseExceptionGroup[Leak]) -> Iterator[Leak]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaks(error)
        else:
            yield error


async def _try_cases(folder: Path, redis_url: str, seed: int, count: int, tally: Tally) -> None:
    share = -(-count // len(ROLES))
    async with asyncio.TaskGroup() as group:
        for turn, roles in enumerate(ROLES):
            rng = Random(seed * 100 + turn)
            place = folder / f"{turn}"
            group.create_task(_try_roles(place, redis_url, rng, roles, share, tally))


async def _try_roles(
    folder: Path, redis_url: str, rng: Random, roles: tuple[str, str], count: int, tally: Tally
) -> None:
    serial = itertools.count()
    async with opened_twins(folder, redis_url, rng, roles, tally) as twins:
        for start in range(0, count, BATCH):
            await try_batch(twins, f"b{start}", min(BATCH, count - start), serial)


async def test_answers_do_not_depend_on_what_another_agent_has(tmp_path: Path, redis_url: str):
    seed = int(os.environ.get("DOORS_SEED", "0")) or Random().randrange(1, 1 << 30)
    print(f"seed {seed}: DOORS_SEED={seed} repeats it")
    tally = await try_cases(tmp_path, redis_url, seed, 2000)
    print(tally)
    assert tally.cases >= 2000
