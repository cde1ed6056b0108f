"""Where the worker cuts its batches changes nothing that anybody can see."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from tests.events import Fields, Stream
from tests.scripts import KEYS, WORDS, scripts
from tests.stores import MAKERS, Clock, lead
from tests.visible import visible

NewPlace = Callable[[], Path]


@pytest.fixture
def new_place(tmp_path: Path) -> NewPlace:
    """Gives a new directory each time that it is asked."""
    numbers = count()
    return lambda: tmp_path / str(next(numbers))


async def outcome_of_script(backend: str, place: Path, script: list[Fields], size: int) -> Any:
    """What is visible after the script was applied in batches of that size."""
    clock = Clock()
    async with MAKERS[backend](place, clock)("write") as opened:
        store = await lead(opened, clock, Stream())
        for start in range(0, len(script), size):
            await store.apply(*script[start : start + size])
        ids = {str(fields["id"]) for fields in script}
        return await visible(opened, keys=KEYS, ids=ids, words=filter(None, WORDS))


@pytest.mark.parametrize("backend", MAKERS)
@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(script=scripts())
async def test_batches_of_one_of_three_and_of_all_give_the_same(
    backend: str, new_place: NewPlace, script: list[Fields]
) -> None:
    one, three, whole = [
        await outcome_of_script(backend, new_place(), script, size) for size in (1, 3, len(script))
    ]
    assert one == three
    assert three == whole
