"""Where the worker cuts its batches changes nothing that anybody can see."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sessions.errors import StreamUnavailable
from sessions.models import Entry
from sessions.store.backend import SessionBackend
from tests.events import EntrySequence, Fields, reply, user
from tests.scripts import KEYS, WORDS, scripts
from tests.stores import MAKERS, Clock, LeadingBackend, lead, telling
from tests.visible import visible

NewPlace = Callable[[], Path]


@pytest.fixture
def new_place(tmp_path: Path) -> NewPlace:
    """Gives a new directory each time that it is asked."""
    numbers = count()
    return lambda: tmp_path / str(next(numbers))


def examples(number: int) -> settings:
    """Settings for so many examples, each of which opens stores of its own."""
    return settings(
        max_examples=number,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


async def shown(opened: SessionBackend, script: list[Fields]) -> Any:
    """Everything that is visible of what a script may have done."""
    ids = {str(fields["id"]) for fields in script}
    return await visible(opened, keys=KEYS, ids=ids, words=filter(None, WORDS))


async def outcome_of_script(backend: str, place: Path, script: list[Fields], size: int) -> Any:
    """What is visible after the script was applied in batches of that size."""
    clock = Clock()
    async with MAKERS[backend](place, clock)("write") as opened:
        store = await lead(opened, clock, EntrySequence())
        for start in range(0, len(script), size):
            await store.apply(*script[start : start + size])
        return await shown(opened, script)


@pytest.mark.parametrize("backend", MAKERS)
@examples(15)
@given(script=scripts())
async def test_batches_of_one_of_three_and_of_all_give_the_same(
    backend: str, new_place: NewPlace, script: list[Fields]
) -> None:
    one, three, whole = [
        await outcome_of_script(backend, new_place(), script, size) for size in (1, 3, len(script))
    ]
    assert one == three
    assert three == whole


# What a leader is told of the batch that follows, and what is done before that comes.
TOLD = ("nothing", "what follows", "something else")
BETWEEN = ("nothing", "renew", "tidy", "begin an epoch", "expire")


async def do(store: LeadingBackend, what: str) -> None:
    """What a leader does between two batches."""
    if what == "renew":
        await store.backend.renew()
    elif what == "tidy":
        await store.backend.tidy()
    elif what == "begin an epoch":
        await store.backend.begin_epoch(skipped=0)
    elif what == "expire":
        await store.backend.expire_sessions(older_than=store.clock.now + 1, limit=10)


async def outcome_of_course(
    backend: str, place: Path, script: list[Fields], course: Sequence[tuple[str, str]]
) -> Any:
    """What is visible after the script was applied in batches of three, in that course."""
    clock, stream = Clock(), EntrySequence()
    async with MAKERS[backend](place, clock)("write") as opened:
        store = await lead(opened, clock, stream)
        entries = [stream.entry(fields) for fields in script]
        batches = [entries[start : start + 3] for start in range(0, len(entries), 3)]
        behind = [*batches[1:], entries[-2:]]
        for batch, next_batch, (told, between) in zip(batches, behind, course, strict=False):
            following = telling(next_batch if told == "what follows" else entries[-2:])
            await opened.apply(batch, following=None if told == "nothing" else following)
            await do(store, between)
        return await shown(opened, script)


@pytest.mark.parametrize("backend", MAKERS)
@examples(25)
@given(
    script=scripts(),
    course=st.lists(st.tuples(st.sampled_from(TOLD), st.sampled_from(BETWEEN)), min_size=1),
)
async def test_looking_at_the_batch_that_follows_changes_nothing(
    backend: str, new_place: NewPlace, script: list[Fields], course: list[tuple[str, str]]
) -> None:
    course *= len(script)
    plainly = [("nothing", between) for _, between in course]
    ahead, plain = [
        await outcome_of_course(backend, new_place(), script, some) for some in (course, plainly)
    ]
    assert ahead == plain


async def test_a_batch_that_cannot_be_read_in_advance_harms_none(store: LeadingBackend) -> None:
    async def away() -> Sequence[Entry]:
        raise StreamUnavailable("Redis is away")

    batches = [[store.stream.entry(user(f"u{n}"))] for n in range(2)]
    for batch in batches:
        await store.backend.apply(batch, following=away)
    assert await store.texts() == ["hello", "hello"]


async def test_what_was_decided_in_advance_is_decided_again_if_the_batch_before_was_cancelled(
    store: LeadingBackend,
) -> None:
    first = [store.stream.entry(user(f"u{n}")) for n in range(300)]
    second = [store.stream.entry(reply(f"a{n}", turn=f"u{n}")) for n in range(300)]
    asked = asyncio.Event()

    async def following() -> Sequence[Entry]:
        asked.set()
        return second

    applying = asyncio.create_task(store.backend.apply(first, following=following))
    waiting = asyncio.create_task(asked.wait())
    await asyncio.wait([applying, waiting], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    applying.cancel()
    await asyncio.wait([applying])
    for batch in (first, second):
        cursor = await store.backend.apply(batch)
    assert cursor.resolved == 600
    seqs = [message.seq for message in await store.messages()]
    assert seqs == [*range(1, 601)]
