"""Reading sessions.db: every version of it, whatever stands in it, with anybody at work on it."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

import pytest

from sessions import times
from sessions.errors import ConfigError, ForeignChanged
from sessions.zeroclaw import chrono
from sessions.zeroclaw.finding import find_sources
from sessions.zeroclaw.values import ForeignMessage, ForeignSession
from tests.zeroclaw.making import (
    ADDED,
    T0,
    Known,
    Said,
    Story,
    everything_in,
    insert_said,
    make_schema,
    make_sqlite,
    make_story,
)
from tests.zeroclaw.reading import Found, read, read_all

Read = Callable[[], Found]
COLUMNS = ("name", "agent_alias", "channel_id", "room_id", "sender_id", "state", "turn_id")


@pytest.fixture
def database(sessions: Path) -> Iterator[sqlite3.Connection]:
    """An empty sessions.db that its user has open."""
    with closing(sqlite3.connect(sessions / "sessions.db", isolation_level=None)) as opened:
        make_schema(opened)
        yield opened


def shown(session: ForeignSession) -> dict[str, str | None]:
    """A session as its columns."""
    values = (
        session.name,
        session.agent,
        session.channel,
        session.room,
        session.sender,
        session.state,
        session.turn,
    )
    return dict(zip(COLUMNS, values, strict=True))


def expected(known: Known, there: set[str]) -> dict[str, str | None]:
    """The columns as they must be read."""
    read_as = {name: known.more.get(name) if name in there else None for name in COLUMNS}
    return {**read_as, "state": read_as["state"] or "idle"}


@pytest.mark.parametrize("version", range(len(ADDED) + 1))
def test_every_version_is_read(sessions: Path, read_here: Read, version: int) -> None:
    story = make_story(version)
    make_sqlite(sessions / "sessions.db", story, version=version)
    found = read_here()
    there = set(list(ADDED)[:version])
    assert [shown(each) for each in found.sessions] == [
        expected(known, there) for known in story.known
    ]
    assert [(each.key, each.role, each.content) for each in found.messages] == [
        (said.key, said.role, said.content) for said in story.said
    ]
    assert not found.aside
    assert not found.remarks


@pytest.mark.parametrize("column", ADDED)
def test_each_column_may_be_missing_by_itself(sessions: Path, read_here: Read, column: str) -> None:
    story = make_story(7)
    make_sqlite(sessions / "sessions.db", story, without={column})
    there = set(ADDED) - {column}
    assert [shown(each) for each in read_here().sessions] == [
        expected(known, there) for known in story.known
    ]


def test_times_keep_their_texts_and_places_are_the_ids(sessions: Path, read_here: Read) -> None:
    story = make_story(3)
    make_sqlite(sessions / "sessions.db", story)
    found = read_here()
    for message, said in zip(found.messages, story.said, strict=True):
        assert chrono.written(message.created_at, message.time_text) == said.at
        assert message.created_at == times.parse(said.at)
    assert [message.place for message in found.messages] == [*range(1, len(story.said) + 1)]
    for session, known in zip(found.sessions, story.known, strict=True):
        assert chrono.written(session.created_at, session.created_text) == known.created
        assert chrono.written(session.last_activity, session.active_text) == known.active
        since = known.more["turn_started_at"]
        assert (session.state_since is None) is (since is None)
        if session.state_since is not None:
            assert chrono.written(session.state_since, session.since_text) == since


def test_messages_without_metadata_come_with_a_session_of_their_times(
    sessions: Path, read_here: Read
) -> None:
    later, earlier = "2026-03-05T00:00:00.5+00:00", "2026-03-02T00:00:00+00:00"
    said = [
        Said("lost", "user", "a", later),
        Said("lost", "user", "b", earlier),
        Said("k", "u", "c"),
    ]
    make_sqlite(sessions / "sessions.db", Story([Known("k")], said))
    found = read_here()
    assert found.keys == ["k", "lost"]
    lost = found.sessions[1]
    assert (lost.created_at, lost.last_activity) == (times.parse(earlier), times.parse(later))
    assert (lost.created_text, lost.active_text, lost.state) == (None, later, "idle")
    assert found.texts("lost") == [("user", "a"), ("user", "b")]
    assert [remark.place for remark in found.remarks] == ["session lost"]


def test_a_session_without_messages_comes_too(sessions: Path, read_here: Read) -> None:
    make_sqlite(sessions / "sessions.db", Story([Known("empty")], []))
    assert read_here().keys == ["empty"]


def test_a_row_that_is_no_message_is_set_aside_with_all_that_is_in_it(
    sessions: Path, read_here: Read, database: sqlite3.Connection
) -> None:
    insert_said(database, [Said("k", "user", "good")])
    bad = "INSERT INTO sessions (session_key, role, content, created_at) VALUES "
    database.execute(f"{bad} ('k', 'user', x'ff00', '{T0}')")
    database.execute(f"{bad} ('k', 'user', CAST(x'61ff' AS TEXT), '{T0}')")
    database.execute(f"{bad} (x'6b', 'user', 'text', '{T0}')")
    database.execute(f"{bad} ('k', CAST(x'c0' AS TEXT), 'text', '{T0}')")
    insert_said(database, [Said("k", "user", "good too")])
    found = read_here()
    assert found.texts("k") == [("user", "good"), ("user", "good too")]
    assert [aside.place for aside in found.aside] == ["row 2", "row 3", "row 4", "row 5"]
    assert all(aside.source == "sessions.db" for aside in found.aside)
    rows = [json.loads(aside.data) for aside in found.aside]
    assert [row[3] for row in rows] == [{"hex": "ff00"}, {"hex": "61ff"}, "text", "text"]
    assert rows[2][1] == {"hex": "6b"}
    assert [aside.size for aside in found.aside] == [len(aside.data) for aside in found.aside]


def test_metadata_that_is_no_text_does_not_hide_its_session(
    sessions: Path, read_here: Read, database: sqlite3.Connection
) -> None:
    names = "INSERT INTO session_metadata (session_key, created_at, last_activity, name, state)"
    database.execute(f"{names} VALUES ('k', '{T0}', '{T0}', x'00', x'01')")
    database.execute(f"{names} VALUES (x'6b', '{T0}', '{T0}', 'n', 'idle')")
    database.execute(f"{names} VALUES (NULL, '{T0}', '{T0}', 'n', 'idle')")
    insert_said(database, [Said("k", "user", "hi"), Said("only", "user", "there")])
    found = read_here()
    assert found.keys == ["k", "only"]
    assert (found.sessions[0].name, found.sessions[0].state) == (None, "idle")
    assert [(aside.place, json.loads(aside.data)[1]) for aside in found.aside] == [
        ("metadata row 1", "k"),
        ("metadata row 2", {"hex": "6b"}),
        ("metadata row 3", None),
    ]


def test_a_time_that_cannot_be_read_gives_way_to_the_nearest(
    sessions: Path, read_here: Read
) -> None:
    first, second = "2026-03-01T00:00:00+00:00", "2026-03-02T00:00:00+00:00"
    known = [Known("a", first, "never"), Known("b", "soon", "never"), Known("c", "", second)]
    said = [
        Said("a", "user", "1", "??"),
        Said("a", "user", "2", second),
        Said("a", "user", "3", ""),
    ]
    make_sqlite(sessions / "sessions.db", Story(known, said))
    modified = 1_772_222_222_000_000
    os.utime(sessions / "sessions.db", ns=(modified * 1000, modified * 1000))
    found = read_here()
    a, b, c = found.sessions
    assert a.created_at == a.last_activity == times.parse(first)
    assert b.created_at == b.last_activity == modified
    assert c.created_at == c.last_activity == times.parse(second)
    assert (a.active_text, b.created_text, c.created_text) == ("never", "soon", "")
    assert [message.created_at for message in found.messages] == [
        times.parse(first),
        times.parse(second),
        times.parse(second),
    ]
    assert [message.time_text for message in found.messages] == ["??", None, ""]
    places = ["session a", "session b", "session c", "row 1", "row 3"]
    assert [remark.place for remark in found.remarks] == places


def test_a_database_with_a_log_is_read_from_a_copy(
    sessions: Path, read_here: Read, database: sqlite3.Connection
) -> None:
    insert_said(database, [Said("k", "user", "only in the log")])
    assert (sessions / "sessions.db-wal").stat().st_size > 0
    assert read_here().texts("k") == [("user", "only in the log")]


def test_what_a_crash_has_left_is_read(tmp_path: Path, scratch: Path) -> None:
    living, dead = tmp_path / "living", tmp_path / "dead" / "sessions"
    dead.mkdir(parents=True)
    living.mkdir()
    with closing(sqlite3.connect(living / "sessions.db", isolation_level=None)) as opened:
        make_schema(opened)
        insert_said(opened, [Said("k", "user", "in the log")])
        for name in ("sessions.db", "sessions.db-wal"):
            shutil.copyfile(living / name, dead / name)
    with open(dead / "sessions.db-wal", "ab") as wal:
        wal.write(b"torn" * 100)
    before = everything_in(dead)
    assert read_all(dead.parent, scratch).texts("k") == [("user", "in the log")]
    assert everything_in(dead) == before


def test_it_is_read_while_its_user_has_it_open_and_the_log_is_empty(
    sessions: Path, read_here: Read, database: sqlite3.Connection
) -> None:
    insert_said(database, [Said("k", "user", "hi")])
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert (sessions / "sessions.db-wal").stat().st_size == 0
    assert read_here().texts("k") == [("user", "hi")]


_WRITING: Final = """
import itertools, sqlite3, sys, time
writer = sqlite3.connect(sys.argv[1], isolation_level=None)
insert = "INSERT INTO sessions (session_key, role, content, created_at) VALUES ('k', 'u', ?, 'x')"
for number in itertools.count():
    writer.execute(insert, (f"{number} " + "x" * 500,))
    if number == 10:
        print("writing", flush=True)
    # As fast as no people are, and slow enough that not all its time is spent on checkpoints.
    time.sleep(0.002)
"""


def test_it_is_read_while_another_process_writes(
    workspace: Path, sessions: Path, scratch: Path
) -> None:
    path = make_sqlite(sessions / "sessions.db", Story([], []))
    command = [sys.executable, "-c", _WRITING, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writing:
        try:
            assert writing.stdout is not None
            assert writing.stdout.readline() == b"writing\n"
            counts: list[int] = []
            for attempt in range(5):
                room = scratch / str(attempt)
                room.mkdir()
                with suppress(ForeignChanged):
                    texts = read_all(workspace, room).texts("k")
                    # A whole beginning of what was written.
                    numbers = [int(content.split()[0]) for _, content in texts]
                    assert numbers == [*range(len(numbers))]
                    counts.append(len(numbers))
            assert counts
            assert counts == sorted(counts)
            assert counts[0] > 10
        finally:
            writing.kill()


@pytest.mark.parametrize("times_disturbed", [1, 1000])
def test_a_copy_of_two_moments_is_not_used(
    workspace: Path,
    scratch: Path,
    database: sqlite3.Connection,
    monkeypatch: pytest.MonkeyPatch,
    times_disturbed: int,
) -> None:
    copy, disturbed = shutil.copyfile, itertools.count(1)

    def disturbing(source: Path, target: Path) -> None:
        copy(source, target)
        if source.name == "sessions.db" and next(disturbed) <= times_disturbed:
            # What stood in the log is now in the database, which was copied without it.
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            insert_said(database, [Said("k", "user", "second")])

    insert_said(database, [Said("k", "user", "first")])
    monkeypatch.setattr(shutil, "copyfile", disturbing)
    if times_disturbed == 1:
        assert read_all(workspace, scratch).texts("k") == [("user", "first"), ("user", "second")]
    else:
        with pytest.raises(ForeignChanged, match="stop ZeroClaw"):
            read_all(workspace, scratch)


def test_a_write_to_the_database_itself_while_it_is_read_is_noticed(
    workspace: Path, sessions: Path, scratch: Path
) -> None:
    path = make_sqlite(sessions / "sessions.db", make_story(1))
    [source] = find_sources(workspace, scratch)
    records = source.read()
    next(records)
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        insert_said(writer, [Said("k", "user", "late")])
    with pytest.raises(ForeignChanged, match="stop ZeroClaw"):
        list(records)
    with pytest.raises(RuntimeError):
        _ = source.digest
    assert ("user", "late") in read_all(workspace, scratch).texts("k")


def test_digest_and_fingerprint_tell_whether_anything_has_changed(
    workspace: Path, sessions: Path, tmp_path: Path, scratch: Path
) -> None:
    path = make_sqlite(sessions / "sessions.db", make_story(1))
    [source] = find_sources(workspace, scratch)
    read([source])
    assert source.size == path.stat().st_size
    copy = tmp_path / "copy.db"
    shutil.copyfile(path, copy)
    [other] = find_sources(copy, scratch)
    read([other])
    assert other.digest == source.digest
    with closing(sqlite3.connect(path)) as writer:
        writer.execute("UPDATE session_metadata SET name = 'other' WHERE session_key = 'gw_7d3c'")
        writer.commit()
    [changed] = find_sources(workspace, scratch)
    read([changed])
    assert changed.digest != source.digest
    assert changed.fingerprint != source.fingerprint


def test_an_empty_database_is_remarked(sessions: Path, read_here: Read) -> None:
    (sessions / "sessions.db").touch()
    [remark] = read_here().remarks
    assert "empty" in remark.text


@pytest.mark.parametrize("content", [b"no database at all" * 100, None])
def test_what_is_no_database_of_zeroclaw_is_refused(
    workspace: Path, sessions: Path, scratch: Path, content: bytes | None
) -> None:
    path = sessions / "sessions.db"
    if content is None:
        with closing(sqlite3.connect(path)) as made:
            made.execute("CREATE TABLE sessions (id, key, generation)")
    else:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"sessions\.db (cannot be read|is not ZeroClaw's)"):
        read_all(workspace, scratch)


def test_damage_is_told_and_not_read_over(workspace: Path, sessions: Path, scratch: Path) -> None:
    path = make_sqlite(sessions / "sessions.db", make_story(1, messages=2000))
    data = bytearray(path.read_bytes())
    data[80_000:] = b"\xaa" * (len(data) - 80_000)
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=r"sessions\.db cannot be read"):
        read_all(workspace, scratch)


def test_the_path_of_the_database_itself_may_be_given(tmp_path: Path, scratch: Path) -> None:
    path = make_sqlite(tmp_path / "with ? and # in it.db", make_story(2))
    found = read_all(path, scratch)
    assert isinstance(found.messages[0], ForeignMessage)
    assert {path.name for path in tmp_path.iterdir()} == {path.name, "scratch"}


def test_a_link_to_the_database_is_followed_to_its_log(
    tmp_path: Path, workspace: Path, sessions: Path, scratch: Path
) -> None:
    real = tmp_path / "elsewhere.db"
    (sessions / "sessions.db").symlink_to(real)
    with closing(sqlite3.connect(real, isolation_level=None)) as opened:
        make_schema(opened)
        insert_said(opened, [Said("k", "user", "in the log")])
        assert read_all(workspace, scratch).texts("k") == [("user", "in the log")]
        [source] = find_sources(workspace, scratch)
        assert source.fingerprint.log_size == Path(f"{real}-wal").stat().st_size
