"""Rebuilding the index of a jsonl store, whatever is left of it."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cli.stores.upkeep import check_store
from harness.system import SystemUnderTest
from harness.waiting import wait_until
from sessions.errors import ConfigError
from sessions.models import Event, EventType
from sessions.process.settings import Settings
from sessions.store.jsonl.backend import JsonlBackend
from sessions.store.jsonl.rebuild import rebuild_index
from sessions.store.sqlite.library import sqlite3
from tests.company import company, outside, settings_file
from tests.events import Fields, context, delete, event, rename, reply, reset, rollback, user
from tests.stores import Clock, lead
from tests.visible import everything, visible

KEYS = ("a", "b", "A", "telegram/42", "x" * 300)
IDS = tuple(f"e{number}" for number in range(60))
WORDS = ("kettle", "tea")


def some_events(dice: random.Random) -> list[Fields]:
    """A short history in which sessions come and go."""
    events: list[Fields] = []
    for number in range(dice.randint(0, 50)):
        key, agent = dice.choice(KEYS), dice.choice(("anna", "bert"))
        text = f"{dice.choice(WORDS)} {number}"
        sides = {"session": key, **dice.choice(({}, {"agent": agent}, {"channel": "tg.1"}))}
        made: list[Fields] = [
            *[user(IDS[number], text, **sides)] * 6,
            reply(IDS[number], text, **sides),
            rename(IDS[number], text, **sides),
            context(IDS[number], room="r", **sides),
            rollback(IDS[number], target=dice.choice(IDS[: number + 1]), **sides),
            reset(IDS[number], **sides),
            delete(IDS[number], **sides),
            event("nonsense", IDS[number]),
        ]
        events.append(dice.choice(made))
    return events


async def make_store(workspace: Path, events: list[Fields], clock: Clock) -> None:
    async with JsonlBackend(workspace, mode="write", clock=clock) as backend:
        leader = await lead(backend, clock)
        for start in range(0, len(events), 7):
            await leader.apply(*events[start : start + 7])


async def seen(workspace: Path, clock: Clock, *, leads: bool = False) -> dict[str, Any]:
    """Everything that a reader sees, after a worker has taken the lead if it `leads`."""
    async with JsonlBackend(workspace, mode="write", clock=clock) as backend:
        if leads:
            await lead(backend, clock)
        return await visible(backend, keys=KEYS, ids=IDS, words=WORDS)


async def listed(workspace: Path, clock: Clock) -> dict[str, tuple[Any, ...]]:
    """The sessions as they outlive the loss of the index, each with its messages."""
    async with JsonlBackend(workspace, mode="write", clock=clock) as backend:
        leader = await lead(backend, clock)
        sessions = await everything(lambda at: backend.sessions(limit=3, cursor=at))
        return {
            one.key: (
                *(one.agent, one.name, one.channel, one.room, one.sender, one.created_at),
                [(m.seq, m.id, m.role, m.content) for m in await leader.messages(one.key)],
            )
            for one in sessions
        }


def jsonl(workspace: Path) -> Settings:
    return Settings.model_validate(
        {"turnstream": {"workspace": str(workspace)}, "channels": {"session_backend": "jsonl"}}
    )


def lose_index(workspace: Path, how: str) -> None:
    """Let the index be gone, or be no database any more."""
    for path in (workspace / "sessions").glob("index.db*"):
        path.unlink()
    if how == "broken":
        (workspace / "sessions" / "index.db").write_bytes(b"no database".ljust(9000, b"\0"))


async def compare(workspace: Path, seed: int) -> None:
    """One random store, rebuilt with its old index and without."""
    dice, clock = random.Random(seed), Clock()
    await make_store(workspace, some_events(dice), clock)
    told, before = await seen(workspace, clock, leads=True), await listed(workspace, clock)
    if not before:
        return
    await rebuild_index(workspace)
    assert await seen(workspace, clock, leads=True) == told
    assert check_store(jsonl(workspace)).sound
    lose_index(workspace, dice.choice(("gone", "broken")))
    rebuilt = await rebuild_index(workspace)
    assert (rebuilt.left, rebuilt.skipped, rebuilt.unowned) == ([], [], [])
    assert await listed(workspace, clock) == before
    assert check_store(jsonl(workspace)).sound


async def test_ten_random_stores_show_the_same_after_it(tmp_path: Path):
    for seed in range(10):
        await compare(tmp_path / str(seed), seed)


@pytest.mark.endurance
@pytest.mark.timeout(1800)
async def test_a_thousand_random_stores_show_the_same_after_it(tmp_path: Path):
    for seed in range(10, 1010):
        await compare(tmp_path / str(seed), seed)
        shutil.rmtree(tmp_path / str(seed))


@pytest.mark.parametrize("count", [*range(1, 20), 33, 1000, 1025])
async def test_any_number_of_messages_can_be_indexed(tmp_path: Path, count: int):
    clock = Clock()
    events = [user(f"m{number}", f"kettle {number}", session="s") for number in range(count)]
    async with JsonlBackend(tmp_path, mode="write", clock=clock) as backend:
        await (await lead(backend, clock)).apply(*events)
    lose_index(tmp_path, "gone")
    assert (await rebuild_index(tmp_path)).messages == count
    async with JsonlBackend(tmp_path, mode="write", clock=clock) as backend:
        leader = await lead(backend, clock)
        assert (await leader.session()).message_count == count
        found = await everything(lambda at: backend.search("kettle", limit=500, cursor=at))
        assert len(found) == count


_CHILD = """
import asyncio, sys
from pathlib import Path
from sessions.store.jsonl.rebuild import rebuild_index
print("ready", flush=True)
asyncio.run(rebuild_index(Path(sys.argv[1])))
print("done", flush=True)
"""


def rebuild_and_die(workspace: Path, seconds: float) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(workspace)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    try:
        child.wait(seconds)
    except subprocess.TimeoutExpired:
        child.send_signal(signal.SIGKILL)
    child.communicate()


@pytest.mark.timeout(120)
async def test_a_rebuild_that_is_killed_leaves_the_old_index_or_the_new_one(tmp_path: Path):
    dice, clock = random.Random(5), Clock()
    events = [
        user(f"m{number}", f"kettle {number}", session=f"s{number % 40}", agent="anna")
        for number in range(400)
    ]
    await make_store(tmp_path, events, clock)
    before = await listed(tmp_path, clock)
    for _ in range(15):
        await asyncio.to_thread(rebuild_and_die, tmp_path, dice.uniform(0, 0.15))
        assert await listed(tmp_path, clock) == before
        assert check_store(jsonl(tmp_path)).sound
    await rebuild_index(tmp_path)
    assert await listed(tmp_path, clock) == before


async def test_who_reads_meanwhile_reads_the_new_index_from_then_on(tmp_path: Path):
    clock = Clock()
    await make_store(tmp_path, [user("e1", "one", session="s")], clock)
    async with JsonlBackend(tmp_path, mode="read", clock=clock) as reader:
        assert len((await reader.history("s")).items) == 1
        await rebuild_index(tmp_path)
        await make_store(tmp_path, [user("e2", "two", session="s")], clock)
        told = [message.content for message in (await reader.history("s")).items]
        assert told == ["one", "two"]


async def verify(system: SystemUnderTest, *, dies: bool) -> int:
    """Run `turnstream verify --rebuild-index`, to its end or half-way; how it ended."""
    process = system.start("cli", "verify", "--rebuild-index")
    if not dies:
        return await process.ended()
    new = system.workspace / "sessions" / "index.db.new"
    await wait_until(lambda: new.exists() or not process.runs)
    return await process.stop(signal.SIGKILL)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("index", ["whole", pytest.param("broken", marks=pytest.mark.endurance)])
async def test_two_chats_and_a_bot_keep_all_they_say_while_the_index_is_rebuilt(
    tmp_path: Path, index: str
):
    async with SystemUnderTest.running(tmp_path) as system, outside() as beyond:
        system.backend = "jsonl"
        config = settings_file(tmp_path, beyond)
        worker = await system.worker(config=config)
        for start in range(0, 3000, 100):
            await system.stream.publish(
                [
                    Event(f"e{number}", EventType.APPEND, f"s{number % 7}", "user", f"{number}")
                    for number in range(start, start + 100)
                ]
            )
        url = await system.web(config=config)
        allowed = frozenset({"STORE_BEHIND", "STORE_UNAVAILABLE"})
        async with company(url, beyond, system.workspace, backend="jsonl", allowed=allowed):
            assert await worker.stop() == 0
            again: list[str] = []
            if index == "broken":
                lose_index(system.workspace, index)
                # Its id is lost with it: what is made of the files is another store.
                again = ["--adopt-stream"]
            ends = [await verify(system, dies=True) for _ in range(4)]
            assert -signal.SIGKILL in ends
            assert await verify(system, dies=False) == 0
            await system.worker(*again, config=config)
        for number in range(7):
            told = [str(each) for each in range(number, 3000, 7)]
            assert await system.texts(f"s{number}") == told
        assert check_store(jsonl(system.workspace)).sound


async def test_what_it_does_not_understand_is_reported_and_left(tmp_path: Path):
    clock = Clock()
    await make_store(tmp_path, [user("e1", "kettle", session="s", agent="anna")], clock)
    folder = tmp_path / "sessions"
    text = (folder / "s.jsonl").read_bytes()
    strange = {
        "notes.jsonl": b'{"note": 1}\n',
        "copy.jsonl": text,
        "deep.jsonl": b"[" * 99_999 + b"\n",
        "binary.jsonl": b"\xff\xfe\n",
    }
    for name, content in strange.items():
        (folder / name).write_bytes(content)
    (folder / "folder.jsonl").mkdir()
    (folder / "link.jsonl").symlink_to(folder / "s.jsonl")
    os.mkfifo(folder / "pipe.jsonl")  # a program that opens it waits for a writer
    with (folder / "s.jsonl").open("ab") as file:
        for line in ({"role": "user"}, {"role": "user", "content": "\ud83d"}, {"id": 7}):
            file.write(json.dumps(line).encode() + b"\n")
        file.write(text)
        file.write(text.replace(b'"session":"s"', b'"session":"t"').replace(b"e1", b"e2"))
    whole = (folder / "s.jsonl").read_bytes()
    rebuilt = await rebuild_index(tmp_path)
    assert rebuilt.skipped == [f"s.jsonl:{number}" for number in (2, 3, 4, 5, 6)]
    left = [one.partition(":")[0] for one in rebuilt.left]
    assert sorted(left) == sorted([*strange, "folder.jsonl", "link.jsonl", "pipe.jsonl"])
    assert list(await listed(tmp_path, clock)) == ["s"]
    assert {name: (folder / name).read_bytes() for name in strange if name != "copy.jsonl"} == {
        name: content for name, content in strange.items() if name != "copy.jsonl"
    }
    assert (folder / "s.jsonl").read_bytes() == whole


@pytest.mark.parametrize("seq", ['"x"', "1e400", "-3", "true", str(10**30), "null", "[]"])
async def test_a_number_that_is_none_does_not_stop_it(tmp_path: Path, seq: str):
    folder = tmp_path / "sessions"
    folder.mkdir()
    line = f'{{"role":"user","content":"hi","id":"e%d","seq":{seq},"created_at":{seq}}}\n'
    (folder / "s.jsonl").write_text(line % 1 + line % 2, encoding="utf-8")
    assert (await rebuild_index(tmp_path)).messages == 2
    [(_, *_, messages)] = (await listed(tmp_path, Clock())).values()
    assert [(number, text) for number, _, _, text in messages] == [(1, "hi"), (2, "hi")]


async def test_a_deleted_session_whose_file_was_not_removed_yet_stays_deleted(tmp_path: Path):
    clock = Clock()
    await make_store(tmp_path, [user("e1", session="s"), user("e2", session="t")], clock)
    folder = tmp_path / "sessions"
    text = (folder / "s.jsonl").read_bytes()
    await make_store(tmp_path, [delete("x", session="s")], clock)
    (folder / "s.jsonl").write_bytes(text)
    (folder / ".s.jsonl.next").write_bytes(b"")
    with sqlite3.connect(folder / "index.db") as index:
        [(number,)] = index.execute("SELECT id FROM sessions WHERE key = 's'")
        index.execute("INSERT INTO files VALUES (?, 's', 's', 0, 2)", (number,))
    index.close()
    await rebuild_index(tmp_path)
    async with JsonlBackend(tmp_path, mode="write", clock=clock) as backend:
        leader = await lead(backend, clock)
        await leader.apply(user("e3", session="t"))
        assert await leader.keys() == {"t"}
    assert not (folder / "s.jsonl").exists()
    assert not (folder / "s.jsonl.torn").exists()


async def test_a_successor_of_a_lost_index_is_what_counts(tmp_path: Path):
    clock = Clock()
    await make_store(tmp_path, [user("e1", "erased", session="s"), user("e2", session="s")], clock)
    folder = tmp_path / "sessions"
    lines = (folder / "s.jsonl").read_bytes().splitlines(keepends=True)
    (folder / ".s.jsonl.next").write_bytes(lines[1])
    lose_index(tmp_path, "gone")
    await rebuild_index(tmp_path)
    [(*_, messages)] = (await listed(tmp_path, clock)).values()
    assert [one[1] for one in messages] == ["e2"]


async def test_a_session_with_two_owners_in_doubt_is_nobodys(tmp_path: Path):
    clock = Clock()
    await make_store(tmp_path, [user("e1", session="s", agent="anna")], clock)
    folder = tmp_path / "sessions"
    meta = (folder / "s.meta.json").read_text() if (folder / "s.meta.json").exists() else ""
    if not meta:
        await listed(tmp_path, clock)
        meta = (folder / "s.meta.json").read_text()
    (folder / ".s.meta.json.next").write_text(meta.replace("anna", "bert"))
    lose_index(tmp_path, "gone")
    assert (await rebuild_index(tmp_path)).unowned == ["s"]
    assert (await listed(tmp_path, clock))["s"][0] is None


async def test_the_meta_file_of_another_session_is_not_believed(tmp_path: Path):
    clock = Clock()
    await make_store(tmp_path, [user("e1", session="s", agent="anna")], clock)
    await listed(tmp_path, clock)
    meta = tmp_path / "sessions" / "s.meta.json"
    meta.write_text(meta.read_text().replace('"session": "s"', '"session": "other"'))
    lose_index(tmp_path, "gone")
    rebuilt = await rebuild_index(tmp_path)
    assert rebuilt.left == ["s.meta.json: tells of another session than 's'"]
    assert (await listed(tmp_path, clock))["s"][0] is None


async def test_a_workspace_without_files_is_refused(tmp_path: Path):
    (tmp_path / "sessions").mkdir()
    with pytest.raises(ConfigError, match="no session files"):
        await rebuild_index(tmp_path)
