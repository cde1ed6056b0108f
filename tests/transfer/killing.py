"""Moves that are killed at every step, each in a process of its own.

    python -m tests.transfer.killing WORKSPACE SOURCE TARGET EVERY

A step is a change of the file system, or a commit. For each of them (or every so many-th) a copy of
the workspace is moved by a process that is killed there, and again by one that is not. Nothing may
be lost, and at no moment may both stores be opened. Prints how many steps there are.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from sessions.errors import ConfigError, StoreMoved
from sessions.process.settings import BACKENDS
from sessions.store.backend import SessionBackend, Transferable
from sessions.store.factory import local_store, make_session_backend
from sessions.store.image import StoreRows
from sessions.store.sqlite.connection import WritingConnection
from sessions.stream.turns import TurnStream
from sessions.transfer.moving import move_store

_CHANGES = ("os.rename", "os.link", "os.remove", "os.mkdir", "os.truncate")


class Quiet:
    """Hears of a move and says nothing."""

    def reach(self, number: int) -> None:
        """So many messages are copied."""

    def say(self, text: str) -> None:
        """What is being done."""


@asynccontextmanager
async def no_stream() -> AsyncIterator[TurnStream]:
    """For a store that no worker leads."""
    raise AssertionError("nobody leads: there is nothing to follow")
    yield


async def contents(backend: SessionBackend) -> list[Any]:
    """All rows of a store with its head."""
    rows: list[Any] = []
    async with cast("Transferable", backend).snapshot() as snapshot:
        async for part in snapshot.parts():
            for name in StoreRows.__dataclass_fields__:
                rows += getattr(part, name)
        return [snapshot.head, *rows]


async def contents_of(workspace: Path, backend: str) -> list[Any]:
    """The same of a store that is not open."""
    async with make_session_backend(workspace, backend) as reader:
        return await contents(reader)


def move(workspace: Path, source: str, target: str) -> None:
    """One move, to its end."""
    asyncio.run(
        move_store(
            workspace, source, target, stream=no_stream, meter=Quiet(), max_content=256 * 1024
        )
    )


def kill_at(step: int) -> None:
    """Have this process killed before that change of the file system, or commit."""
    count = 0

    def counted() -> None:
        nonlocal count
        count += 1
        if count == step:
            os.kill(os.getpid(), signal.SIGKILL)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        creates = event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_CREAT
        if event in _CHANGES or creates:
            counted()

    run = WritingConnection.run

    async def run_counted(self: WritingConnection, sql: str, parameters: Any = ()) -> Any:
        if sql != "COMMIT":
            return await run(self, sql, parameters)
        counted()
        found = await run(self, sql, parameters)
        counted()
        return found

    # The child alone counts the commits, and no entry point leads there.
    WritingConnection.run = run_counted  # type: ignore[method-assign]
    sys.addaudithook(hook)


def in_child(work: Callable[[], object]) -> int:
    """Do it in a child; its exit code, negative for a signal."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:  # noqa: BLE001 - the child must end here, whatever it is
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


async def _opened(workspace: Path) -> list[str]:
    """The backends whose stores can be led now, of those that are there."""
    found: list[str] = []
    for name in BACKENDS:
        store = local_store(workspace, name)
        if store is None or not store.path.exists():
            continue
        try:
            async with make_session_backend(workspace, name, mode="write") as backend:
                if await backend.acquire("test", seen=None):
                    found.append(name)
                await backend.release()
        except ConfigError:
            continue
    return found


def check_between(workspace: Path) -> None:
    """Of two stores one at most can be led."""
    opened = asyncio.run(_opened(workspace))
    assert len(opened) <= 1, f"{opened} can be led"


def check_end(workspace: Path, source: str, target: str, wanted: list[Any]) -> None:
    """The target has everything, and the source gives nothing out."""
    assert asyncio.run(contents_of(workspace, target)) == wanted
    assert asyncio.run(_opened(workspace)) == [target]
    with pytest.raises(StoreMoved):
        asyncio.run(contents_of(workspace, source))
    left = [p.name for p in (workspace / "sessions").iterdir() if ".incoming" in p.name]
    assert not left, left


def main(workspace: Path, source: str, target: str, every: int) -> int:
    """All steps; the number of them."""
    step, wanted = 1, asyncio.run(contents_of(workspace, source))
    while True:
        place = workspace.with_name(f"{workspace.name}-{step}")
        shutil.copytree(workspace, place)

        def killed(place: Path = place, step: int = step) -> None:
            kill_at(step)
            move(place, source, target)

        code = in_child(killed)
        assert code in (0, -signal.SIGKILL), f"step {step}: {code}"
        assert in_child(lambda place=place: check_between(place)) == 0, f"step {step}"
        again = in_child(lambda place=place: move(place, source, target))
        assert again == 0, f"step {step}: the second move ends with {again}"
        ended = in_child(lambda place=place: check_end(place, source, target, wanted))
        assert ended == 0, f"step {step}"
        shutil.rmtree(place)
        if code == 0:
            return step
        step += every


if __name__ == "__main__":
    _, directory, old, new, stride = sys.argv
    print(main(Path(directory), old, new, int(stride)))
