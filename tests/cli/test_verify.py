"""`verify`: what it finds in a store that differs from a file, or from itself."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from cli.__main__ import main
from tests.cli.command import write_turns
from tests.cli.planted import changing, store_file

FAULTS = ("lost", "duplicated", "reordered", "changed")
COPY = """INSERT INTO messages (session_id, seq, event_id, role, turn, created_at, content)
    SELECT session_id, seq + 100, event_id, role, turn, created_at, content
    FROM messages WHERE session_id = 1 AND seq = 2"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Three sessions of four turns each."""
    return write_turns(tmp_path / "turns.jsonl", sessions=3, turns=4)


@pytest.fixture(params=["sqlite", "jsonl"])
def backend(request: pytest.FixtureRequest) -> str:
    """Each backend that keeps something."""
    return request.param


@pytest.fixture
def stored(file: Path, workspace: Path) -> Path:
    """The workspace of a sqlite store that holds the file."""
    asyncio.run(store_file(file, workspace, "sqlite"))
    return workspace


class Verify:
    """Runs `turnstream verify` and keeps what it found."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.code = 0

    def __call__(self, workspace: Path, *arguments: object, backend: str = "sqlite") -> Any:
        argv = ["verify", "--json", "--workspace", str(workspace), *map(str, arguments)]
        self.code = main(argv, {"TURNSTREAM_SESSION_BACKEND": backend})
        return json.loads(self._capsys.readouterr().out)


@pytest.fixture
def verify(capsys: pytest.CaptureFixture[str]) -> Verify:
    """`turnstream verify`."""
    return Verify(capsys)


def counts(report: dict[str, Any]) -> dict[str, int]:
    """The faults of which there are any."""
    return {kind: report[kind] for kind in FAULTS if report[kind]}


def plant(workspace: Path, *commands: str) -> None:
    """Change the store behind everybody's back."""
    with changing(workspace) as connection:
        for command in commands:
            connection.execute(command)


def test_a_store_that_holds_the_file_agrees(
    file: Path, workspace: Path, backend: str, verify: Verify
) -> None:
    """Every turn is compared; the exit code is 0."""
    asyncio.run(store_file(file, workspace, backend))
    report = verify(workspace, "--against", file, backend=backend)
    assert report["agrees"]
    assert (verify.code, report["sessions"], report["turns"]) == (0, 3, 12)
    assert counts(report) == {}


@pytest.mark.parametrize(
    ("commands", "expected"),
    [
        (["DELETE FROM messages WHERE seq = 2 AND session_id = 1"], {"lost": 1}),
        (["DELETE FROM messages WHERE session_id = 2"], {"lost": 4}),
        ([COPY], {"duplicated": 1}),
        ([COPY, "UPDATE messages SET event_id = 'other' WHERE seq = 102"], {"duplicated": 1}),
        (["UPDATE messages SET seq = 9 WHERE seq = 1 AND session_id = 3"], {"reordered": 1}),
        (["UPDATE messages SET content = 'x' WHERE seq = 3 AND session_id = 1"], {"changed": 1}),
        (["UPDATE messages SET role = 'tool' WHERE seq = 3"], {"changed": 3}),
        (
            ["DELETE FROM messages WHERE seq = 2", COPY.replace("seq = 2", "seq = 3")],
            {"lost": 3, "duplicated": 1},
        ),
    ],
)
def test_a_planted_difference_is_counted(
    file: Path, stored: Path, verify: Verify, commands: list[str], expected: dict[str, int]
) -> None:
    """As what it is, and nothing else; the exit code is 1."""
    plant(stored, *commands)
    report = verify(stored, "--against", file)
    assert counts(report) == expected
    assert (verify.code, report["agrees"]) == (1, False)


def test_an_example_says_where(file: Path, stored: Path, verify: Verify) -> None:
    """The session, the line of the file, and the number in the store."""
    plant(stored, "UPDATE messages SET content = 'x' WHERE seq = 3 AND session_id = 2")
    [example] = verify(stored, "--against", file)["examples"]
    assert (example["kind"], example["session"]) == ("changed", "s1")
    assert (example["line"], example["seq"]) == (7, 3)


def test_at_most_twenty_examples_are_kept(tmp_path: Path, workspace: Path, verify: Verify) -> None:
    """A store that lost everything is told in a screenful."""
    file = write_turns(tmp_path / "many.jsonl", sessions=10, turns=10)
    asyncio.run(store_file(file, workspace, "sqlite"))
    plant(workspace, "DELETE FROM messages")
    report = verify(workspace, "--against", file)
    assert (report["lost"], len(report["examples"])) == (100, 20)


def test_turns_that_others_published_are_compared_by_their_text(
    file: Path, stored: Path, verify: Verify
) -> None:
    """Ids of another origin are no fault as long as the conversation is the same."""
    plant(stored, "UPDATE messages SET event_id = 'telegram:' || id")
    assert verify(stored, "--against", file)["agrees"]
    plant(stored, "UPDATE messages SET seq = 9 WHERE seq = 1 AND session_id = 1")
    assert counts(verify(stored, "--against", file)) == {"reordered": 1}


def test_what_was_said_later_is_no_fault(file: Path, stored: Path, verify: Verify) -> None:
    """A conversation that goes on after a replay still holds it."""
    plant(
        stored,
        COPY.replace(
            "event_id, role, turn, created_at, content\n    FROM",
            "'new', role, turn, created_at, 'something new'\n    FROM",
        ),
    )
    report = verify(stored, "--against", file)
    assert (report["agrees"], report["added"]) == (True, 1)


def test_a_workspace_without_a_store_is_an_error(
    file: Path, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is not taken for a store that lost everything, and none is made."""
    assert main(["verify", "--against", str(file), "--workspace", str(workspace)], {}) == 1
    assert "no store" in capsys.readouterr().err
    assert not workspace.exists()


def test_a_sound_store_is_sound(file: Path, workspace: Path, backend: str, verify: Verify) -> None:
    """Without a file the store is checked against itself."""
    asyncio.run(store_file(file, workspace, backend))
    health = verify(workspace, backend=backend)
    assert (verify.code, health["sound"]) == (0, True)
    assert (health["sessions"], health["messages"], health["events"]) == (3, 12, 12)


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        ("UPDATE sessions SET message_count = 9 WHERE id = 1", "message_count"),
        ("UPDATE sessions SET next_seq = 2 WHERE id = 1", "number out again"),
        ("UPDATE messages SET session_id = 77 WHERE id = 1", "live session"),
        ("DELETE FROM events WHERE seq = 2 AND session_id = 1", "does not know"),
        ("DELETE FROM messages WHERE seq = 2 AND session_id = 1", "message is missing"),
        ("UPDATE messages SET content = NULL WHERE id = 3", "without a text"),
        ("UPDATE stream SET ms = 0", "cursor"),
        ("INSERT INTO search (rowid, body) VALUES (99, 'nobody said this')", "without a message"),
        (
            "INSERT INTO search (search, rowid, body) VALUES ('delete', 2, 'turn 1 u2615')",
            "search does not find",
        ),
    ],
)
def test_a_store_that_contradicts_itself_is_told(
    stored: Path, verify: Verify, command: str, kind: str
) -> None:
    """Each kind of fault has a name."""
    plant(stored, command)
    health = verify(stored)
    assert (verify.code, health["sound"]) == (1, False)
    assert any(kind in name for name, number in health["faults"].items() if number)


def test_missing_numbers_need_an_explanation(stored: Path, verify: Verify) -> None:
    """A message that was removed with its event's row leaves a hole in the numbers."""
    plant(
        stored,
        "DELETE FROM events WHERE seq = 2 AND session_id = 1",
        "DELETE FROM messages WHERE seq = 2 AND session_id = 1",
        "UPDATE sessions SET message_count = 3 WHERE id = 1",
    )
    faults = {name for name, number in verify(stored)["faults"].items() if number}
    assert "sessions with missing numbers that no event explains" in faults


def test_a_session_file_that_was_changed_is_told(
    file: Path, workspace: Path, verify: Verify
) -> None:
    """The index of a jsonl store knows which line is whose."""
    asyncio.run(store_file(file, workspace, "jsonl"))
    path = workspace / "sessions" / "s1.jsonl"
    path.write_bytes(path.read_bytes().replace(b"-00000006", b"-00000099"))
    assert verify(workspace, backend="jsonl")["faults"]["messages without a text"] == 1


def test_a_damaged_file_is_told_without_a_traceback(
    file: Path, stored: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No traceback, for any content of the file and any user that looks at it."""
    path = stored / "sessions" / "turnstream.db"
    path.write_bytes(b"no database at all".ljust(4096))
    for command in (["verify"], ["doctor"], ["verify", "--against", str(file)]):
        assert main([*command, "--workspace", str(stored)], {}) == 1
        printed = capsys.readouterr()
        assert str(path) in printed.out + printed.err
        assert "Traceback" not in printed.err


def test_an_index_is_made_again_from_the_files(file: Path, workspace: Path, verify: Verify) -> None:
    """A jsonl store that lost its index holds all of its turns afterwards."""
    asyncio.run(store_file(file, workspace, "jsonl"))
    (workspace / "sessions" / "index.db").unlink()
    rebuilt = verify(workspace, "--rebuild-index", backend="jsonl")
    assert (verify.code, rebuilt["sessions"], rebuilt["messages"]) == (0, 3, 12)
    assert verify(workspace, "--against", file, backend="jsonl")["agrees"]
    assert verify(workspace, backend="jsonl")["sound"]


def test_rebuilding_an_index_is_refused_where_there_is_none(stored: Path) -> None:
    """The exit code says that it is a matter of configuration."""
    assert main(["verify", "--rebuild-index", "--workspace", str(stored)], {}) == os.EX_CONFIG
