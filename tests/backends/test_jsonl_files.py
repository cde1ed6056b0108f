"""What only the jsonl backend does: files that people read, and their safety."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sessions.errors import ConfigError, StoreDamaged, StoreUnavailable
from sessions.store.jsonl.backend import JsonlBackend
from sessions.store.jsonl.rebuild import rebuild_index
from sessions.store.sqlite.connection import WritingConnection
from tests.events import delete, reset, rollback, user
from tests.stores import Clock, LeadingBackend, lead


@pytest.fixture
def clock() -> Clock:
    """The clock of the store."""
    return Clock()


@pytest.fixture
async def store(workspace: Path, clock: Clock) -> AsyncIterator[LeadingBackend]:
    """A leading jsonl backend on a new store."""
    async with JsonlBackend(workspace, mode="write", clock=clock) as backend:
        yield await lead(backend, clock)


def files(workspace: Path) -> dict[str, list[dict[str, object]]]:
    """The session files by name, each as the objects of its lines."""
    return {
        path.name: [json.loads(line) for line in path.read_bytes().splitlines()]
        for path in sorted((workspace / "sessions").glob("*.jsonl"))
    }


@asynccontextmanager
async def again(store: LeadingBackend, workspace: Path) -> AsyncIterator[LeadingBackend]:
    """Another process that takes the lead after the first one died."""
    async with JsonlBackend(workspace, mode="write", clock=store.clock) as backend:
        yield await lead(backend, store.clock)


async def test_a_line_begins_with_role_and_content_and_is_compact(
    store: LeadingBackend, workspace: Path
) -> None:
    await store.apply(user("e1", content="Grüße / 東京"))
    line = (workspace / "sessions" / "s.jsonl").read_text(encoding="utf-8")
    assert line.startswith('{"role":"user","content":"Grüße / 東京","id":"e1","seq":1,')
    assert line.endswith("}\n")


async def test_files_are_for_their_owner_alone(store: LeadingBackend, workspace: Path) -> None:
    await store.apply(user("e1"))
    directory = workspace / "sessions"
    assert directory.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o600}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a.b", "a_b"),
        ("a/b", "a:b"),
        ("A", "a"),
        ("caf\u00e9", "cafe\u0301"),
        ("x" * 300, "x" * 301),
    ],
)
async def test_keys_that_share_a_name_keep_files_of_their_own(
    store: LeadingBackend, workspace: Path, first: str, second: str
) -> None:
    await store.apply(
        user("e1", session=first, content="one"), user("e2", session=second, content="two")
    )
    await store.apply(user("e3", session=first, content="three"))
    assert await store.texts(first) == ["one", "three"]
    assert await store.texts(second) == ["two"]
    assert sorted(len(lines) for lines in files(workspace).values()) == [1, 2]


async def test_a_long_key_gets_a_name_of_at_most_200_bytes_and_a_digest(
    store: LeadingBackend, workspace: Path
) -> None:
    await store.apply(user("e1", session="ж" * 150))
    [name] = files(workspace)
    kept, _, digest = name.removesuffix(".jsonl").rpartition("-")
    assert kept == "ж" * 80
    assert len(digest) == 16


async def test_a_rollback_leaves_a_file_without_the_line(
    store: LeadingBackend, workspace: Path
) -> None:
    await store.apply(user("e1", content="one"), user("e2", content="two"))
    await store.apply(rollback("r1", target="e1"))
    assert [line["content"] for line in files(workspace)["s.jsonl"]] == ["two"]
    assert await store.texts() == ["two"]


async def test_a_reset_leaves_an_empty_file_and_a_delete_none(
    store: LeadingBackend, workspace: Path
) -> None:
    await store.apply(user("e1", session="kept"), user("e2", session="gone"))
    await store.apply(
        reset("x1", session="kept"),
        delete("x2", session="gone"),
    )
    assert files(workspace) == {"kept.jsonl": []}


async def test_delete_and_append_in_one_batch_leave_only_the_new_text(
    store: LeadingBackend, workspace: Path
) -> None:
    await store.apply(user("e1", content="old"))
    await store.apply(delete("x1"), user("e2", content="new"))
    assert [line["content"] for line in files(workspace)["s.jsonl"]] == ["new"]
    assert await store.texts() == ["new"]


async def test_a_torn_tail_is_cut_by_the_next_leader_and_kept_beside(
    store: LeadingBackend, workspace: Path
) -> None:
    await store.apply(user("e1", content="one"))
    path = workspace / "sessions" / "s.jsonl"
    whole = path.read_bytes()
    with path.open("ab") as file:
        file.write(b'{"role":"user","cont')
    async with again(store, workspace) as after:
        assert path.read_bytes() == whole
        assert path.with_name("s.jsonl.torn").read_bytes() == b'{"role":"user","cont'
        await after.apply(user("e9", content="two"))
        assert await after.texts() == ["one", "two"]


async def test_a_file_shorter_than_its_committed_length_is_damage(
    store: LeadingBackend, workspace: Path
) -> None:
    await store.apply(user("e1", content="one"))
    os.truncate(workspace / "sessions" / "s.jsonl", 5)
    with pytest.raises(StoreDamaged, match=r"s\.jsonl"):
        async with again(store, workspace):
            pass


async def test_a_crash_before_the_successor_took_its_place_loses_nothing(
    store: LeadingBackend, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.apply(user("e1", content="one"), user("e2", content="two"))
    path = workspace / "sessions" / "s.jsonl"
    before = path.read_bytes()

    def crash(source: object, target: object) -> None:
        if str(target).endswith("s.jsonl"):
            raise OSError(5, "the machine stopped here")
        shutil.move(str(source), str(target))

    monkeypatch.setattr("sessions.store.jsonl.files.os.replace", crash)
    await store.apply(rollback("r1", target="e1"))
    assert path.read_bytes() == before
    assert await store.texts() == ["two"]
    monkeypatch.undo()
    async with again(store, workspace) as after:
        await after.apply(user("e3", content="three"))
    assert [line["content"] for line in files(workspace)["s.jsonl"]] == ["two", "three"]


async def test_a_successor_is_read_before_the_index_knows_that_it_took_its_place(
    store: LeadingBackend, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.apply(user("e1", content="one"), user("e2", content="two"))
    path = workspace / "sessions" / "s.jsonl"
    inode = path.stat().st_ino

    def full_once_it_has_moved(_: int) -> None:
        if path.stat().st_ino != inode:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("sessions.store.jsonl.files.os.fsync", full_once_it_has_moved)
    await store.apply(rollback("r1", target="e1"))
    assert path.stat().st_ino != inode
    assert await store.texts() == ["two"]
    with pytest.raises(StoreUnavailable, match="disk full"):
        await store.apply(user("e3", content="three"))
    monkeypatch.undo()
    await store.apply(user("e4", content="four"))
    assert await store.texts() == ["two", "four"]
    assert [line["content"] for line in files(workspace)["s.jsonl"]] == ["two", "four"]


async def test_an_erasure_that_was_cancelled_as_it_committed_endangers_nothing_that_follows(
    store: LeadingBackend, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.apply(user("e1", content="one"))
    run = WritingConnection.run

    async def cancelled(connection: WritingConnection, sql: str, *parameters: Any) -> Any:
        if sql == "COMMIT":
            asyncio.get_running_loop().call_soon(erasing.cancel)
        return await run(connection, sql, *parameters)

    monkeypatch.setattr(WritingConnection, "run", cancelled)
    erasing = asyncio.create_task(store.apply(reset("x")))
    with pytest.raises(asyncio.CancelledError):
        await erasing
    monkeypatch.undo()
    assert await store.result("x") == "applied"
    await store.apply(user("e2", content="two"))

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sessions.store.jsonl.files.os.pwrite", full)
    with pytest.raises(StoreUnavailable):
        await store.apply(user("e3", content="three"))
    monkeypatch.undo()
    assert await store.texts() == ["two"]
    assert [line["content"] for line in files(workspace)["s.jsonl"]] == ["two"]


async def test_a_full_disk_in_the_middle_of_a_file_leaves_it_as_it_was(
    store: LeadingBackend, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.apply(user("e1", content="one"))
    write = os.pwrite

    def full(fd: int, data: bytes, offset: int) -> int:
        if offset > 0 and len(data) < 60:
            raise OSError(28, "No space left on device")
        return write(fd, data[:50], offset)

    monkeypatch.setattr("sessions.store.jsonl.files.os.pwrite", full)
    entries = [store.stream.entry(user("e2", content="two"))]
    with pytest.raises(StoreUnavailable, match="disk full"):
        await store.apply_entries(entries)
    assert len(files(workspace)["s.jsonl"]) == 1
    monkeypatch.undo()
    await store.apply_entries(entries)
    assert await store.texts() == ["one", "two"]


async def test_a_strangers_file_is_not_written_to(store: LeadingBackend, workspace: Path) -> None:
    path = workspace / "sessions" / "s.jsonl"
    path.write_text('{"role":"user","content":"of ZeroClaw"}\n', encoding="utf-8")
    await store.apply(user("e1", content="ours"))
    assert [line["content"] for line in files(workspace)["s.jsonl"]] == ["of ZeroClaw"]
    assert await store.texts() == ["ours"]


async def test_files_without_an_index_are_not_taken_for_an_empty_store(
    workspace: Path, clock: Clock
) -> None:
    (workspace / "sessions").mkdir(parents=True)
    line = {"role": "user", "content": "ours", "id": "e1", "seq": 1, "session": "s"}
    (workspace / "sessions" / "s.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="--rebuild-index"):
        await JsonlBackend(workspace, mode="write", clock=clock).__aenter__()


async def test_files_of_another_program_do_not_keep_a_store_from_being_made(
    workspace: Path, clock: Clock
) -> None:
    """They stay as they are; a session of ours gets another name."""
    (workspace / "sessions").mkdir(parents=True)
    theirs = workspace / "sessions" / "s.jsonl"
    theirs.write_text('{"role":"user","content":"theirs"}\n', encoding="utf-8")
    (workspace / "sessions" / "empty.jsonl").touch()
    before = theirs.read_bytes()
    async with JsonlBackend(workspace, mode="write", clock=clock) as backend:
        store = await lead(backend, clock)
        await store.apply(user("e1", "ours"), user("e2", "here", session="t"))
        assert await store.texts() == ["ours"]
    assert theirs.read_bytes() == before
    names = {path.name for path in (workspace / "sessions").glob("*.jsonl")}
    assert len(names - {"s.jsonl", "empty.jsonl", "t.jsonl"}) == 1


async def test_a_rebuilt_index_shows_the_same_sessions_and_knows_the_ids(
    store: LeadingBackend, workspace: Path, clock: Clock
) -> None:
    await store.apply(
        user("e1", session="telegram/42", content="東京 hello"),
        user("e2", session="telegram/42", content="two", agent="anna"),
        user("e3", session="other", content="three"),
        reset("x1", session="other"),
    )
    told = [await store.messages(key) for key in ("telegram/42", "other")]
    before = await store.session("telegram/42")
    store_id = await store.backend.store_id()
    await store.backend.__aexit__(None, None, None)
    rebuilt = await rebuild_index(workspace)
    assert (rebuilt.sessions, rebuilt.messages, rebuilt.skipped) == (2, 2, [])
    async with JsonlBackend(workspace, mode="write", clock=clock) as backend:
        after = await lead(backend, clock)
        assert [await after.messages(key) for key in ("telegram/42", "other")] == told
        assert await backend.store_id() == store_id
        assert (await after.session("telegram/42")).agent == before.agent == "anna"
        assert [hit.message.id for hit in (await backend.search("京")).items] == ["e1"]
        await after.apply(user("e1", session="telegram/42", content="東京 hello"))
        assert len(await after.messages("telegram/42")) == 2
        assert (await backend.dead_letters()).items == []


async def test_an_index_is_rebuilt_from_files_that_another_program_wrote(
    workspace: Path, clock: Clock
) -> None:
    (workspace / "sessions").mkdir(parents=True)
    (workspace / "sessions" / "telegram_42.jsonl").write_text(
        '{"role":"user","content":"hi"}\nnot json\n{"role":"assistant","content":"ho"}\n{"role"',
        encoding="utf-8",
    )
    rebuilt = await rebuild_index(workspace)
    assert (rebuilt.messages, rebuilt.skipped) == (2, ["telegram_42.jsonl:2"])
    async with JsonlBackend(workspace, mode="write", clock=clock) as backend:
        after = await lead(backend, clock)
        assert await after.texts("telegram_42") == ["hi", "ho"]
        await after.apply(user("e1", session="telegram_42", content="new"))
        assert await after.texts("telegram_42") == ["hi", "ho", "new"]


async def test_a_file_that_a_dead_leader_did_not_commit_is_set_aside(
    store: LeadingBackend, workspace: Path
) -> None:
    await store.apply(user("e1", content="one"))
    path = workspace / "sessions" / "s.jsonl"
    stray = path.with_name("a_b.jsonl")
    stray.write_bytes(path.read_bytes().replace(b'"session":"s"', b'"session":"a.b"'))
    async with again(store, workspace) as after:
        await after.apply(user("e2", session="a.b"), user("e3", session="a_b"))
        assert len(await after.texts("a.b")) == len(await after.texts("a_b")) == 1
    assert stray.with_name("a_b.jsonl.torn").exists()
    assert sorted(len(lines) for lines in files(workspace).values()) == [1, 1, 1]
