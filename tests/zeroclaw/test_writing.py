"""What is written is what ZeroClaw would have written, whole or not at all."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from sessions.errors import ConfigError
from sessions.zeroclaw.values import ForeignMessage, ForeignSession, Format
from sessions.zeroclaw.writing import write_workspace
from tests.zeroclaw.making import Story, make_sqlite
from tests.zeroclaw.reading import read_all

TIME: Final = 1_772_000_000_123_456
FORMATS: Final[list[Format]] = ["sqlite", "jsonl"]


def session(key: str, at: int = TIME) -> ForeignSession:
    """A session of which only key and time are known."""
    return ForeignSession.bare(key, (at, None), (at, None))


def message(key: str, content: str = "hi", at: int = TIME) -> ForeignMessage:
    """A message of a user."""
    return ForeignMessage(key, "user", content, at)


def below(directory: Path) -> list[str]:
    """Every file and directory, hidden ones too."""
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


def test_the_database_has_the_very_tables_indexes_and_triggers_of_zeroclaw(
    workspace: Path, tmp_path: Path
) -> None:
    write_workspace(workspace, [session("k")], [message("k")], format="sqlite")
    theirs = make_sqlite(tmp_path / "theirs.db", Story([], []))
    objects = "SELECT type, name, tbl_name, sql FROM sqlite_master"
    columns = (
        "SELECT m.name, c.* FROM sqlite_master m, pragma_table_info(m.name) c "
        "WHERE m.type = 'table' ORDER BY m.name, c.cid"
    )
    told: list[object] = []
    for path in (theirs, workspace / "sessions" / "sessions.db"):
        with closing(sqlite3.connect(path)) as opened:
            # In the same words, whatever blanks are between them.
            made = sorted(
                "".join(str(row).replace(r"\n", "").split()) for row in opened.execute(objects)
            )
            told.append((made, opened.execute(columns).fetchall()))
    assert told[0] == told[1]


def test_the_database_is_whole_by_itself_and_in_wal_mode(workspace: Path) -> None:
    write_workspace(workspace, [session("k")], [message("k")], format="sqlite")
    assert below(workspace) == ["sessions", "sessions/sessions.db"]
    with closing(sqlite3.connect(workspace / "sessions" / "sessions.db")) as opened:
        assert opened.execute("PRAGMA journal_mode").fetchall() == [("wal",)]
        assert opened.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        check = "INSERT INTO sessions_fts(sessions_fts, rank) VALUES ('integrity-check', 1)"
        opened.execute(check)
        counts = "SELECT session_key, message_count FROM session_metadata"
        assert opened.execute(counts).fetchall() == [("k", 1)]


def test_zeroclaw_can_go_on_with_the_database(workspace: Path) -> None:
    write_workspace(workspace, [session("k")], [message("k", "pear")], format="sqlite")
    with closing(sqlite3.connect(workspace / "sessions" / "sessions.db")) as opened:
        insert = "INSERT INTO sessions (session_key, role, content, created_at) VALUES (?, ?, ?, ?)"
        opened.execute(insert, ("k", "user", "plum", "x"))
        opened.execute("DELETE FROM sessions WHERE id = 1")
        find = "SELECT rowid FROM sessions_fts WHERE sessions_fts MATCH ?"
        assert opened.execute(find, ("plum",)).fetchall() == [(2,)]
        assert opened.execute(find, ("pear",)).fetchall() == []


def test_a_time_without_a_text_is_written_as_chrono_does(workspace: Path) -> None:
    moments = {0: "", 120_000: ".120", 123_456: ".123456"}
    said = [message("k", str(rest), rest) for rest in moments]
    write_workspace(workspace, [session("k", 0)], said, format="sqlite")
    with closing(sqlite3.connect(workspace / "sessions" / "sessions.db")) as opened:
        found = opened.execute("SELECT created_at FROM sessions ORDER BY id").fetchall()
    assert found == [(f"1970-01-01T00:00:00{part}+00:00",) for part in moments.values()]


def test_lines_are_those_of_serde(workspace: Path) -> None:
    content = 'é/"\\\b\f\n\r\t\x00\x1f\x7f\u2028😀'
    write_workspace(workspace, [session("k")], [message("k", content)], format="jsonl")
    line = (workspace / "sessions" / "k.jsonl").read_text()
    text = r"é/\"\\\b\f\n\r\t\u0000\u001f" + "\x7f\u2028😀"
    assert line == '{"role":"user","content":"' + text + '"}\n'


def test_a_file_has_the_time_of_its_session(workspace: Path) -> None:
    nine = "2026-02-25T06:13:20.123456789+00:00"
    exact = ForeignSession.bare("exact", (TIME, nine), (TIME, nine))
    write_workspace(workspace, [session("k"), exact], [message("k")], format="jsonl")
    times = {path.name: path.stat().st_mtime_ns for path in (workspace / "sessions").iterdir()}
    assert times == {"k.jsonl": TIME * 1000, "exact.jsonl": TIME * 1000 + 789}


def test_a_session_without_messages_is_an_empty_file(workspace: Path) -> None:
    written = write_workspace(workspace, [session("k")], [], format="jsonl")
    assert (workspace / "sessions" / "k.jsonl").read_bytes() == b""
    assert (written.sessions, written.messages, dict(written.renamed)) == (1, 0, {})


def test_two_keys_of_one_name_stay_two_sessions_and_are_told(workspace: Path) -> None:
    keys = ["gw_a.b", "gw_a_b", "gw_a/b", "k" * 300]
    written = write_workspace(
        workspace, map(session, keys), [message(key, key) for key in keys], format="jsonl"
    )
    assert set(written.renamed) == {"gw_a_b", "gw_a/b", "k" * 300}
    files = {"gw_a.b": "gw_a_b.jsonl", **written.renamed}
    assert len(set(files.values())) == len(keys)
    for key, name in files.items():
        assert f'"{key}"' in (workspace / "sessions" / name).read_text()


def test_messages_that_do_not_fit_into_memory_together_come_in_order(workspace: Path) -> None:
    large = "x" * 1_000_000
    said = [message(f"k{number % 3}", f"{number} {large}") for number in range(60)]
    write_workspace(workspace, [session(f"k{n}") for n in range(3)], said, format="jsonl")
    for n in range(3):
        lines = (workspace / "sessions" / f"k{n}.jsonl").read_text().splitlines()
        assert [int(line.split('"')[7].split()[0]) for line in lines] == [*range(n, 60, 3)]


@pytest.mark.parametrize("format", FORMATS)
def test_nobody_else_may_read_it(workspace: Path, format: Format) -> None:
    old = os.umask(0)
    try:
        write_workspace(workspace, [session("k")], [message("k")], format=format)
    finally:
        os.umask(old)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (workspace / "sessions").iterdir()}
    assert modes == {0o600}
    assert stat.S_IMODE((workspace / "sessions").stat().st_mode) == 0o700


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    "name", ["sessions.db", "a.jsonl", "a.jsonl.migrated", "a.jsonl.importing"]
)
def test_sessions_that_are_there_are_not_written_over(
    workspace: Path, sessions: Path, format: Format, name: str
) -> None:
    (sessions / name).write_bytes(b"there")
    with pytest.raises(ConfigError, match="holds sessions already"):
        write_workspace(workspace, [session("a")], [message("a")], format=format)
    assert below(sessions) == [name]
    assert (sessions / name).read_bytes() == b"there"


@pytest.mark.parametrize("format", FORMATS)
def test_a_source_that_fails_leaves_nothing(workspace: Path, format: Format) -> None:
    def failing() -> Iterator[ForeignMessage]:
        yield message("k")
        raise EOFError

    with pytest.raises(EOFError):
        write_workspace(workspace, [session("k")], failing(), format=format)
    assert below(workspace) == ["sessions"]


@pytest.mark.parametrize("format", FORMATS)
def test_what_does_not_fit_together_is_refused(workspace: Path, format: Format) -> None:
    with pytest.raises(ValueError, match="twice"):
        write_workspace(workspace, [session("k"), session("k")], [], format=format)
    with pytest.raises(ValueError, match="without its session"):
        write_workspace(workspace, [session("k")], [message("x")], format=format)
    assert below(workspace) == ["sessions"]


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be written"):
        write_workspace(tmp_path / "file", [], [], format="sqlite")


_KILLED: Final = """
import os, signal, sys
from pathlib import Path
from sessions.zeroclaw.values import ForeignMessage, ForeignSession
from sessions.zeroclaw.writing import write_workspace

def said():
    for number in range(20_000):
        yield ForeignMessage(f"k{number % 50}", "user", "x" * 2000, number)
    os.kill(os.getpid(), signal.SIGKILL)

known = [ForeignSession.bare(f"k{n}", (0, None), (0, None)) for n in range(50)]
write_workspace(Path(sys.argv[1]), known, said(), format=sys.argv[2])
"""


@pytest.mark.parametrize("format", FORMATS)
def test_a_kill_leaves_no_file_that_zeroclaw_would_open(workspace: Path, format: Format) -> None:
    ended = subprocess.run([sys.executable, "-c", _KILLED, str(workspace), format], check=False)
    assert ended.returncode == -signal.SIGKILL
    [left] = (workspace / "sessions").iterdir()
    assert left.name.startswith(".export-")
    write_workspace(workspace, [session("k")], [message("k")], format=format)
    assert read_all(workspace, workspace / "scratch").keys == ["k"]
