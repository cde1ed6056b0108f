"""Files of turns: what is read from them, what they are called by, and what is refused."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from cli.stores.replay import interleaved
from cli.stores.turnfile import BadTurnFile, Turn, TurnFile

GOOD = {"session": "s", "role": "user", "content": "hello"}


def lines(*turns: object) -> bytes:
    """A file with these objects."""
    return b"".join(json.dumps(turn).encode() + b"\n" for turn in turns)


def turn(session: str, content: str) -> dict[str, str]:
    """A line of a file."""
    return {"session": session, "role": "user", "content": content}


def read(path: Path) -> dict[str, list[Turn]]:
    """Everything that the file says."""
    with TurnFile.opened(path) as file:
        return {session: list(file.of(session)) for session in file.sessions}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that does not exist yet."""
    return tmp_path / "turns.jsonl"


def test_each_session_is_read_in_the_files_order(path: Path) -> None:
    """However its lines are mixed with those of others."""
    path.write_bytes(lines(turn("a", "1"), turn("b", "1"), turn("a", "2"), turn("b", "☕")))
    found = read(path)
    assert {session: [t.content for t in turns] for session, turns in found.items()} == {
        "a": ["1", "2"],
        "b": ["1", "☕"],
    }


def test_ids_sort_as_the_lines_do(path: Path) -> None:
    """As text, which is how databases and people sort them."""
    path.write_bytes(lines(*(turn("s", str(number)) for number in range(12))))
    ids = [t.id for t in read(path)["s"]]
    assert ids == sorted(ids)
    assert len(set(ids)) == 12


def test_a_packed_file_is_the_same_file(path: Path, tmp_path: Path) -> None:
    """The ids come from the content, not from how it is packed or called."""
    path.write_bytes(lines(GOOD, turn("t", "more")))
    packed = tmp_path / "other"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert read(packed) == read(path)


def test_another_content_gives_other_ids(path: Path) -> None:
    """A changed file is another one from its first line on."""
    path.write_bytes(lines(GOOD, GOOD))
    before = read(path)["s"][0].id
    path.write_bytes(lines(GOOD, turn("s", "changed")))
    assert read(path)["s"][0].id != before


def test_blank_lines_count_and_say_nothing(path: Path) -> None:
    """So that the number in an id is the one that an editor shows."""
    path.write_bytes(b"\n" + lines(GOOD) + b"  \n\n" + lines(GOOD) + b"\n")
    assert [t.line for t in read(path)["s"]] == [2, 5]


def test_a_last_line_needs_no_newline(path: Path) -> None:
    """Many programs leave it out."""
    path.write_bytes(lines(GOOD).rstrip())
    assert [t.content for t in read(path)["s"]] == ["hello"]


def test_an_empty_file_has_no_turns(path: Path) -> None:
    """Nothing to do is no error."""
    path.touch()
    assert read(path) == {}


@pytest.mark.parametrize(
    ("bad", "what"),
    [
        (b"{", "JSON"),
        (b"[]", "session"),
        (b"\xff", "JSON"),
        (lines({**GOOD, "content": 1}), "content"),
        (lines({"session": "s", "role": "user"}), "content"),
        (lines({**GOOD, "session": ""}), "session"),
        (lines({**GOOD, "session": "x" * 600}), "session"),
        (lines({**GOOD, "role": "x" * 40}), "role"),
        (lines({**GOOD, "content": "x" * 300_000}), "content"),
        (lines({**GOOD, "content": "\ud800"}), "surrogate"),
    ],
)
def test_a_bad_line_is_named(path: Path, bad: bytes, what: str) -> None:
    """By its number, with what is wrong."""
    path.write_bytes(lines(GOOD) + bad + b"\n" + lines(GOOD))
    with pytest.raises(BadTurnFile, match=rf"line 2: .*{what}"):
        read(path)


def test_a_torn_packed_file_is_refused(path: Path) -> None:
    """Half a download is not half a file."""
    path.write_bytes(gzip.compress(lines(*[GOOD] * 1000))[:-20])
    with pytest.raises(BadTurnFile, match="unpacked"):
        read(path)


def test_a_missing_file_is_named(path: Path) -> None:
    """Nothing more is needed to fix it."""
    with pytest.raises(BadTurnFile, match=str(path)):
        read(path)


def test_sessions_are_interleaved_one_turn_at_a_time(path: Path) -> None:
    """No more of them are open than asked for; one that ends makes room for the next."""
    path.write_bytes(lines(*(turn(key, f"{key}{n}") for key in "abc" for n in range(2))))
    with TurnFile.opened(path) as file:
        order = [t.content for t in interleaved(map(file.of, file.sessions), 2)]
    assert order == ["a0", "b0", "a1", "b1", "c0", "c1"]
