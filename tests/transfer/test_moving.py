"""Moving a store to another backend: at rest, killed at any step, and while the system runs."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.services import ROOT, environment
from sessions import times
from sessions.errors import ConfigError, StoreMoved
from sessions.process.settings import BACKENDS
from sessions.store.backend import SessionBackend
from sessions.store.factory import make_session_backend
from sessions.transfer.moving import abandon_move, move_store
from tests.events import Fields, delete, event, rename, reply, reset, rollback, user
from tests.stores import Clock, lead
from tests.transfer.killing import Quiet, contents, contents_of, no_stream

PAIRS = [(one, other) for one in BACKENDS for other in BACKENDS if one != other]

EVENTS: list[Fields] = [
    *[user(f"u{n}", f"text {n}", session=f"s{n % 4}", agent="ada") for n in range(12)],
    reply("r0", "an answer", turn="u0", session="s0"),
    rename("n", "Name", session="s1"),
    rollback("b", target="u9", session="s1"),
    reset("x", session="s2"),
    delete("d", session="s3"),
    user("by", "of an agent", session="telegram/42", agent="ada"),
    event("nonsense", "poison"),
]


async def fill(backend: SessionBackend, clock: Clock) -> None:
    store = await lead(backend, clock)
    await store.apply(*EVENTS)
    await backend.release()


async def made(workspace: Path, backend: str) -> None:
    async with make_session_backend(workspace, backend, mode="write") as opened:
        await fill(opened, Clock())


async def moved(workspace: Path, source: str, target: str) -> dict[str, tuple[int, int]]:
    done = await move_store(
        workspace, source, target, stream=no_stream, meter=Quiet(), max_content=4096
    )
    return dict(done.counts)


async def python(*arguments: object) -> subprocess.CompletedProcess[str]:
    """A Python of its own, to its end."""
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, *map(str, arguments)],
        env=environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(("source", "target"), PAIRS)
async def test_a_moved_store_has_the_same_rows_and_moves_back(
    tmp_path: Path, source: str, target: str
) -> None:
    """Its id, its place in the stream and all rows; the old one says where it went."""
    await made(tmp_path, source)
    before = await contents_of(tmp_path, source)
    counts = await moved(tmp_path, source, target)
    assert counts["messages"] == (7, 7)
    assert all(old == new for old, new in counts.values())
    assert await contents_of(tmp_path, target) == before
    with pytest.raises(StoreMoved, match=f'session_backend = "{target}"'):
        await contents_of(tmp_path, source)
    with pytest.raises(StoreMoved):
        await make_session_backend(tmp_path, source, mode="write").__aenter__()
    for one, other in [(target, source), (source, target)]:
        await moved(tmp_path, one, other)
        assert await contents_of(tmp_path, other) == before


@pytest.mark.parametrize(("source", "target"), PAIRS)
async def test_the_old_files_lie_together_and_nothing_else_moves(
    tmp_path: Path, source: str, target: str
) -> None:
    """Another program's files stay where they are."""
    await made(tmp_path, source)
    theirs = tmp_path / "sessions" / "s0-theirs.jsonl"
    theirs.write_text('{"role":"user","content":"theirs"}\n', encoding="utf-8")
    old = {path.name for path in (tmp_path / "sessions").iterdir()}
    done = await move_store(
        tmp_path, source, target, stream=no_stream, meter=Quiet(), max_content=4096
    )
    kept = {path.name for path in done.kept.iterdir()}
    assert old - kept <= {theirs.name, "leader.lock"} | {p for p in old if p.endswith("-shm")}
    assert theirs.exists()


async def test_readers_that_have_the_old_store_open_are_told(tmp_path: Path) -> None:
    """They would show a state that grows older from now on."""
    await made(tmp_path, "sqlite")
    async with make_session_backend(tmp_path, "sqlite") as reader:
        assert (await reader.history("s0")).items
        await moved(tmp_path, "sqlite", "jsonl")
        with pytest.raises(StoreMoved):
            await reader.history("s0")
        with pytest.raises(StoreMoved):
            await reader.search("text")


async def test_a_store_that_holds_something_is_not_replaced(tmp_path: Path) -> None:
    for backend in BACKENDS:
        await made(tmp_path, backend)
    with pytest.raises(ConfigError, match="turnstream import"):
        await moved(tmp_path, "sqlite", "jsonl")
    for backend in BACKENDS:
        assert await contents_of(tmp_path, backend)


async def test_there_must_be_a_store_to_move(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no sqlite store"):
        await moved(tmp_path, "sqlite", "jsonl")
    assert not (tmp_path / "sessions").exists()


async def test_an_interrupted_move_is_abandoned(tmp_path: Path) -> None:
    """What it had copied goes; a store of that backend can be made then."""
    await made(tmp_path, "sqlite")
    before = await contents_of(tmp_path, "sqlite")
    await killed_behind_the_copy(tmp_path)
    with pytest.raises(ConfigError, match="has not ended"):
        await make_session_backend(tmp_path, "jsonl", mode="write").__aenter__()
    assert abandon_move(tmp_path, "sqlite", "jsonl")
    assert not abandon_move(tmp_path, "sqlite", "jsonl")
    assert not [*(tmp_path / "sessions").glob("*.jsonl*")]
    async with make_session_backend(tmp_path, "jsonl", mode="write") as backend:
        assert await backend.store_id() is not None
    assert await contents_of(tmp_path, "sqlite") == before


_KILLED = """
from pathlib import Path
from tests.transfer.killing import kill_at, move
import sessions.transfer.incoming as incoming
copy = incoming.IncomingStore.copy
async def killed(self, *arguments):
    await copy(self, *arguments)
    kill_at(1)
incoming.IncomingStore.copy = killed
move(Path({workspace!r}), "sqlite", "jsonl")
"""


async def killed_behind_the_copy(workspace: Path) -> None:
    """A move to jsonl that has copied everything, and goes no further."""
    script = _KILLED.format(workspace=str(workspace))
    assert (await python("-c", script)).returncode == -signal.SIGKILL


async def test_what_changed_without_the_stream_is_copied_again(tmp_path: Path) -> None:
    """Retention deletes sessions, and no entry tells of it."""
    await made(tmp_path, "sqlite")
    await killed_behind_the_copy(tmp_path)
    async with make_session_backend(tmp_path, "sqlite", mode="write") as backend:
        assert await backend.acquire("worker", seen=None)
        assert await backend.expire_sessions(older_than=times.now(), limit=1) == 1
        await backend.release()
    before = await contents_of(tmp_path, "sqlite")
    await moved(tmp_path, "sqlite", "jsonl")
    assert await contents_of(tmp_path, "jsonl") == before


@pytest.mark.parametrize(("source", "target"), PAIRS)
@pytest.mark.parametrize(
    "every", [9, pytest.param(1, marks=[pytest.mark.endurance, pytest.mark.timeout(900)])]
)
async def test_a_move_that_is_killed_at_any_step_goes_on(
    tmp_path: Path, source: str, target: str, every: int
) -> None:
    """Nothing is lost, and never can both stores be led."""
    workspace = tmp_path / "workspace"
    await made(workspace, source)
    done = await python("-m", "tests.transfer.killing", workspace, source, target, every)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20


async def test_the_contents_that_are_compared_are_all_there(tmp_path: Path) -> None:
    """What this file compares holds messages, events and dead letters."""
    await made(tmp_path, "sqlite")
    async with make_session_backend(tmp_path, "sqlite") as backend:
        names = {type(row).__name__ for row in await contents(backend)}
    assert {"SessionRow", "KeyedMessage", "KeyedEvent", "LetterRow"} <= names
