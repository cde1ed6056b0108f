"""What `make proof` reads out of a store's own files, and out of histories."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from proof.checker import Fault, Judgement, check
from proof.evidence import read_store
from proof.history import HistoryWriter, Step, read_histories
from proof.script import SessionScript
from proof.volatile import JOURNAL, order_power_cut, power_on
from sessions.store.factory import make_session_backend
from tests import events
from tests.stores import Clock, lead


async def published(workspace: Path, backend: str) -> list[Step]:
    """The steps of a scripted session, which a store of that backend has applied."""
    script = SessionScript("a.b", "t", random.Random(3), plain=False)
    steps = [script.next() for _ in range(60)]
    stream = events.EntrySequence()
    async with make_session_backend(workspace, backend, mode="write") as opened:
        leader = await lead(opened, Clock(), stream)
        await leader.apply(*(events.Fields(step.fields) for step in steps))
        await opened.release()
    return steps


def judged(folder: Path, workspace: Path, backend: str, steps: list[Step]) -> Judgement:
    """What the checker says if these steps were confirmed."""
    history = HistoryWriter.create(folder / "publisher.jsonl")
    history.accepted(history.invoke(steps), ["1-1"] * len(steps))
    return check(read_histories(folder), read_store(workspace, backend), None)


@pytest.mark.parametrize("backend", ["sqlite", "jsonl"])
async def test_a_store_is_read_as_it_was_written(tmp_path: Path, backend: str) -> None:
    steps = await published(tmp_path / "w", backend)
    judgement = judged(tmp_path, tmp_path / "w", backend, steps)
    assert judgement.findings == []
    assert judgement.events == len(steps)


async def test_a_line_that_a_session_file_has_too_many_is_seen(tmp_path: Path) -> None:
    steps = await published(tmp_path / "w", "jsonl")
    [file] = (tmp_path / "w" / "sessions").glob("*.jsonl")
    first = file.read_bytes().splitlines(keepends=True)[0]
    file.write_bytes(file.read_bytes() + first)
    found = judged(tmp_path, tmp_path / "w", "jsonl", steps).counts
    assert {Fault.DUPLICATED, Fault.DAMAGE} <= found.keys()


async def test_a_session_file_that_belongs_to_nobody_is_seen(tmp_path: Path) -> None:
    steps = await published(tmp_path / "w", "jsonl")
    (tmp_path / "w" / "sessions" / "stranger.jsonl").write_text("{}\n")
    assert judged(tmp_path, tmp_path / "w", "jsonl", steps).counts == {Fault.DAMAGE: 1}


def test_a_history_that_ends_in_the_middle_of_a_line_counts_up_to_there(tmp_path: Path) -> None:
    history = HistoryWriter.create(tmp_path / "publisher.jsonl")
    history.accepted(history.invoke([Step({"id": "e1", "session": "s"})]), ["1-1"])
    history.invoke([Step({"id": "e2", "session": "s"})])
    with (tmp_path / "publisher.jsonl").open("a") as file:
        file.write(json.dumps({"what": "ok", "ops": [1], "at": ["1-2"]})[:-9])
    told = read_histories(tmp_path)
    assert [operation.known for operation in told.sessions["s"]] == ["ok", "info"]


def test_a_seed_repeats_its_script() -> None:
    first, second = (SessionScript("s", "t", random.Random(7), plain=True) for _ in range(2))
    assert [first.next() for _ in range(50)] == [second.next() for _ in range(50)]


def test_a_power_cut_takes_what_was_not_synced(tmp_path: Path) -> None:
    files = [tmp_path / f"{name}.jsonl" for name in ("synced", "tail", "new")]
    for file in files:
        file.write_bytes(b"0123456789")
    synced, tail, new = (file.stat().st_ino for file in files)
    journal = f"dirty {synced} 4\nsynced {synced} 0\ndirty {tail} 6\ndirty {new} 0\n"
    (tmp_path / JOURNAL).write_text(journal)
    power_on(tmp_path, tmp_path)
    assert [file.stat().st_size for file in files] == [10, 10, 10]
    order_power_cut(tmp_path)
    power_on(tmp_path, tmp_path)
    assert [file.stat().st_size for file in files] == [10, 6, 0]
