"""No answer, at any entry point, shows one agent what another has, and nothing of it changes."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from random import Random
from typing import Final

import pytest

from sessions.models import Event, EventType
from tests.security.cases import Call
from tests.security.differ import ROLES, Leak, Tally, Twins, opened_twins, try_batch
from tests.security.races import try_changing_hands, try_during_turns

Roles = tuple[str, str]

# Cases upon one set of keys.
BATCH: Final = 480
# `make test` tries the quick number with one pair of agents, `make test-security` the whole one
# with each pair in each of so many rounds.
QUICK: Final = 200
WHOLE: Final = 2000
ROUNDS: Final = 4


def seeded(request: pytest.FixtureRequest) -> Random:
    """Random numbers of this test; the seed is printed, and given by DOORS_SEED again."""
    seed = int(os.environ.get("DOORS_SEED", "0")) or Random().randrange(1, 1 << 30)
    print(f"DOORS_SEED={seed} repeats {request.node.name}")
    return Random(f"{seed} {request.node.name}")


async def within_twins(
    folder: Path,
    redis_url: str,
    rng: Random,
    roles: Roles,
    tries: Callable[[Twins], Awaitable[None]],
) -> Tally:
    """Try something in two new worlds; raises the first Leak, not in a group of others."""
    tally, leaks = Tally(), list[Leak]()
    try:
        async with opened_twins(folder, redis_url, rng, roles, tally) as twins:
            await tries(twins)
    except* Leak as group:
        leaks = [*_flat(group)]
    if leaks:
        raise leaks[0] from None
    return tally


def _flat(group: BaseExceptionGroup[Leak]) -> Iterator[Leak]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _flat(error)
        else:
            yield error


def trying(count: int) -> Callable[[Twins], Awaitable[None]]:
    """So many cases, a part of them races."""

    async def tries(twins: Twins) -> None:
        serial = itertools.count()
        races = count // 10
        await try_during_turns(twins, "t", races // 2, serial)
        await try_changing_hands(twins, "h", races - races // 2)
        for start in range(races, count, BATCH):
            await try_batch(twins, f"b{start}", min(BATCH, count - start), serial)

    return tries


@pytest.mark.parametrize("roles", ROLES[:1], ids="-".join)
async def test_answers_do_not_depend_on_what_another_agent_has(
    tmp_path: Path, redis_url: str, roles: Roles, request: pytest.FixtureRequest
):
    tally = await within_twins(tmp_path, redis_url, seeded(request), roles, trying(QUICK))
    tally.report(request.node)
    assert tally.cases >= QUICK


@pytest.mark.security
@pytest.mark.timeout(900)
@pytest.mark.parametrize("turn", range(ROUNDS))
@pytest.mark.parametrize("roles", ROLES, ids="-".join)
async def test_nor_do_they_in_many_more_cases(
    tmp_path: Path, redis_url: str, roles: Roles, turn: int, request: pytest.FixtureRequest
):
    tally = await within_twins(tmp_path, redis_url, seeded(request), roles, trying(WHOLE))
    tally.report(request.node)
    assert tally.cases >= WHOLE
    assert tally.chats >= WHOLE // 15
    assert tally.races >= WHOLE // 30


async def test_what_was_deleted_tells_the_next_owner_of_its_key_nothing(
    tmp_path: Path, redis_url: str
):
    """Ids of a deleted session are known to the session that another agent makes in its place."""

    async def tries(twins: Twins) -> None:
        one, _ = twins.worlds
        said = Event("old", EventType.APPEND, "key", role="user", content="x", agent="anna")
        await one.publish([said, Event("gone", EventType.DELETE, "key", agent="anna")])
        made = {"id": "new", "type": "context", "session": "key"}
        late = {"id": "late", "type": "rename", "session": "key", "name": "n", "turn": "old"}
        body = json.dumps({"events": [made, late]})
        await twins.both(Call("new owner", "bert", "POST", "/api/events", {}, body, ("outcome",)))
        await twins.both(Call("outcome", "bert", "GET", "/api/outcomes/old"))

    await within_twins(tmp_path, redis_url, Random(1), ("anna", "bert"), tries)
