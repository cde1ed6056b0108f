"""A worker that starts on a ZeroClaw workspace, and imports that are killed."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest

from harness.services import environment, module_argv
from harness.system import SystemUnderTest
from harness.waiting import wait_until
from sessions import make_session_backend
from sessions.store.backend import SessionBackend
from tests.transfer.test_exports import bring_in, export
from tests.transfer.test_zeroclaw import shown, shown_in, told
from tests.zeroclaw.making import (
    Known,
    Said,
    Story,
    everything_in,
    make_jsonl,
    make_sqlite,
    make_story,
)

STORES = ("sqlite", "jsonl")


@pytest.mark.parametrize("backend", STORES)
async def test_a_worker_moves_in_before_it_consumes(backend: str, system: SystemUnderTest) -> None:
    """What was on the stream before comes behind what ZeroClaw knew; a restart changes nothing."""
    story = make_story(5)
    sessions = system.workspace / "sessions"
    make_sqlite(sessions / "sessions.db", story)
    alone = Story([Known("file_only")], [Said("file_only", "user", "from a file")])
    make_jsonl(sessions, alone)
    before = everything_in(sessions)
    key = story.said[0].key
    await system.append("new", "after moving in", session=key)
    for _ in range(2):
        worker = await system.worker(session_backend=backend)
        async with make_session_backend(system.workspace, backend) as reader:
            await wait_until(lambda: _is_there(reader, "new"), "it was consumed")
            expected = told(story) | told(alone)
            expected[key] = [*expected[key], ("user", "after moving in")]
            assert await shown(reader) == expected
        await worker.stop()
    after = everything_in(sessions)
    assert {name: after[name] for name in before} == before


async def _is_there(reader: SessionBackend, event_id: str) -> bool:
    return await reader.outcome(event_id) is not None


def _messages(workspace: Path, backend: str) -> int:
    async def count() -> int:
        async with make_session_backend(workspace, backend) as reader:
            return (await reader.counts())["messages"]

    return asyncio.run(count())


def _killed_once_it_has_written(workspace: Path, backend: str, source: Path) -> bool:
    """Run an import and kill it as soon as more is in; whether it ended by itself before that."""
    argv = [*module_argv("cli"), "import", str(source), "--workspace", str(workspace)]
    environ = environment(TURNSTREAM_SESSION_BACKEND=backend)
    before = _messages(workspace, backend)
    with subprocess.Popen(argv, env=environ, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            if _messages(workspace, backend) > before:
                process.kill()
    return process.returncode == 0


def _story_of(messages: int) -> Story:
    keys = [f"telegram_home_{number}" for number in range(20)]
    said = [
        Said(keys[number % 20], "user", f"message {number // 40}") for number in range(messages)
    ]
    return Story([Known(key) for key in keys], said)


def _imported_with_kills(tmp_path: Path, backend: str, messages: int, kills: int) -> None:
    story, source = _story_of(messages), tmp_path / "zc"
    make_sqlite(source / "sessions" / "sessions.db", story)
    before = everything_in(source)
    for _ in range(kills):
        if _killed_once_it_has_written(tmp_path / "ts", backend, source):
            break
    bring_in(tmp_path / "ts", backend, source)
    assert shown_in(tmp_path / "ts", backend) == told(story)
    assert everything_in(source) == before


@pytest.mark.parametrize("backend", STORES)
def test_an_import_that_is_killed_goes_on_where_it_was(backend: str, tmp_path: Path) -> None:
    """Nothing is lost and nothing comes twice, though the same texts are said again and again."""
    _imported_with_kills(tmp_path, backend, messages=15_000, kills=2)


@pytest.mark.parametrize("backend", STORES)
def test_an_import_of_an_export_that_is_killed_ends_byte_for_byte(
    backend: str, tmp_path: Path
) -> None:
    """The export of what came of it has the same bytes."""
    make_sqlite(tmp_path / "zc" / "sessions" / "sessions.db", _story_of(15_000))
    bring_in(tmp_path / "a", "sqlite", tmp_path / "zc")
    first = export(tmp_path / "a", "sqlite", tmp_path / "first.jsonl")
    for _ in range(2):
        if _killed_once_it_has_written(tmp_path / "b", backend, tmp_path / "first.jsonl"):
            break
    bring_in(tmp_path / "b", backend, tmp_path / "first.jsonl")
    assert export(tmp_path / "b", backend, tmp_path / "second.jsonl") == first


@pytest.mark.endurance
@pytest.mark.parametrize("backend", STORES)
def test_twenty_kills_of_an_import_lose_and_double_nothing(backend: str, tmp_path: Path) -> None:
    """One kill for each of its transactions."""
    _imported_with_kills(tmp_path, backend, messages=100_000, kills=20)
