"""Moving in from ZeroClaw and out again: all of it comes, once, however often and however it ends.

Sources are made with ZeroClaw's own tables and lines (tests/zeroclaw/making.py).
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from sessions import make_session_backend
from sessions.models import Session
from sessions.store.backend import SessionBackend
from sessions.transfer.zeroclaw_import import DELETED_SINCE, OTHER_HISTORY
from sessions.zeroclaw.chrono import taken
from tests.cli.command import turnstream
from tests.events import delete, user
from tests.transfer.test_exports import bring_in, export, make
from tests.zeroclaw.making import (
    Known,
    Said,
    Story,
    everything_in,
    insert_said,
    line_of,
    make_jsonl,
    make_mixed,
    make_sqlite,
    make_story,
)
from tests.zeroclaw.upstream import answers

STORES = ("sqlite", "jsonl")
WORDS = ("pear", "hello", "Grüße", "gw", "nothing", '"', "*")


async def shown(backend: SessionBackend) -> dict[str, list[tuple[str, str]]]:
    """Every session that is shown, with role and content of its messages."""
    found: dict[str, list[tuple[str, str]]] = {}
    for session in (await backend.sessions(limit=1000)).items:
        page = await backend.history(session.key, limit=10_000)
        found[session.key] = [(one.role, one.content) for one in page.items]
    return found


async def _shown_in(workspace: Path, backend: str) -> dict[str, list[tuple[str, str]]]:
    async with make_session_backend(workspace, backend) as reader:
        return await shown(reader)


def shown_in(workspace: Path, backend: str) -> dict[str, list[tuple[str, str]]]:
    """The same of a workspace."""
    return asyncio.run(_shown_in(workspace, backend))


def told(story: Story) -> dict[str, list[tuple[str, str]]]:
    """What a story tells, session by session."""
    keys = {known.key for known in story.known} | {said.key for said in story.said}
    return {key: story.messages(key) for key in keys}


@pytest.mark.parametrize("backend", STORES)
def test_a_database_comes_in_with_names_owners_times_and_order(
    backend: str, tmp_path: Path
) -> None:
    """And is byte for byte what it was before."""
    story = make_story(1)
    make_sqlite(tmp_path / "zc" / "sessions" / "sessions.db", story)
    before = everything_in(tmp_path / "zc")
    [report] = bring_in(tmp_path / "ts", backend, tmp_path / "zc")
    assert everything_in(tmp_path / "zc") == before
    assert (report["messages"], report["aside"]) == (len(story.said), 0)
    assert shown_in(tmp_path / "ts", backend) == told(story)
    sessions = asyncio.run(_sessions_in(tmp_path / "ts", backend))
    for known in story.known:
        session = sessions[known.key]
        assert (session.agent, session.channel) == _more(known, "agent_alias", "channel_id")
        assert (session.room, session.sender) == _more(known, "room_id", "sender_id")
        assert session.name == known.more.get("name")
        assert session.created_at == taken(known.created)[0]
        assert session.last_activity == taken(known.active)[0]
    verified = turnstream("verify", workspace=tmp_path / "ts", environ=_environ(backend))
    assert verified.code == 0, verified.out


async def _sessions_in(workspace: Path, backend: str) -> dict[str, Session]:
    async with make_session_backend(workspace, backend) as reader:
        return {one.key: one for one in (await reader.sessions(limit=1000)).items}


def _more(known: Known, *names: str) -> tuple[str | None, ...]:
    return tuple(known.more.get(name) for name in names)


def _environ(backend: str) -> dict[str, str]:
    return {"TURNSTREAM_SESSION_BACKEND": backend}


@pytest.mark.parametrize("backend", STORES)
def test_session_files_come_in_and_lines_that_are_none_are_kept_aside(
    backend: str, tmp_path: Path
) -> None:
    """Every line that cannot be read is in a file of the workspace, word for word."""
    story = make_story(2)
    make_jsonl(tmp_path / "zc" / "sessions", story, damage=lambda data: b"{torn\n\xff\n" + data)
    reports = bring_in(tmp_path / "ts", backend, tmp_path / "zc")
    assert shown_in(tmp_path / "ts", backend) == told(story)
    for report in reports:
        kept = [json.loads(line) for line in Path(report["kept_in"]).read_text().splitlines()]
        assert [one.get("text", one.get("base64")) for one in kept] == ["{torn", "/w=="]


def test_what_is_told_of_many_damaged_files_fits_a_screen(tmp_path: Path) -> None:
    """Files and reasons are counted together; long keys are cut."""
    sessions = tmp_path / "zc" / "sessions"
    story = Story([Known(f"gw_{number}") for number in range(40)], [])
    make_jsonl(sessions, story, damage=lambda data: b"{torn\n" + data)
    long = Story([Known("k" * 600)], [Said("k" * 600, "user", "x")])
    make_sqlite(sessions / "sessions.db", long)
    result = turnstream("import", tmp_path / "zc", workspace=tmp_path / "ts")
    assert "40 session files with something set aside" in result.out
    assert len(result.out.splitlines() + result.err.splitlines()) < 15
    assert "k" * 200 not in result.err
    assert str(tmp_path / "ts" / "set-aside\n") in result.err


def test_both_stores_together_come_in_once(tmp_path: Path) -> None:
    """What ZeroClaw has moved into its database is not read from the file that is left of it."""
    story = make_story(3)
    moved = story.known[0].key
    make_mixed(tmp_path / "zc" / "sessions", story, {story.known[1].key: ".jsonl.importing"})
    data = b"".join(line_of(*message) for message in story.messages(moved))
    (tmp_path / "zc" / "sessions" / f"{moved}.jsonl.migrated").write_bytes(data)
    bring_in(tmp_path / "ts", "sqlite", tmp_path / "zc")
    assert shown_in(tmp_path / "ts", "sqlite") == told(story)


def test_what_zeroclaw_writes_later_comes_in_with_the_next_import(tmp_path: Path) -> None:
    """The same text said again is another message; the same message read again is not."""
    path = tmp_path / "zc" / "sessions" / "sessions.db"
    make_sqlite(path, Story([Known("k")], [Said("k", "user", "ok"), Said("k", "user", "ok")]))
    bring_in(tmp_path / "ts", "sqlite", tmp_path / "zc")
    with closing(sqlite3.connect(path)) as source, source:
        insert_said(source, [Said("k", "user", "ok"), Said("k", "user", "more")])
    [report] = bring_in(tmp_path / "ts", "sqlite", tmp_path / "zc")
    assert (report["messages"], report["known"]) == (2, 2)
    [report] = bring_in(tmp_path / "ts", "sqlite", tmp_path / "zc")
    assert (report["messages"], report["unchanged"]) == (0, True)
    found = shown_in(tmp_path / "ts", "sqlite")
    assert [text for _, text in found["k"]] == ["ok", "ok", "ok", "more"]


def test_a_file_that_zeroclaw_moves_into_its_database_comes_in_once(tmp_path: Path) -> None:
    """Ids tell what a message is, not where it stands."""
    story = Story([Known("k")], [Said("k", "user", "one"), Said("k", "assistant", "two")])
    [file] = make_jsonl(tmp_path / "zc" / "sessions", story)
    bring_in(tmp_path / "ts", "sqlite", tmp_path / "zc")
    file.rename(file.with_suffix(".jsonl.migrated"))
    data = file.with_suffix(".jsonl.migrated").read_bytes()
    make_sqlite(file.with_name("sessions.db"), story, receipts={"k": data})
    bring_in(tmp_path / "ts", "sqlite", tmp_path / "zc")
    assert shown_in(tmp_path / "ts", "sqlite") == told(story)


def test_a_session_of_our_own_is_not_mixed_with_an_imported_one(tmp_path: Path) -> None:
    """It stays out as a whole, and the report says why."""
    make(tmp_path / "ts", "sqlite", [user("own", "mine", session="k")])
    story = Story([Known("k"), Known("l")], [Said("k", "user", "x"), Said("l", "user", "y")])
    make_sqlite(tmp_path / "zc" / "sessions" / "sessions.db", story)
    [report] = bring_in(tmp_path / "ts", "sqlite", tmp_path / "zc")
    assert (report["messages"], report["aside"]) == (1, 1)
    assert "is here already" in next(iter(report["reasons"]))
    found = shown_in(tmp_path / "ts", "sqlite")
    assert found == {"k": [("user", "mine")], "l": [("user", "y")]}


def test_sessions_of_two_workspaces_are_not_mixed(tmp_path: Path) -> None:
    """Of one key, but with another beginning; a copy of the first workspace goes on, though."""
    ok = Said("k", "assistant", "ok")
    for name, said in (
        ("one", [Said("k", "user", "x"), ok]),
        ("two", [Said("k", "user", "y"), ok, Said("l", "user", "z")]),
        ("copy", [Said("k", "user", "x"), ok, Said("k", "user", "more")]),
    ):
        story = Story([Known(key) for key in sorted({one.key for one in said})], said)
        make_sqlite(tmp_path / name / "sessions" / "sessions.db", story)
    bring_in(tmp_path / "ts", "sqlite", tmp_path / "one")
    for _ in range(2):
        [report] = bring_in(tmp_path / "ts", "sqlite", tmp_path / "two")
        assert (report["aside"], [*report["reasons"]]) == (2, [OTHER_HISTORY])
    bring_in(tmp_path / "ts", "sqlite", tmp_path / "copy")
    found = shown_in(tmp_path / "ts", "sqlite")
    assert [text for _, text in found["k"]] == ["x", "ok", "more"]
    assert found["l"] == [("user", "z")]


def test_an_imported_session_that_was_deleted_stays_deleted(tmp_path: Path) -> None:
    """Whatever path it is read from."""
    story = Story([Known("k"), Known("l")], [Said("k", "user", "x"), Said("l", "user", "y")])
    for name in ("one", "two"):
        make_sqlite(tmp_path / name / "sessions" / "sessions.db", story)
    bring_in(tmp_path / "ts", "sqlite", tmp_path / "one")
    make(tmp_path / "ts", "sqlite", [delete("d", session="k")])
    [report] = bring_in(tmp_path / "ts", "sqlite", tmp_path / "two")
    assert [*report["reasons"]] == [DELETED_SINCE]
    assert shown_in(tmp_path / "ts", "sqlite") == {"l": [("user", "y")]}


def test_messages_are_told_apart_whatever_is_in_them(tmp_path: Path) -> None:
    """Also by the character that stands between the parts of an id elsewhere."""
    said = [Said("k", "user\0x", "y"), Said("k", "user", "x\0y"), Said("k\0user", "x", "y")]
    story = Story([Known("k"), Known("k\0user")], said)
    make_sqlite(tmp_path / "zc" / "sessions" / "sessions.db", story)
    bring_in(tmp_path / "ts", "sqlite", tmp_path / "zc")
    assert shown_in(tmp_path / "ts", "sqlite") == told(story)


@pytest.mark.parametrize("backend", STORES)
@pytest.mark.parametrize("seed", range(3))
def test_zeroclaw_gets_the_same_answers_from_what_is_exported_again(
    backend: str, seed: int, tmp_path: Path
) -> None:
    """Lists, histories, searches and times to the last digit."""
    story = make_story(seed)
    source = make_sqlite(tmp_path / "zc" / "sessions" / "sessions.db", story)
    bring_in(tmp_path / "ts", backend, tmp_path / "zc")
    out = tmp_path / "out"
    result = turnstream(
        *("export", "--format", "zeroclaw", out),
        workspace=tmp_path / "ts",
        environ=_environ(backend),
    )
    assert result.code == 0, result.err
    keys = [known.key for known in story.known]
    assert answers(out / "sessions" / "sessions.db", keys, WORDS) == answers(source, keys, WORDS)


def test_session_files_are_exported_as_zeroclaw_writes_them(tmp_path: Path) -> None:
    """Byte for byte, if nothing was set aside."""
    story = Story(
        [Known("gw_1"), Known("tg_2")],
        [Said("gw_1", "user", 'a "quoted" line\n'), Said("tg_2", "assistant", "日本\u2028")],
    )
    made = make_jsonl(tmp_path / "zc" / "sessions", story)
    bring_in(tmp_path / "ts", "jsonl", tmp_path / "zc")
    out = tmp_path / "out"
    options = ("--format", "zeroclaw", "--store", "jsonl")
    turnstream("export", out, *options, workspace=tmp_path / "ts", environ=_environ("jsonl"))
    for path in made:
        assert (out / "sessions" / path.name).read_bytes() == path.read_bytes()


def test_an_import_travels_in_an_export(tmp_path: Path) -> None:
    """So that the way back to ZeroClaw stays open from another store."""
    source = make_sqlite(tmp_path / "zc" / "sessions" / "sessions.db", make_story(4))
    bring_in(tmp_path / "a", "sqlite", tmp_path / "zc")
    first = export(tmp_path / "a", "sqlite", tmp_path / "first.jsonl")
    bring_in(tmp_path / "b", "jsonl", tmp_path / "first.jsonl")
    assert export(tmp_path / "b", "jsonl", tmp_path / "second.jsonl") == first
    out = tmp_path / "out"
    turnstream(
        *("export", "--format", "zeroclaw", out),
        workspace=tmp_path / "b",
        environ=_environ("jsonl"),
    )
    keys = [known.key for known in make_story(4).known]
    assert answers(out / "sessions" / "sessions.db", keys, WORDS) == answers(source, keys, WORDS)


def test_a_path_that_holds_nothing_is_an_error_that_says_so(tmp_path: Path) -> None:
    """Nothing is made for it."""
    (tmp_path / "empty").mkdir()
    result = turnstream("import", tmp_path / "empty", workspace=tmp_path / "ts")
    assert (result.code, "holds no sessions of ZeroClaw" in result.err) == (78, True)
