"""Each planted bug is found by the check that is meant for it, and without it nothing is found."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest

import worker.app
from harness.waiting import wait_until
from proof.checker import Fault, check
from proof.evidence import Leftovers, read_store
from proof.history import Operation, OperationStatus, PublishedHistory, Step
from proof.job import Job, JobKind
from proof.mutants import MUTANTS
from proof.summary import FinishedJob
from proof.volatile import order_power_cut, power_on, watch
from sessions import wire
from sessions.errors import Fenced
from sessions.models import STREAM_START, Entry
from sessions.process.settings import Settings
from sessions.store.backend import SessionBackend
from sessions.store.factory import make_session_backend
from sessions.stream.redis import connect
from sessions.stream.turns import TurnStream
from tests import events
from worker.upkeep import Upkeep

USER, REPLY = events.user("u1"), events.reply("a1", turn="u1")
TALK: Final = tuple(events.user(f"u{number}") for number in range(50))


@contextmanager
def activated(name: str | None) -> Iterator[None]:
    """The planted bug within the block; no name plants nothing."""
    modules = [module for key, module in sys.modules.items() if key.startswith(("sess", "work"))]
    before = [(module, dict(vars(module))) for module in modules]
    try:
        if name is not None:
            MUTANTS[name].activate()
        yield
    finally:
        for module, names in before:
            vars(module).update(names)


class MutantStore:
    """A store of one backend, a stream beside it, and what publishers were told."""

    def __init__(self, folder: Path, backend: str) -> None:
        self.folder = folder
        self.workspace = folder / "w"
        self.backend = backend
        self.stream = events.EntrySequence()
        self.steps: list[Step] = []
        self.entries: Counter[str] = Counter()

    def said(self, *fields: events.Fields, poison: str | None = None) -> list[Entry]:
        """Entries of events that were confirmed."""
        self.steps += [Step({k: str(v) for k, v in one.items()}, poison) for one in fields]
        return self.again(*fields)

    def again(self, *fields: events.Fields) -> list[Entry]:
        """Entries of a retry, whose first answer got lost."""
        self.entries.update(str(one["id"]) for one in fields)
        return [self.stream.entry(one) for one in fields]

    async def apply(self, *batches: Sequence[Entry]) -> None:
        """Apply the batches as one worker, from its start to its end."""
        async with self.opened() as backend:
            await self.lead(backend)
            for batch in batches:
                await backend.apply(batch)
            await backend.release()

    def opened(self) -> SessionBackend:
        return make_session_backend(self.workspace, self.backend, mode="write")

    async def lead(self, backend: SessionBackend) -> None:
        await backend.acquire("worker", seen=None)
        if (await backend.cursor()).epoch == 0:
            await backend.begin_epoch(skipped=0)

    def found(self) -> set[Fault]:
        """What the checker finds."""
        told = PublishedHistory(
            {"s": [Operation(step, OperationStatus.ACCEPTED) for step in self.steps]}
        )
        left = Leftovers(self.entries.total(), True, self.entries)
        judgement = check(told, read_store(self.workspace, self.backend), left)
        return {*judgement.counts}


# -- what brings each of them to light ---------------------------------------------------------


async def retry(place: MutantStore, stream: TurnStream) -> None:
    await place.apply(place.said(USER, REPLY), place.again(USER))


async def conflict(place: MutantStore, stream: TurnStream) -> None:
    await place.apply(place.said(USER), place.said(events.rename("u1", "conflict")))


async def rollback_of_one_of_two_alike(place: MutantStore, stream: TurnStream) -> None:
    talk = (USER, events.user("u2"), events.rollback("r", target="u1"))
    await place.apply(place.said(*talk))


async def deletion(place: MutantStore, stream: TurnStream) -> None:
    await place.apply(place.said(USER), place.said(events.delete("d")))


async def poison(place: MutantStore, stream: TurnStream) -> None:
    sick = place.said(events.poison("p"), poison="unknown_type")
    await place.apply([*place.said(USER), *sick])


async def two_writers(place: MutantStore, stream: TurnStream) -> None:
    first, later = place.said(USER), place.again(USER)
    async with place.opened() as late, place.opened() as leader:
        await place.lead(late)
        await place.lead(leader)
        await leader.apply([*first, *later])
        try:
            await late.apply([*first, *later])
        except Fenced:
            return


async def crash_between_file_and_index(place: MutantStore, stream: TurnStream) -> None:
    await place.apply(place.said(USER))
    [file] = (place.workspace / "sessions").glob("*.jsonl")
    with file.open("ab") as tail:
        tail.write(file.read_bytes().replace(b"u1", b"u2"))
    await place.apply(place.said(events.user("u2")))


async def power_cut(place: MutantStore, stream: TurnStream) -> None:
    power_on(place.folder, place.workspace / "sessions")
    watch(place.folder)
    await place.apply(place.said(USER, REPLY))
    order_power_cut(place.folder)
    power_on(place.folder, place.workspace / "sessions")


async def kill_before_the_commit(place: MutantStore, stream: TurnStream) -> None:
    """The worker is killed once the stream is shorter, or as soon as it would commit."""
    await published(place, stream, TALK)
    committing = asyncio.Event()

    async def commit(*_: object, **__: object) -> None:
        committing.set()
        await asyncio.Event().wait()

    backend: Any = SimpleNamespace(apply=commit)
    batches = worker.app.Batches(backend, stream, upkeep=Upkeep(backend, stream, ttl_hours=0))
    batch = await stream.read(STREAM_START, count=100, size=2**20)
    killed = asyncio.create_task(batches.apply(batch))
    await wait_until(lambda: _is_shorter(stream, len(batch), committing))
    killed.cancel()
    await asyncio.wait([killed])
    await place.apply(await stream.read(STREAM_START, count=100, size=2**20))


async def _is_shorter(stream: TurnStream, length: int, committing: asyncio.Event) -> bool:
    return committing.is_set() or (await stream.facts()).length < length


async def backlog(place: MutantStore, stream: TurnStream) -> None:
    await published(place, stream, TALK)
    await place.apply(await stream.read(STREAM_START, count=100, size=2**20))


async def published(place: MutantStore, stream: TurnStream, said: Sequence[events.Fields]) -> None:
    place.said(*said)
    await stream.publish([wire.parse({k: str(v) for k, v in one.items()}) for one in said])


SCENES: Final[dict[str, Callable[[MutantStore, TurnStream], Awaitable[None]]]] = {
    "ack-before-commit": kill_before_the_commit,
    "trim-by-length": backlog,
    "dedupe-by-place": retry,
    "content-rollback": rollback_of_one_of_two_alike,
    "no-fence": two_writers,
    "or-ignore": conflict,
    "dedupe-lost-at-delete": deletion,
    "whole-batch-poison": poison,
    "torn-tail-kept": crash_between_file_and_index,
    "index-before-sync": power_cut,
}


@pytest.fixture(autouse=True)
def _real_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the disk that forgets puts in the place of these calls goes with the test."""
    for name in ("open", "close", "pwrite", "write", "ftruncate", "fdatasync", "fsync"):
        monkeypatch.setattr(os, name, getattr(os, name))


async def play(name: str, folder: Path, settings: Settings, *, planted: bool) -> set[Fault]:
    """What the checker finds after the scene of that bug."""
    place, url = MutantStore(folder, MUTANTS[name].backend), settings.redis_url
    assert url is not None
    with activated(name if planted else None):
        async with aclosing(connect(url)) as redis:
            prefix = settings.turnstream.prefix
            await SCENES[name](place, worker.app.TurnStream(redis, url=url, prefix=prefix))
    return place.found()


@pytest.mark.usefixtures("stream")
@pytest.mark.parametrize("name", MUTANTS)
async def test_the_check_that_is_meant_for_a_planted_bug_finds_it(
    name: str, tmp_path: Path, settings: Settings
) -> None:
    assert MUTANTS[name].fault in await play(name, tmp_path, settings, planted=True)


@pytest.mark.usefixtures("stream")
@pytest.mark.parametrize("name", MUTANTS)
async def test_the_same_without_the_bug_breaks_no_promise(
    name: str, tmp_path: Path, settings: Settings
) -> None:
    assert await play(name, tmp_path, settings, planted=False) == set()


@pytest.mark.endurance
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", MUTANTS)
async def test_a_run_finds_a_planted_bug_as_what_it_is(name: str, tmp_path: Path) -> None:
    mutant = MUTANTS[name]
    job = Job(
        JobKind.PLANTED, mutant.backend, "plants", str(tmp_path / "run"), mutant.seconds, what=name
    )
    finished = FinishedJob(job, await job.run_apart())
    assert finished.caught, finished.line()
