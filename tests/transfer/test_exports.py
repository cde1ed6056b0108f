"""`export` and `import`, `backup` and `restore`: everything comes out, and in again, exactly."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sessions import make_session_backend, times
from sessions.store.capabilities import Lockable
from sessions.store.factory import local_store
from sessions.transfer.restoring import IS_THERE, WAS_DELETED
from tests.cli.command import turnstream
from tests.events import (
    Fields,
    context,
    delete,
    event,
    owner,
    rename,
    reply,
    reset,
    rollback,
    state,
    user,
)
from tests.stores import Clock, lead

STORES = ("sqlite", "jsonl")
# Of every kind something: what was taken back, refused, deleted, reset, published by an agent.
STORY: list[Fields] = [
    user(
        "u1", "Grüße, 今天 \u0000 <&>", turn="u1", channel="telegram.home", room=" 7 ", sender="9"
    ),
    reply("a1", "hello", turn="u1"),
    user("u2", "take me back"),
    rollback("r2", target="u2"),
    user("u3", "closed"),
    rollback("r3", target="u3", close_with="[Task failed]"),
    user("u4", "in t", session="t", agent="ada"),
    rename("n4", "A name", session="t"),
    state("s4", "running", session="t", turn="u4"),
    user("u5", "gone", session="d", agent="ada"),
    delete("d5", session="d"),
    user("u6", "empty", session="e"),
    reset("x6", session="e"),
    rollback("early", target="u7", session="t"),
    event("append", "bad", role="user"),
    event("append", "u1", role="user", content="another payload"),
    context("c8", session="c", channel="slack.work", agent="ben"),
    owner("o9", session="c", agent="ada"),
    {**user("by1", "from an agent", session="t"), "by": "ada", "agent": "ada"},
]


def _environ(backend: str) -> dict[str, str]:
    return {"TURNSTREAM_SESSION_BACKEND": backend}


async def _make(workspace: Path, backend: str, story: list[Fields]) -> None:
    async with make_session_backend(workspace, backend, mode="write") as writer:
        leader = await lead(writer, Clock())
        await leader.apply(*story)
        await writer.release()


def make(workspace: Path, backend: str, story: list[Fields] = STORY) -> Path:
    """A workspace in which this was applied."""
    asyncio.run(_make(workspace, backend, story))
    return workspace


def export(workspace: Path, backend: str, file: Path, *options: str) -> bytes:
    """What `export` writes."""
    result = turnstream("export", file, *options, workspace=workspace, environ=_environ(backend))
    assert result.code == 0, result.err
    return file.read_bytes()


def bring_in(workspace: Path, backend: str, path: Path, *options: str) -> Any:
    """What `import` tells."""
    environ = _environ(backend)
    return turnstream(
        "import", path, "--json", *options, workspace=workspace, environ=environ
    ).json()["sources"]


def records(data: bytes, kind: str) -> list[dict[str, Any]]:
    """The records of a kind in an export."""
    return [one for one in map(json.loads, data.splitlines()) if one["kind"] == kind]


@pytest.mark.parametrize("target", STORES)
@pytest.mark.parametrize("source", STORES)
def test_an_export_that_is_imported_is_exported_again_byte_for_byte(
    source: str, target: str, tmp_path: Path
) -> None:
    """Numbers, ids, outcomes, tombstones and dead letters are the same in any store."""
    first = export(make(tmp_path / "a", source), source, tmp_path / "first.jsonl")
    bring_in(tmp_path / "b", target, tmp_path / "first.jsonl")
    assert export(tmp_path / "b", target, tmp_path / "second.jsonl") == first
    assert turnstream("verify", workspace=tmp_path / "b", environ=_environ(target)).code == 0
    for kind in ("session", "message", "outcome", "suppressed", "dead_letter"):
        assert records(first, kind), kind


def test_an_import_that_is_repeated_changes_nothing(tmp_path: Path) -> None:
    """The receipt tells that all of it is in."""
    file = tmp_path / "first.jsonl.gz"
    first = export(make(tmp_path / "a", "sqlite"), "sqlite", file)
    bring_in(tmp_path / "b", "sqlite", file)
    [again] = bring_in(tmp_path / "b", "sqlite", file)
    assert again["unchanged"]
    assert export(tmp_path / "b", "sqlite", tmp_path / "second.jsonl.gz") == first


def test_a_dry_run_tells_what_would_come_in_and_changes_nothing(tmp_path: Path) -> None:
    """Not even a store is made."""
    export(make(tmp_path / "a", "sqlite"), "sqlite", tmp_path / "first.jsonl")
    [report] = bring_in(tmp_path / "b", "sqlite", tmp_path / "first.jsonl", "--dry-run")
    assert report["messages"] > 3
    assert not (tmp_path / "b" / "sessions").exists()


@pytest.mark.parametrize("backend", STORES)
def test_into_a_used_store_come_the_sessions_that_are_not_there(
    backend: str, tmp_path: Path
) -> None:
    """A session whose key is there stays out as a whole, and is named."""
    file = tmp_path / "first.jsonl"
    export(make(tmp_path / "a", "sqlite"), "sqlite", file)
    make(tmp_path / "b", backend, [user("own", "mine", session="s"), user("other", session="o")])
    [report] = bring_in(tmp_path / "b", backend, file)
    assert report["aside"] > 0
    assert {one["place"] for one in report["examples"]} == {"session s"}
    after = export(tmp_path / "b", backend, tmp_path / "after.jsonl")
    texts = {(one["session"], one["content"]) for one in records(after, "message")}
    assert {("s", "mine"), ("t", "in t"), ("t", "from an agent")} <= texts
    assert ("s", "hello") not in texts
    assert turnstream("verify", workspace=tmp_path / "b", environ=_environ(backend)).code == 0


@pytest.mark.parametrize("backend", STORES)
def test_a_message_whose_id_is_taken_is_named(backend: str, tmp_path: Path) -> None:
    """Publishers of two stores may have numbered alike; nothing is passed over as known."""
    file = tmp_path / "first.jsonl"
    make(tmp_path / "a", "sqlite", [user("m1", "x1", session="x"), user("m2", "x2", session="x")])
    export(tmp_path / "a", "sqlite", file)
    make(tmp_path / "b", backend, [user("m1", "y1", session="y")])
    for options in (["--dry-run"], []):
        [report] = bring_in(tmp_path / "b", backend, file, *options)
        assert (report["messages"], report["known"], report["aside"]) == (1, 0, 1)
        assert [one["place"] for one in report["examples"]] == ["message m1"]


async def _tombstones_go(workspace: Path) -> None:
    """Tidy the store as if months had gone by."""
    async with make_session_backend(workspace, "sqlite", mode="write") as writer:
        await lead(writer, Clock())
        while await writer.forget_ids(before=times.now() + 61 * times.DAY, limit=100):
            pass
        await writer.release()


def test_a_session_that_stayed_out_comes_in_when_its_key_is_free(tmp_path: Path) -> None:
    """The reason says when that is, and the same file is looked at again."""
    file = tmp_path / "first.jsonl"
    make(tmp_path / "a", "sqlite", [user("a1", session="s"), user("a2", session="t")])
    export(tmp_path / "a", "sqlite", file)
    make(tmp_path / "b", "sqlite", [user("b1", session="s")])
    [report] = bring_in(tmp_path / "b", "sqlite", file)
    assert [*report["reasons"]] == [IS_THERE]
    make(tmp_path / "b", "sqlite", [user("b1", session="s"), delete("b2", session="s")])
    [report] = bring_in(tmp_path / "b", "sqlite", file)
    assert [*report["reasons"]] == [WAS_DELETED]
    asyncio.run(_tombstones_go(tmp_path / "b"))
    [report] = bring_in(tmp_path / "b", "sqlite", file)
    assert (report["messages"], report["known"], report["aside"]) == (1, 1, 0)


def test_another_store_is_imported_and_what_is_new_in_it_later(tmp_path: Path) -> None:
    """Both stores of one workspace come together."""
    make(tmp_path, "sqlite", [user("a", "one", session="x")])
    make(tmp_path, "jsonl", [user("b", "two", session="y")])
    path = tmp_path / "sessions" / "turnstream.db"
    [report] = bring_in(tmp_path, "jsonl", path)
    assert (report["sessions"], report["messages"]) == (1, 1)
    [again] = bring_in(tmp_path, "jsonl", path)
    assert (again["messages"], again["known"], again["aside"]) == (0, 1, 0)


def test_a_store_is_named_by_its_file_where_it_is_opened(tmp_path: Path) -> None:
    """Anything else is an error that says what to name; nothing is passed over in silence."""
    store = make(tmp_path / "a", "sqlite") / "sessions" / "turnstream.db"
    copy = tmp_path / "copies" / "turnstream.db"
    copy.parent.mkdir()
    shutil.copy(store, copy)
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "a")
    for path, workspace, said in (
        (copy, "b", str(copy.parent / "sessions")),
        (tmp_path / "a", "b", f"name {store}"),
        (link / "sessions" / "turnstream.db", "a", "of this workspace itself"),
        (tmp_path / "b" / ".." / "a" / "sessions" / "turnstream.db", "a", "workspace itself"),
    ):
        result = turnstream("import", path, workspace=tmp_path / workspace)
        assert (result.code, said in result.err) == (78, True), result.err


@pytest.mark.parametrize(
    ("options", "texts"),
    [
        (("--session", "t"), {"in t", "from an agent"}),
        (("--agent", "ada"), {"in t", "from an agent"}),
        (("--since", "2999-01-01T00:00:00Z"), set[str]()),
    ],
)
def test_an_export_can_be_narrowed(
    options: tuple[str, ...], texts: set[str], tmp_path: Path
) -> None:
    """To sessions, to an agent, or to a time."""
    make(tmp_path / "a", "sqlite")
    data = export(tmp_path / "a", "sqlite", tmp_path / "part.jsonl", *options)
    assert {one["content"] for one in records(data, "message")} == texts
    bring_in(tmp_path / "b", "jsonl", tmp_path / "part.jsonl")


def _cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _without_end(data: bytes) -> bytes:
    return b"".join(data.splitlines(keepends=True)[:-1])


def _changed(data: bytes) -> bytes:
    return data.replace(b"hello", b"HELLO")


def _newer(data: bytes) -> bytes:
    return data.replace(b'"version":1', b'"version":2', 1)


def _broken(data: bytes) -> bytes:
    lines = data.splitlines(keepends=True)
    return b"".join([*lines[:2], b'{"kind":"session","number":-1}\n', *lines[2:]])


def _without_header(data: bytes) -> bytes:
    return data.split(b"\n", 1)[1]


def _two(data: bytes) -> bytes:
    return data + data


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_without_header, "no whole export"),
        (_two, "goes on behind its end"),
        (_cut, "ends in the middle of line"),
        (_without_end, "has no end"),
        (_changed, "was changed"),
        (_newer, "has version 2"),
        (_broken, "line 3: session.number"),
        (lambda data: gzip.compress(data)[:-20], "cannot be read"),
    ],
)
def test_a_damaged_export_is_refused_before_anything_comes_in(
    damage: Any, said: str, tmp_path: Path
) -> None:
    """The message says what is wrong with it."""
    file = tmp_path / "export.jsonl"
    file.write_bytes(damage(export(make(tmp_path / "a", "sqlite"), "sqlite", file)))
    result = turnstream("import", file, workspace=tmp_path / "b", environ=_environ("sqlite"))
    assert result.code == 1
    assert said in result.err
    assert not (tmp_path / "b" / "sessions").exists()


def test_an_export_of_many_long_keys_is_known_as_one(tmp_path: Path) -> None:
    """Its header names them all, and is as long as they are."""
    keys = [f"{number}-{'k' * 500}" for number in range(9)]
    make(tmp_path / "a", "sqlite", [user(f"u-{key[0]}", session=key) for key in keys])
    file = tmp_path / "export.jsonl"
    export(tmp_path / "a", "sqlite", file, *(f"--session={key}" for key in keys))
    [report] = bring_in(tmp_path / "b", "sqlite", file)
    assert (report["kind"], report["sessions"], report["messages"]) == ("export", 9, 9)


@pytest.mark.parametrize("command", ["export", "backup"])
def test_a_store_that_is_not_there_is_an_error(command: str, tmp_path: Path) -> None:
    """A backup of the wrong directory, or of the wrong backend, must not replace a good one."""
    make(tmp_path / "a", "sqlite")
    good = tmp_path / "good.jsonl"
    good.write_text("as it was")
    for workspace, backend in (("a", "jsonl"), ("typo", "sqlite")):
        environ = _environ(backend)
        result = turnstream(command, good, workspace=tmp_path / workspace, environ=environ)
        assert (result.code, f"no {backend} store" in result.err) == (78, True)
        assert good.read_text() == "as it was"
    assert not (tmp_path / "typo").exists()


def test_an_export_replaces_files_only(tmp_path: Path) -> None:
    """The file that a link leads to; but no pipe and no device."""
    make(tmp_path / "a", "sqlite")
    pipe, file, link = tmp_path / "pipe", tmp_path / "file.jsonl", tmp_path / "link"
    os.mkfifo(pipe)
    file.touch()
    link.symlink_to(file)
    result = turnstream("export", pipe, workspace=tmp_path / "a")
    assert (result.code, "is no file" in result.err, pipe.is_fifo()) == (78, True, True)
    export(tmp_path / "a", "sqlite", link)
    assert (link.is_symlink(), len(records(file.read_bytes(), "end"))) == (True, 1)
    result = turnstream("export", "-", "--format", "zeroclaw", workspace=tmp_path / "a")
    assert (result.code, "needs a DIR" in result.err) == (2, True)


def test_an_export_among_the_sessions_is_no_session_of_zeroclaw(tmp_path: Path) -> None:
    """A worker that starts there must not bring everything in twice."""
    folder = make(tmp_path / "a", "sqlite") / "sessions"
    export(tmp_path / "a", "sqlite", folder / "all.jsonl")
    result = turnstream("import", tmp_path / "a", workspace=tmp_path / "b")
    assert (result.code, "holds no sessions of ZeroClaw" in result.err) == (78, True)


@pytest.mark.parametrize("target", STORES)
@pytest.mark.parametrize("source", STORES)
def test_a_backup_restores_the_store_with_its_id_and_its_place_in_the_stream(
    source: str, target: str, tmp_path: Path
) -> None:
    """So that what the stream holds beyond it is applied again."""
    make(tmp_path / "a", source)
    file = tmp_path / "backup.jsonl.gz"
    for workspace, backend in ((tmp_path / "a", source),):
        saved = turnstream("backup", file, workspace=workspace, environ=_environ(backend))
        assert saved.code == 0, saved.err
    restored = turnstream("restore", file, workspace=tmp_path / "b", environ=_environ(target))
    assert restored.code == 0, restored.err
    twice = turnstream("restore", file, workspace=tmp_path / "b", environ=_environ(target))
    assert (twice.code, str(file) in twice.out) == (0, True)
    again = tmp_path / "again.jsonl.gz"
    turnstream("backup", again, workspace=tmp_path / "b", environ=_environ(target))
    assert again.read_bytes() == file.read_bytes()


def test_a_backup_is_not_restored_over_sessions(tmp_path: Path) -> None:
    """The message says what to do instead."""
    make(tmp_path / "a", "sqlite")
    make(tmp_path / "b", "sqlite", [user("own")])
    file = tmp_path / "backup.jsonl"
    turnstream("backup", file, workspace=tmp_path / "a", environ=_environ("sqlite"))
    result = turnstream("restore", file, workspace=tmp_path / "b", environ=_environ("sqlite"))
    assert result.code == 78
    assert "is not empty" in result.err


def test_a_backup_is_not_restored_under_a_worker_that_leads(tmp_path: Path) -> None:
    """Its stream belongs to the store that it leads, so it would have to end."""
    make(tmp_path / "a", "sqlite")
    file = tmp_path / "backup.jsonl"
    turnstream("backup", file, workspace=tmp_path / "a", environ=_environ("sqlite"))
    (tmp_path / "b" / "sessions").mkdir(parents=True)
    store = local_store(tmp_path / "b", "sqlite")
    assert isinstance(store, Lockable)
    with closing(store.leader_lock()) as lock:
        assert lock.try_acquire()
        result = turnstream("restore", file, workspace=tmp_path / "b", environ=_environ("sqlite"))
    assert (result.code, "stop it first" in result.err) == (78, True)


def test_an_export_is_no_backup(tmp_path: Path) -> None:
    """It has no place in the stream."""
    file = tmp_path / "export.jsonl"
    export(make(tmp_path / "a", "sqlite"), "sqlite", file)
    result = turnstream("restore", file, workspace=tmp_path / "b", environ=_environ("sqlite"))
    assert (result.code, "turnstream import" in result.err) == (78, True)
