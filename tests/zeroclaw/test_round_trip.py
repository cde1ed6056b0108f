"""A workspace that was read and written again gives ZeroClaw the same answers as before."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from sessions.zeroclaw.values import ForeignSession
from sessions.zeroclaw.writing import write_workspace
from tests.zeroclaw.making import (
    KEYS,
    Known,
    Said,
    Story,
    everything_in,
    make_jsonl,
    make_sqlite,
    make_story,
)
from tests.zeroclaw.reading import Found, read_all
from tests.zeroclaw.upstream import answers

Read = Callable[[], Found]
WORDS = (
    *(
        "pear",
        "APPLE",
        "fig date",
        "hello",
        "gw",
        "telegram",
        "discord_club_9_x",
        "日本語のテキスト",
    ),
    *("Grüße", "nothing", "", '"', "*", "AND", "7", "plum 3"),
)


@pytest.mark.parametrize("seed", range(5))
def test_a_database_answers_the_same(
    sessions: Path, tmp_path: Path, read_here: Read, seed: int
) -> None:
    story = make_story(seed, messages=400)
    source = make_sqlite(sessions / "sessions.db", story)
    found = read_here()
    write_workspace(tmp_path / "out", found.sessions, found.messages, format="sqlite")
    keys = [known.key for known in story.known]
    before = answers(source, keys, WORDS)
    assert answers(tmp_path / "out" / "sessions" / "sessions.db", keys, WORDS) == before
    searches = before["searches"]
    assert isinstance(searches, dict)
    assert len({str(each) for each in searches.values()}) > 5


def test_an_old_database_answers_as_zeroclaw_would_after_it_has_opened_it(
    sessions: Path, tmp_path: Path, read_here: Read
) -> None:
    story = make_story(9)
    make_sqlite(sessions / "sessions.db", story, version=0)
    bare = [
        Known(known.key, known.created, known.active, {"state": "idle"}) for known in story.known
    ]
    opened = make_sqlite(tmp_path / "opened.db", Story(bare, story.said))
    found = read_here()
    write_workspace(tmp_path / "out", found.sessions, found.messages, format="sqlite")
    out = tmp_path / "out" / "sessions" / "sessions.db"
    assert answers(out, KEYS, WORDS) == answers(opened, KEYS, WORDS)


def test_what_was_left_without_metadata_has_it_afterwards(
    sessions: Path, tmp_path: Path, read_here: Read
) -> None:
    make_sqlite(sessions / "sessions.db", Story([], [Said("lost", "user", "pear")]))
    found = read_here()
    write_workspace(tmp_path / "out", found.sessions, found.messages, format="sqlite")
    with closing(sqlite3.connect(tmp_path / "out" / "sessions" / "sessions.db")) as out:
        assert out.execute("SELECT message_count FROM session_metadata").fetchall() == [(1,)]


def test_files_come_back_byte_for_byte_with_their_times(
    sessions: Path, tmp_path: Path, read_here: Read
) -> None:
    story = make_story(4)
    plain = [known for known in story.known if known.key.replace("_", "").isalnum()]
    make_jsonl(sessions, Story(plain, story.said))
    found = read_here()
    written = write_workspace(tmp_path / "out", found.sessions, found.messages, format="jsonl")
    assert not written.renamed
    times = {name: entry[1:] for name, entry in everything_in(sessions).items()}
    out = everything_in(tmp_path / "out" / "sessions")
    assert {name: entry[1:] for name, entry in out.items()} == times


def test_from_one_format_to_the_other_and_back_no_message_changes(
    sessions: Path, tmp_path: Path, read_here: Read
) -> None:
    story = make_story(6)
    make_sqlite(sessions / "sessions.db", story)
    found = read_here()
    files = write_workspace(tmp_path / "1", found.sessions, found.messages, format="jsonl")
    assert (files.sessions, files.messages) == (len(story.known), len(story.said))
    between = read_all(tmp_path / "1", tmp_path / "scratch")
    write_workspace(tmp_path / "2", between.sessions, between.messages, format="sqlite")
    again = read_all(tmp_path / "2", tmp_path / "scratch")
    told = sorted(str(again.texts(key)) for key in again.keys)
    assert told == sorted(str(story.messages(known.key)) for known in story.known)


def test_what_could_not_be_taken_as_it_is_goes_back_as_it_came(
    sessions: Path, tmp_path: Path, read_here: Read
) -> None:
    known = Known("k", "soon", "never", {"state": "", "name": "", "turn_started_at": "then"})
    make_sqlite(sessions / "sessions.db", Story([known], [Said("k", "", "x", "??")]))
    found = read_here()
    assert isinstance(found.sessions[0], ForeignSession)
    write_workspace(tmp_path / "out", found.sessions, found.messages, format="sqlite")
    out = tmp_path / "out" / "sessions" / "sessions.db"
    assert answers(out, ["k"], ["x"]) == answers(sessions / "sessions.db", ["k"], ["x"])
