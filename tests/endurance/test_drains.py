"""A backlog of every kind of event is drained at full speed, through one accident after another."""

from __future__ import annotations

import random
import resource
import signal
from collections.abc import Iterator
from contextlib import closing
from typing import Any, Final

import pytest

from harness.program import Program
from harness.system import SystemUnderTest
from harness.waiting import wait_until
from proof.model.backend import ModelBackend
from proof.model.rules import Model
from sessions.models import STREAM_START, Event, EventType
from sessions.store.backend import SessionReader
from sessions.store.sqlite.library import sqlite3

EVENTS: Final = 40_000
SESSIONS: Final = 60
# Entries applied between two accidents, at most: some batches of full size.
BETWEEN: Final = 4_000
# Bytes that a file may have on the disk that is full.
FULL: Final = 10_000

pytestmark = [pytest.mark.endurance, pytest.mark.timeout(300)]


@pytest.mark.parametrize("seed", range(3))
async def test_a_drain_through_kills_locks_and_full_disks_gives_what_the_model_gives(
    system: SystemUnderTest, seed: int
) -> None:
    chance = random.Random(seed)
    events = [*backlog(chance)]
    for start in range(0, len(events), 200):
        await system.stream.publish(events[start : start + 200])
    wanted = await of_the_model(system, events)
    worker = await system.worker()
    store = await system.store()
    applied = 0
    while (applied := applied + chance.randint(1, BETWEEN)) < len(events):
        await wait_until(lambda: _is_applied(store, applied))
        accident = chance.choice((killed, locked_out, out_of_space))
        worker = await accident(system, worker)
    await wait_until(lambda: _is_applied(store, len(events)))
    assert await shown(store, events) == wanted


async def killed(system: SystemUnderTest, worker: Program) -> Program:
    """The worker ends in the middle of a batch, and another one goes on."""
    await worker.stop(signal.SIGKILL)
    return await system.worker()


async def locked_out(system: SystemUnderTest, worker: Program) -> Program:
    """Somebody's shell holds the store until the worker complains."""
    name = "turnstream.db" if system.backend == "sqlite" else "index.db"
    complaints = worker.log.count("waiting:")
    with closing(sqlite3.connect(system.workspace / "sessions" / name, timeout=10)) as shell:
        shell.execute("BEGIN IMMEDIATE")
        await wait_until(lambda: worker.log.count("waiting:") > complaints)
    return worker


async def out_of_space(system: SystemUnderTest, worker: Program) -> Program:
    """The disk is full until the worker complains."""
    complaints = worker.log.count("waiting:")
    worker.limit_file_size(FULL)
    await wait_until(lambda: worker.log.count("waiting:") > complaints)
    worker.limit_file_size(resource.RLIM_INFINITY)
    return worker


def backlog(chance: random.Random) -> Iterator[Event]:
    """Turns of many sessions, with everything that may come between them."""
    said: list[Event] = []
    for number in range(EVENTS):
        key = f"s{chance.randrange(SESSIONS)}"
        role = chance.choice(("user", "assistant"))
        state = chance.choice((None, None, "running")) if role == "user" else None
        turn = Event(f"e{number}", EventType.APPEND, key, role, f"turn {number}", state=state)
        kind = chance.random()
        if not said or kind < 0.9:
            said = [*said[-2000:], turn]
            yield turn
        elif kind < 0.94:
            yield chance.choice(said)
        elif kind < 0.95:
            yield chance.choice(said)._replace(content="something else")
        elif kind < 0.98:
            target = chance.choice(said[-100:])
            closing_words = chance.choice((None, "closed"))
            yield Event(
                f"r{number}",
                EventType.ROLLBACK,
                target.session,
                target=target.id,
                close_with=closing_words,
            )
        elif kind < 0.99:
            yield Event(f"n{number}", EventType.RENAME, key, name=f"name {number}")
        else:
            yield Event(f"x{number}", chance.choice((EventType.RESET, EventType.DELETE)), key)


async def of_the_model(system: SystemUnderTest, events: list[Event]) -> dict[str, Any]:
    """What is right: the stream, applied to the model without any accident."""
    async with ModelBackend(Model(), mode="write") as model:
        await model.acquire("model", seen=None)
        await model.begin_epoch(skipped=0)
        place = STREAM_START
        while entries := await system.stream.read(place, count=1000, size=2**30):
            await model.apply(entries)
            place = entries[-1].raw.stream_id
        return await shown(model, events)


async def shown(store: SessionReader, events: list[Event]) -> dict[str, Any]:
    """Everything about these events and their sessions but the times."""
    found: dict[str, Any] = {"counts": await store.counts()}
    for key in sorted({event.session for event in events}):
        session = await store.session(key)
        facts = session and (session.generation, session.name, session.state, session.turn)
        found[f"session {key}"] = facts
        messages = (await store.history(key, limit=1000)).items
        found[f"messages {key}"] = [(m.seq, m.id, m.role, m.content, m.turn) for m in messages]
    for event_id in sorted({event.id for event in events}):
        outcome = await store.outcome(event_id)
        assert outcome is not None
        found[event_id] = (outcome.outcome, outcome.reason, outcome.session, outcome.duplicates)
    return found


async def _is_applied(store: SessionReader, number: int) -> bool:
    return (await store.cursor()).resolved >= number
