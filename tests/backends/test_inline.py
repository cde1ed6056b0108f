"""Short reads happen in the event loop's thread, and what is not short does not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from sessions.reading import SessionFilter
from sessions.store.sqlite import inline
from sessions.store.sqlite.backend import FILE, SqliteBackend
from sessions.store.sqlite.inline import InlineReader
from sessions.store.sqlite.library import sqlite3
from tests.events import user
from tests.stores import Clock, LeadingBackend, lead

# Characters of a message: four of them are more than a short read may have.
LONG = 100_000
_COUNT = "SELECT count(*) FROM messages"
_TEXTS = "SELECT content FROM messages"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the store of a workspace lies."""
    return tmp_path / "sessions" / FILE


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[LeadingBackend]:
    """A store that somebody leads."""
    clock = Clock()
    async with SqliteBackend(tmp_path, mode="write") as backend:
        yield await lead(backend, clock)


async def test_few_rows_come_at_once(store: LeadingBackend, path: Path):
    await store.apply(user("e1", "one"), user("e2", "two"))
    with closing(InlineReader(path)) as reader:
        assert reader.read(_TEXTS, ()) == [("one",), ("two",)]
        assert reader.read(_TEXTS, (), lambda row: len(row[0])) == [("one",), ("two",)]


async def test_it_sees_each_commit(store: LeadingBackend, path: Path):
    with closing(InlineReader(path)) as reader:
        for number in range(5):
            await store.apply(user(f"e{number}"))
            assert reader.read(_COUNT, ()) == [(number + 1,)]


async def test_it_writes_nothing(store: LeadingBackend, path: Path):
    with closing(InlineReader(path)) as reader:
        assert reader.read("DELETE FROM lease", ()) is None
    assert (await store.backend.lease()).holder is not None


async def test_much_text_does_not(store: LeadingBackend, path: Path):
    await store.apply(*(user(f"e{number}", "x" * LONG) for number in range(4)))
    with closing(InlineReader(path)) as reader:
        assert reader.read(_TEXTS, (), lambda row: len(row[0])) is None
        assert reader.read(f"{_TEXTS} LIMIT 2", (), lambda row: len(row[0])) is not None


async def test_many_steps_do_not(
    store: LeadingBackend, path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(inline, "_STEPS", 100)
    await store.apply(*(user(f"e{number}") for number in range(200)))
    with closing(InlineReader(path)) as reader:
        assert reader.read(_COUNT, ()) is not None
        assert reader.read(f"{_TEXTS} ORDER BY content", ()) is None
        # The same short one again and again, although SQLite counts its steps together.
        assert all(reader.read(f"{_TEXTS} LIMIT 1", ()) for _ in range(500))


async def test_nor_does_what_waits_for_a_lock(store: LeadingBackend, path: Path):
    await store.apply(user("e1"))
    other = path.with_name("other.db")
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(other)) as copy:
        source.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")
        with closing(InlineReader(other)) as reader:
            copy.execute("BEGIN EXCLUSIVE")
            assert reader.read(_COUNT, ()) is None
            copy.rollback()
            assert reader.read(_COUNT, ()) == [(1,)]


async def test_no_store_and_one_of_another_version_are_for_others(
    store: LeadingBackend, path: Path, tmp_path: Path
):
    with closing(InlineReader(tmp_path / "nothing.db")) as reader:
        assert reader.read(_COUNT, ()) is None
    assert not (tmp_path / "nothing.db").exists()
    with closing(sqlite3.connect(path)) as shell:
        shell.execute("PRAGMA user_version = 1")
    with closing(InlineReader(path)) as reader:
        assert reader.read(_COUNT, ()) is None


async def test_readers_cannot_tell_which_way_it_went(
    store: LeadingBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for number in range(150):
        await store.apply(
            user(f"s{number}", session=f"s{number}"), user(f"l{number}", "x" * 5000, session="l")
        )

    async def everything() -> list[object]:
        async with SqliteBackend(tmp_path, mode="read") as backend:
            return [
                await backend.sessions(limit=150),
                await backend.sessions(limit=50),
                await backend.sessions(where=SessionFilter(channel="none")),
                await backend.history("l", limit=150),
                await backend.history("l", limit=20),
                await backend.cursor(),
                await backend.outcome("l7"),
            ]

    found = await everything()
    monkeypatch.setattr(InlineReader, "read", lambda *_: None)
    assert await everything() == found
