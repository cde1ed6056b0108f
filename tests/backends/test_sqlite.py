"""What only the sqlite backend can show: its file, its errors, and what is left on the disk."""

from __future__ import annotations

import asyncio
import resource
import sqlite3 as pythons
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from sessions.errors import ConfigError, StoreTooNew, StoreUnavailable
from sessions.models import Entry
from sessions.store.engine.changes import Changes
from sessions.store.sqlite.adapter import SqliteAdapter
from sessions.store.sqlite.backend import FILE, SqliteBackend
from sessions.store.sqlite.connection import StoreDamaged
from sessions.store.sqlite.drafting import Draft
from sessions.store.sqlite.library import sqlite3
from sessions.store.sqlite.store import SqliteStore
from tests.events import EntrySequence, Fields, dead, delete, poison, reply, reset, rollback, user
from tests.stores import Clock, LeadingBackend, lead

# No other text of a store contains it, in whatever form an index keeps it.
NEEDLE = "xyzzyplugh"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the store of a workspace lies."""
    return tmp_path / "sessions" / FILE


def written(directory: Path) -> bytes:
    """Everything that the store's files hold."""
    return b"".join(path.read_bytes() for path in sorted(directory.iterdir()))


def mode_of(path: Path) -> str:
    """Who may do what with a file."""
    return f"{path.stat().st_mode & 0o777:o}"


def names(directory: Path) -> list[str]:
    """What a directory holds."""
    return sorted(path.name for path in directory.iterdir())


def put(path: Path, data: bytes) -> None:
    """Write a file that no Turnstream wrote."""
    path.parent.mkdir(parents=True)
    path.write_bytes(data)


async def in_another_process(path: Path, query: str) -> str:
    """What the query gives in a process that opens and closes the store."""
    code = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1])"
    code += "; print(*c.execute(sys.argv[2]).fetchone()); c.close()"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, path, query, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    return output.decode().strip()


async def tidied(store: LeadingBackend) -> None:
    """Do all the housekeeping that waits."""
    while await store.backend.tidy():
        pass


# -- the file ------------------------------------------------------------------------------------


async def test_the_store_is_one_file_for_its_owner_alone(tmp_path: Path, path: Path) -> None:
    async with SqliteBackend(tmp_path, mode="write"):
        assert (mode_of(path), mode_of(path.parent)) == ("600", "700")
    assert names(path.parent) == [FILE]


async def test_reading_creates_nothing(tmp_path: Path) -> None:
    async with SqliteBackend(tmp_path, mode="read") as backend:
        assert (await backend.sessions()).items == []
    assert names(tmp_path) == []


async def test_a_file_that_is_still_empty_reads_as_empty(tmp_path: Path, path: Path) -> None:
    put(path, b"")
    async with SqliteBackend(tmp_path, mode="read") as backend:
        assert await backend.store_id() is None


@pytest.mark.parametrize("mode", ["read", "write"])
async def test_a_store_of_a_newer_version_is_refused(tmp_path: Path, path: Path, mode: str) -> None:
    async with SqliteBackend(tmp_path, mode="write"):
        pass
    with closing(sqlite3.connect(path)) as shell:
        shell.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreTooNew, match="99"):
        async with SqliteBackend(tmp_path, mode="write" if mode == "write" else "read") as backend:
            await backend.sessions()


async def test_readers_that_come_together_all_read_a_file_that_took_the_place_of_another(
    tmp_path: Path,
) -> None:
    for name, texts in (("one", 3), ("two", 5)):
        async with SqliteBackend(tmp_path / name, mode="write") as backend:
            store = await lead(backend, Clock())
            await store.apply(*(user(f"e{number}") for number in range(texts)))
    async with SqliteBackend(tmp_path / "one", mode="read") as reader:
        told = await asyncio.gather(*(reader.counts() for _ in range(4)))
        assert [counts["messages"] for counts in told] == [3] * 4
        (tmp_path / "two" / "sessions" / FILE).replace(tmp_path / "one" / "sessions" / FILE)
        told = await asyncio.gather(*(reader.counts() for _ in range(4)))
        assert [counts["messages"] for counts in told] == [5] * 4


async def test_a_file_that_is_no_store_is_damage(tmp_path: Path, path: Path) -> None:
    put(path, b"this is not a database" * 1000)
    with pytest.raises(StoreDamaged, match=FILE):
        async with SqliteBackend(tmp_path, mode="write"):
            pass


async def test_a_workspace_that_cannot_be_used_is_an_error_that_says_so(tmp_path: Path) -> None:
    put(tmp_path / "sub" / "file", b"")
    with pytest.raises(ConfigError, match="--workspace"):
        async with SqliteBackend(tmp_path / "sub" / "file", mode="write"):
            pass


async def test_a_second_writer_in_a_process_leaves_the_locks_of_the_first(
    tmp_path: Path, path: Path
) -> None:
    async with SqliteBackend(tmp_path, mode="write") as backend:
        store = await lead(backend, Clock())
        async with SqliteBackend(tmp_path, mode="write"):
            pass
        # Without a lock on it, another process takes itself for the last one and drops the log.
        await in_another_process(path, "SELECT count(*) FROM events")
        await store.apply(user("e1"))
        assert await in_another_process(path, "SELECT count(*) FROM events") == "1"


async def test_a_path_of_200_characters_is_no_trouble(tmp_path: Path, clock: Clock) -> None:
    workspace = tmp_path / ("long name? #%" * 20)[:200]
    async with SqliteBackend(workspace, mode="write") as backend:
        await (await lead(backend, clock)).apply(user("e1"))
        async with SqliteBackend(workspace, mode="read") as reader:
            assert (await reader.history("s")).items == (await backend.history("s")).items


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still."""
    return Clock()


# -- erasure -------------------------------------------------------------------------------------

ENDS: dict[str, Sequence[Fields]] = {
    "reset": [reset("x")],
    "delete": [delete("x")],
    "rollback": [rollback("x", target="u1"), dead("d", "purge", "LETTER")],
}


@pytest.mark.parametrize("ends", ENDS.values(), ids=ENDS)
async def test_erased_text_is_in_none_of_the_stores_files(
    tmp_path: Path, path: Path, clock: Clock, ends: Sequence[Fields]
) -> None:
    async with SqliteBackend(tmp_path, mode="write") as backend:
        store = await lead(backend, clock)
        await store.apply(*(user(f"e{n}", f"word{n}", session="t") for n in range(50)))
        await store.apply(user("u1", f"{NEEDLE} and more"), poison("p", content=NEEDLE))
        assert NEEDLE.encode() in written(path.parent)
        [letter] = await store.letters()
        await store.apply(
            *({**end, "target": letter.id} if end["type"] == "dead" else end for end in ends)
        )
        await store.apply(*(user(f"f{n}", f"word{n}", session="t") for n in range(50)))
        await tidied(store)
        assert NEEDLE.encode() not in written(path.parent)
        assert len(await store.found("word7")) == 2


async def test_a_leader_tidies_up_what_one_before_it_erased(
    tmp_path: Path, path: Path, clock: Clock
) -> None:
    async with (
        SqliteBackend(tmp_path, mode="write") as fallen,
        SqliteBackend(tmp_path, mode="write") as backend,
    ):
        await (await lead(fallen, clock)).apply(user("u1", NEEDLE), delete("x"))
        await tidied(await lead(backend, clock))
        assert NEEDLE.encode() not in written(path.parent)


async def test_search_outlives_any_number_of_erasures(
    tmp_path: Path, path: Path, clock: Clock
) -> None:
    """An older FTS5 takes an index for corrupt that it has merged some thousand times."""
    async with SqliteBackend(tmp_path, mode="write") as backend:
        store = await lead(backend, clock)
        await store.apply(*(user(f"e{n}", f"word{n}", session="t") for n in range(1500)))
    with closing(pythons.connect(path, isolation_level=None)) as shell:
        shell.execute("PRAGMA synchronous = OFF")
        number = 10_000
        while levels(shell) < 1900:
            number += 10
            erase_in_search(shell, number)
            if number > 12_000 and levels(shell) < 100:
                # Without levels that stay open there is nothing to show.
                pytest.skip(f"SQLite {pythons.sqlite_version} closes the levels that it opens")
    async with SqliteBackend(tmp_path, mode="write") as backend:
        store = await lead(backend, clock)
        await store.apply(user("u1", NEEDLE), rollback("x", target="u1"))
        await tidied(store)
        assert NEEDLE.encode() not in written(path.parent)
        assert len(await store.found("word7")) == 1
    with closing(sqlite3.connect(path)) as shell:
        assert levels(shell) < 10


def levels(shell: sqlite3.Connection) -> int:
    """About the levels of the search index: each takes two bytes of its structure."""
    [(size,)] = shell.execute("SELECT length(block) FROM search_data WHERE id = 10")
    return int(size) // 2


def erase_in_search(shell: sqlite3.Connection, number: int) -> None:
    """A round of erasing among other messages, as the search index sees it."""
    for row in range(number, number + 6):
        shell.execute("INSERT INTO search (rowid, body) VALUES (?, ?)", (row, f"other{row}"))
    shell.execute(
        "INSERT INTO search (search, rowid, body) VALUES ('delete', ?, ?)",
        (number, f"other{number}"),
    )
    # The store counts the rounds.
    shell.execute("UPDATE store SET merges = merges + 1")
    pages = -1000
    while True:
        before = shell.total_changes
        shell.execute("INSERT INTO search (search, rank) VALUES ('merge', ?)", (pages,))
        pages = 1000
        if shell.total_changes - before < 2:
            break


# -- trouble -------------------------------------------------------------------------------------


async def test_a_store_that_somebody_holds_is_unavailable_and_then_is_not(
    tmp_path: Path, path: Path, clock: Clock
) -> None:
    async with SqliteBackend(tmp_path, mode="write") as backend:
        store = await lead(backend, clock)
        entries = [store.stream.entry(user("e1")), store.stream.entry(poison("p"))]
        with closing(sqlite3.connect(path)) as shell:
            shell.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailable):
                await backend.apply(entries)
        assert await backend.outcome("e1") is None
        await backend.apply(entries)
        assert await store.texts() == ["hello"]
        assert (await backend.cursor()).resolved == 2


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """Let every write beyond this size fail, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_on_a_full_disk_nothing_is_done_by_halves(
    tmp_path: Path, path: Path, clock: Clock
) -> None:
    async with SqliteBackend(tmp_path, mode="write") as backend:
        store = await lead(backend, clock)
        await store.apply(user("e1", "before"))
        before = await backend.cursor(), await backend.counts(), await store.session()
        entries = [store.stream.entry(user(f"f{n}", "x" * 100_000)) for n in range(20)]
        with no_file_larger_than(1_000_000), pytest.raises(StoreUnavailable):
            await backend.apply(entries)
        assert (await backend.cursor(), await backend.counts(), await store.session()) == before
        await backend.apply(entries)
        assert len(await store.texts()) == 21
        assert [message.seq for message in await store.messages()] == [*range(1, 22)]


async def test_what_was_decided_in_advance_is_decided_again_after_a_full_disk(
    tmp_path: Path, clock: Clock
) -> None:
    async with SqliteBackend(tmp_path, mode="write") as backend:
        store = await lead(backend, clock)
        await store.apply(user("e0", "before"))
        large = [store.stream.entry(user(f"f{n}", "x" * 100_000)) for n in range(20)]
        behind = [store.stream.entry(reply("a1", "after", turn="f19"))]

        async def following() -> list[Entry]:
            return behind

        with no_file_larger_than(1_000_000), pytest.raises(StoreUnavailable):
            await backend.apply(large, following=following)
        await backend.apply(behind)
        await backend.apply(large)
        assert (await store.texts())[:2] == ["before", "after"]
        assert [message.seq for message in await store.messages()] == [*range(1, 23)]


async def test_a_defect_in_a_batch_that_was_decided_in_advance_harms_only_its_event(
    tmp_path: Path, clock: Clock
) -> None:
    async with BrokenBackend(tmp_path) as backend:
        store = await lead(backend, clock)
        first = [store.stream.entry(user("e1", "one"))]
        second = [store.stream.entry(user(f"f{n}", text)) for n, text in enumerate(("boom", "two"))]

        async def following() -> list[Entry]:
            return second

        await backend.apply(first, following=following)
        await backend.apply(second)
        assert await store.texts() == ["one", "two"]
        assert await store.result("f0") == "apply_failed"


class BrokenAdapter(SqliteAdapter):
    """A store that cannot take one certain content."""

    def draft(self, changes: Changes) -> Draft:
        """Take the content, or fail as a defect would."""
        if any(message.content == "boom" for message in changes.messages):
            raise ValueError("cannot take this")
        return super().draft(changes)


class BrokenBackend(SqliteStore):
    """A sqlite store with such an adapter."""

    name = "sqlite"

    def __init__(self, workspace: Path) -> None:
        super().__init__(BrokenAdapter(workspace / "sessions" / FILE), mode="write")


async def test_an_error_of_a_single_event_makes_it_a_dead_letter(
    tmp_path: Path, clock: Clock
) -> None:
    async with BrokenBackend(tmp_path) as backend:
        store = await lead(backend, clock)
        await store.apply(user("e0", "zero"))
        cursor = await store.apply(user("e1", "one"), user("e2", "boom"), user("e3", "three"))
        assert await store.texts() == ["zero", "one", "three"]
        assert cursor.resolved == 4
        outcome = await store.outcome("e2")
        assert (outcome.outcome, outcome.reason) == ("dead", "apply_failed")
        assert "cannot take this" in (outcome.detail or "")
        assert (await store.session()).message_count == 3


async def test_what_failed_of_a_defect_can_be_replayed_when_it_is_mended(
    tmp_path: Path, clock: Clock
) -> None:
    stream = EntrySequence()
    async with BrokenBackend(tmp_path) as backend:
        store = await lead(backend, clock, stream)
        await store.apply(user("e1", "boom"))
        [letter] = await store.letters()
    async with SqliteBackend(tmp_path, mode="write", clock=clock) as backend:
        store = await lead(backend, clock, stream)
        await store.apply(dead("d", "replay", letter.id))
        assert await store.texts() == ["boom"]
        assert await store.letters() == []
        assert await store.result("e1") == "applied"


async def test_a_replay_that_fails_again_harms_nobody(tmp_path: Path, clock: Clock) -> None:
    async with BrokenBackend(tmp_path) as backend:
        store = await lead(backend, clock)
        await store.apply(user("e1", "boom"))
        [letter] = await store.letters()
        await store.apply(user("e2", "two"), dead("d", "replay", letter.id), user("e3", "three"))
        assert await store.texts() == ["two", "three"]
        assert (await store.outcome("e1")).outcome == "dead"
        assert letter in await store.letters()
