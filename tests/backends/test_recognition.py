"""A lost index and the stream that is still there: nothing twice, and nothing newer erased."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from cli.stores.upkeep import check_store
from sessions.errors import Fenced
from sessions.models import Entry, StreamId
from sessions.store.backend import SessionBackend
from sessions.store.jsonl.backend import JsonlBackend
from sessions.store.jsonl.rebuild import rebuild_index
from tests.backends.test_rebuild import jsonl, listed, lose_index
from tests.events import (
    EntrySequence,
    Fields,
    context,
    delete,
    hand_over,
    owner,
    rename,
    reply,
    reset,
    rollback,
    state,
    user,
)
from tests.stores import Clock, lead
from worker.recognition import recognise

KEYS = ("a", "b", "A", "telegram/42")
# Entries that are read at a time, so that what belongs together is read apart.
_BATCH = 7


def random_history(dice: random.Random) -> list[Fields]:
    """A history in which much is taken back, sent again and sent too late."""
    events: list[Fields] = []
    for number in range(dice.randint(1, 60)):
        one, text = f"e{number}", f"kettle {number}"
        before = f"e{dice.randrange(number + 1)}"
        opened = [one["id"] for one in events if one.get("role") == "user"]
        turn = dice.choice([*opened[-5:], "unknown"])
        sides = {"session": dice.choice(KEYS), **dice.choice(({}, {}, {"agent": "anna"}))}
        made: list[Fields] = [
            *[user(one, text, **sides)] * 6,
            *[reply(one, text, turn=str(turn), **sides)] * 3,
            rollback(one, target=before, close_with="closed", **sides),
            rollback(one, target=f"e{number + 2}", **sides),
            rollback(one, expect=f"kettle {number - 1}", **sides),
            rename(one, text, **sides),
            state(one, "running", **sides),
            context(one, room=text, **sides),
            reset(one, **sides),
            delete(one, **sides),
            owner(one, "anna", session=sides["session"]),
            hand_over(one, "bert", "anna"),
        ]
        # A producer that got no answer sends the same again.
        events.append(dice.choice(events) if events and dice.random() < 0.1 else dice.choice(made))
    return events


async def apply_all(backend: SessionBackend, entries: list[Entry]) -> None:
    for start in range(0, len(entries), _BATCH):
        await backend.apply(entries[start : start + _BATCH])


async def rebuilt(workspace: Path, clock: Clock, retained: list[Entry]) -> None:
    """Lose the index, rebuild it, and let a worker read what the stream still has."""

    async def read(place: StreamId) -> list[Entry]:
        return [entry for entry in retained if entry.raw.stream_id > place][:_BATCH]

    lose_index(workspace, "gone")
    await rebuild_index(workspace)
    async with JsonlBackend(workspace, mode="write", clock=clock) as backend:
        await backend.acquire("worker", seen=None)
        await recognise(backend, read)
        await backend.begin_epoch(skipped=0)
        await apply_all(backend, retained)


async def compare(workspace: Path, seed: int) -> None:
    """One random history, of which a part was applied when the index was lost."""
    dice, clock, stream = random.Random(seed), Clock(), EntrySequence()
    entries = [stream.entry(fields) for fields in random_history(dice)]
    applied = dice.randint(0, len(entries))
    async with JsonlBackend(workspace, mode="write", clock=clock) as backend:
        await lead(backend, clock)
        await apply_all(backend, entries[:applied])
    before = await listed(workspace, clock)
    # What it would be had nothing been lost.
    shutil.copytree(workspace, workspace / "copy")
    async with JsonlBackend(workspace / "copy", mode="write", clock=clock) as backend:
        await lead(backend, clock)
        await apply_all(backend, entries[applied:])
    after = await listed(workspace / "copy", clock)
    shutil.rmtree(workspace / "copy")
    if not before:
        return
    await rebuilt(workspace, clock, entries)
    found = await listed(workspace, clock)
    assert {key: texts_of(facts) for key, facts in found.items()} == {
        key: texts_of(facts) for key, facts in after.items()
    }
    for key, (*facts, messages) in before.items():
        # Without a message nothing proves when a session began.
        if messages and applied == len(entries):
            assert found[key][:5] == (*facts[:5],), key
    assert check_store(jsonl(workspace)).sound


def texts_of(facts: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """The messages of a session, whatever their numbers are."""
    return [message[1:] for message in facts[-1]]


async def test_twelve_random_histories_end_as_if_the_index_had_not_been_lost(tmp_path: Path):
    for seed in range(12):
        await compare(tmp_path / str(seed), seed)


async def test_a_leader_that_was_replaced_recalls_nothing(tmp_path: Path):
    async with JsonlBackend(tmp_path, mode="write", clock=Clock()) as backend:
        await backend.acquire("one", seen=None)
        async with JsonlBackend(tmp_path, mode="write", clock=Clock()) as other:
            await other.acquire("two", seen=None)
        for recalling in (backend.shown([]), backend.recall([], ended={})):
            with pytest.raises(Fenced):
                await recalling


@pytest.mark.endurance
@pytest.mark.timeout(1800)
async def test_a_thousand_random_histories_end_as_if_it_had_not_been_lost(tmp_path: Path):
    for seed in range(12, 1012):
        await compare(tmp_path / str(seed), seed)
        shutil.rmtree(tmp_path / str(seed), ignore_errors=True)


async def test_an_id_that_comes_again_proves_nothing_of_what_stands_before_it(tmp_path: Path):
    clock, stream = Clock(), EntrySequence()
    entries = [stream.entry(fields) for fields in (user("e1"), user("e2"), user("e1"))]
    async with JsonlBackend(tmp_path, mode="write", clock=clock) as backend:
        await lead(backend, clock)
        await apply_all(backend, entries[:1])
    await rebuilt(tmp_path, clock, entries)
    [facts] = (await listed(tmp_path, clock)).values()
    assert [one[1] for one in facts[-1]] == ["e1", "e2"]


async def test_what_is_left_of_a_trimmed_stream_erases_nothing_that_is_newer(tmp_path: Path):
    clock, stream = Clock(), EntrySequence()
    history = [user("e1"), reset("e2"), user("e3"), rename("e4", "n"), delete("e5"), user("e6")]
    entries = [stream.entry(fields) for fields in history]
    for start in range(len(entries)):
        workspace = tmp_path / str(start)
        async with JsonlBackend(workspace, mode="write", clock=clock) as backend:
            await lead(backend, clock)
            await apply_all(backend, entries)
        await rebuilt(workspace, clock, entries[start:])
        [facts] = (await listed(workspace, clock)).values()
        assert [one[1] for one in facts[-1]] == ["e6"]
