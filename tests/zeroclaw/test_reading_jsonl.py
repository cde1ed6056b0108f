"""Reading JSONL files as ZeroClaw's `load` does, with every kind of damage, and nothing lost."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from sessions.errors import ConfigError, ForeignChanged
from sessions.zeroclaw import chrono, files
from sessions.zeroclaw.finding import find_sources
from tests.zeroclaw.making import Known, Said, Story, line_of, make_jsonl, make_story
from tests.zeroclaw.reading import Found, read, read_all
from tests.zeroclaw.test_lines import BLANK, MESSAGES, NOT_JSON, NOT_UTF8, OTHERS

Read = Callable[[], Found]
# A line without its end, and the message that ZeroClaw reads there: None if it reads none.
Lines = list[tuple[bytes, tuple[str, str] | None]]
# The deep ones take a second together; test_lines has them.
_LONG: Final = 10_000
GOOD: Final = [(line, found) for line, found in MESSAGES.items() if len(line) < _LONG]
BAD: Final = [line for line in (*NOT_UTF8, *NOT_JSON, *OTHERS) if len(line) < _LONG]
NO_END: Final = [line for line in BAD if b"\n" not in line]


def damaged(dice: random.Random, story: Story, key: str) -> Lines:
    """The lines of a session, with others between them and some of them cut."""
    lines: Lines = []
    for role, content in story.messages(key):
        line = line_of(role, content)[:-1]
        match dice.randrange(8):
            case 0:
                lines.append((dice.choice(NO_END), None))
            case 1:
                lines.append((dice.choice(BLANK), None))
            case 2:
                lines.append(dice.choice(GOOD))
            case 3:
                # A crash in the middle of a line; the next message follows at once.
                lines.append((line[: dice.randrange(1, len(line))] + line, None))
                continue
            case 4:
                line += b"\r"
            case _:
                pass
        lines.append((line, (role, content)))
    return lines


def test_a_thousand_damaged_files_give_what_zeroclaw_reads_and_keep_the_rest(
    sessions: Path, read_here: Read
) -> None:
    dice = random.Random(16)
    expected: dict[str, Lines] = {}
    for number in range(1000):
        story = make_story(number, sessions=3, messages=dice.randrange(12))
        key = f"telegram_{number}"
        expected[key] = damaged(dice, story, "gw_7d3c")
        data = b"\n".join(line for line, _ in expected[key])
        (sessions / f"{key}.jsonl").write_bytes(data + b"\n" * dice.randrange(2))
    found = read_here()
    assert sorted(found.keys) == sorted(expected)
    messages = {(each.key, each.place): (each.role, each.content) for each in found.messages}
    aside = {(each.source, each.place): each for each in found.aside}
    for key, lines in expected.items():
        for number, (line, message) in enumerate(lines, 1):
            assert messages.pop((key, number), None) == message, line
            kept = aside.pop((f"{key}.jsonl", f"line {number}"), None)
            is_lost = message is None and line not in BLANK
            assert (kept is not None and kept.data == line and kept.size == len(line)) is is_lost
    assert not messages
    assert not aside


def test_a_session_has_the_time_of_its_file_to_the_nanosecond(
    sessions: Path, read_here: Read
) -> None:
    [path] = make_jsonl(sessions, Story([Known("k")], [Said("k", "user", "hi")]))
    modified = path.stat().st_mtime_ns
    found = read_here()
    [session], [message] = found.sessions, found.messages
    assert session.created_at == session.last_activity == message.created_at == modified // 1000
    texts = {session.created_text, session.active_text, message.time_text}
    assert {chrono.nanoseconds(session.created_at, text) for text in texts} == {modified}
    assert (session.state, session.name, session.agent) == ("idle", None, None)


@pytest.mark.parametrize(
    "name", ["a.b", "a b", "ünï", "A", "a", "cafe\u0301", "x.jsonl", "-", "é" * 100]
)
def test_the_key_is_the_name_byte_for_byte(sessions: Path, read_here: Read, name: str) -> None:
    make_jsonl(sessions, Story([Known(name)], [Said(name, "user", "hi")]))
    assert read_here().keys == [name]


def test_names_that_differ_by_case_or_form_are_different_sessions(
    sessions: Path, read_here: Read
) -> None:
    keys = ["Key", "key", "caf\u00e9", "cafe\u0301"]
    make_jsonl(sessions, Story([Known(key) for key in keys], [Said(keys[0], "u", "x")]))
    assert sorted(read_here().keys) == sorted(keys)


def test_an_empty_file_is_a_session_without_messages(sessions: Path, read_here: Read) -> None:
    (sessions / "cleared.jsonl").touch()
    found = read_here()
    assert (found.keys, found.messages, found.aside) == (["cleared"], [], [])


def test_a_file_in_utf_16_is_set_aside_line_by_line(sessions: Path, read_here: Read) -> None:
    data = (line_of("user", "one") + line_of("user", "two")).decode().encode("utf-16-le")
    (sessions / "k.jsonl").write_bytes(b"\xff\xfe" + data)
    found = read_here()
    assert not found.messages
    assert b"\n".join(aside.data for aside in found.aside) == b"\xff\xfe" + data


def test_what_is_no_plain_file_is_set_aside_and_not_followed(
    tmp_path: Path, sessions: Path, read_here: Read
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(line_of("user", "secret"))
    (sessions / "link.jsonl").symlink_to(secret)
    (sessions / "loop.jsonl").symlink_to("loop.jsonl")
    (sessions / "folder.jsonl").mkdir()
    os.mkfifo(sessions / "pipe.jsonl")
    found = read_here()
    assert not found.sessions
    assert {aside.source: aside.reason for aside in found.aside} == {
        "folder.jsonl": "it is a directory",
        "link.jsonl": "it is a symbolic link",
        "loop.jsonl": "it is a symbolic link",
        "pipe.jsonl": "it is a pipe",
    }
    assert {(aside.place, aside.data, aside.size) for aside in found.aside} == {("file", b"", 0)}


def test_a_name_that_is_not_utf_8_is_set_aside_with_the_file(
    sessions: Path, read_here: Read
) -> None:
    for name in (b"\xff\xfe.jsonl", b"\xff\xfd.jsonl"):
        Path(os.fsdecode(os.fsencode(sessions) + b"/" + name)).write_bytes(line_of("user", "hi"))
    found = read_here()
    assert not found.sessions
    assert [(aside.source, aside.data) for aside in found.aside] == [
        (r"\xff\xfd.jsonl", line_of("user", "hi")),
        (r"\xff\xfe.jsonl", line_of("user", "hi")),
    ]


def test_a_line_that_is_too_long_is_set_aside_by_its_beginning(
    sessions: Path, read_here: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "LONGEST", 1000)
    monkeypatch.setattr(files, "_CHUNK", 300)
    around = len(line_of("user", "")) - 1
    lines = [
        line_of("user", "before"),
        line_of("user", "x" * 5000),
        line_of("user", "y" * (1000 - around)),
        line_of("user", "z" * (1001 - around)),
        line_of("user", "after"),
    ]
    (sessions / "k.jsonl").write_bytes(b"".join(lines))
    (sessions / "open.jsonl").write_bytes(lines[2][:-1])
    found = read_here()
    assert [content[0] for _, content in found.texts("k")] == ["b", "y", "a"]
    assert [content[0] for _, content in found.texts("open")] == ["y"]
    assert [(aside.place, aside.data, aside.size) for aside in found.aside] == [
        ("line 2", lines[1][:1000], len(lines[1]) - 1),
        ("line 4", lines[3][:1000], 1001),
    ]
    assert all("1,000 are the most" in aside.reason for aside in found.aside)


def test_digest_and_size_are_those_of_the_bytes(sessions: Path, scratch: Path) -> None:
    data = line_of("user", "hi") + b"damage\n\xff\n" + b"no end"
    (sessions / "k.jsonl").write_bytes(data)
    [source] = find_sources(sessions, scratch)
    with pytest.raises(RuntimeError):
        _ = source.size
    read([source])
    assert (source.digest, source.size) == (hashlib.sha256(data).hexdigest(), len(data))
    assert source.fingerprint.size == len(data)
    read([source])
    assert source.digest == hashlib.sha256(data).hexdigest()


def test_a_file_that_grows_while_it_is_read_is_noticed(sessions: Path, scratch: Path) -> None:
    path = sessions / "k.jsonl"
    path.write_bytes(line_of("user", "one") * 3)
    [source] = find_sources(sessions, scratch)
    records = source.read()
    next(records)
    next(records)
    with open(path, "ab") as file:
        file.write(line_of("user", "two"))
    with pytest.raises(ForeignChanged, match="stop ZeroClaw"):
        list(records)


def test_a_file_that_became_a_link_or_a_pipe_is_not_followed(
    tmp_path: Path, sessions: Path, scratch: Path
) -> None:
    path = sessions / "k.jsonl"
    path.write_bytes(line_of("user", "hi"))
    elsewhere = tmp_path / "elsewhere"
    os.link(path, elsewhere)
    [source] = find_sources(sessions, scratch)
    path.unlink()
    path.symlink_to(elsewhere)
    with pytest.raises(ConfigError, match="cannot be read"):
        read([source])
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ForeignChanged):
        read([source])


def test_a_single_file_is_read_whatever_lies_beside_it(tmp_path: Path, scratch: Path) -> None:
    make_jsonl(tmp_path, make_story(1))
    found = read_all(tmp_path / "gw_a.b.jsonl", scratch)
    assert found.keys == ["gw_a.b"]


@pytest.mark.parametrize("suffix", [".jsonl.migrated", ".jsonl.importing"])
def test_a_single_file_may_be_one_that_was_moved(
    tmp_path: Path, scratch: Path, suffix: str
) -> None:
    make_jsonl(tmp_path, Story([Known("k")], [Said("k", "user", "hi")]), suffix=suffix)
    assert read_all(tmp_path / f"k{suffix}", scratch).texts("k") == [("user", "hi")]


def test_our_own_files_beside_them_are_not_read(
    sessions: Path, read_here: Read, workspace: Path, scratch: Path
) -> None:
    ours = b'{"role":"user","content":"hi","id":"1","seq":1,"created_at":"x","session":"k"}\n'
    (sessions / "k.jsonl").write_bytes(ours)
    (sessions / "k.meta.json").write_bytes(b"{}")
    (sessions / "reset.jsonl").touch()
    (sessions / "reset.meta.json").write_bytes(b"{}")
    (sessions / "bare.jsonl").write_bytes(ours)
    (sessions / "k.jsonl.torn").write_bytes(line_of("user", "torn"))
    (sessions / ".k.jsonl.next").write_bytes(ours)
    (sessions / ".hidden.jsonl").write_bytes(line_of("user", "hidden"))
    for name in ("turnstream.db", "index.db", "index.db-wal"):
        (sessions / name).write_bytes(b"ours")
    with pytest.raises(ConfigError, match="no sessions of ZeroClaw"):
        find_sources(workspace, scratch)
    for name in ("k.jsonl", "bare.jsonl", "turnstream.db", "index.db"):
        with pytest.raises(ConfigError, match="Turnstream's own"):
            find_sources(sessions / name, scratch)
    (sessions / "theirs.jsonl").write_bytes(line_of("user", "hi"))
    assert read_here().keys == ["theirs"]


@pytest.mark.parametrize("name", ["", "sessions", "nothing"])
def test_a_place_without_sessions_is_refused(
    workspace: Path, sessions: Path, scratch: Path, name: str
) -> None:
    with pytest.raises(ConfigError, match=r"holds no sessions|cannot be read"):
        find_sources(workspace / name, scratch)
