"""A move while the system runs: publishers publish, a worker leads, readers read with positions."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import httpx
import pytest

from cli.stores.upkeep import check_store
from harness.program import Program
from harness.services import environment, module_argv, variables_of
from harness.system import SystemUnderTest
from harness.waiting import wait_until
from sessions.errors import StoreMoved
from sessions.models import Event, EventType, Position, StreamId
from sessions.process.settings import BACKENDS, Settings
from sessions.store.backend import SessionReader
from sessions.store.factory import make_session_backend

PAIRS: Final = [(one, other) for one in BACKENDS for other in BACKENDS if one != other]
SESSIONS: Final = 20


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[SystemUnderTest]:
    """A Redis of this test's own, and room for workers."""
    async with SystemUnderTest.running(tmp_path) as system:
        yield system


class Publisher:
    """Publishes turns at a steady rate, and remembers the position of each."""

    def __init__(self, system: SystemUnderTest, rate: int) -> None:
        self.positions: list[Position] = []
        self._system = system
        self._pause = 1 / rate
        self._stopping = False
        self._task = asyncio.create_task(self._publish())

    async def stop(self) -> None:
        # What was sent and is not confirmed yet would be in the store, and not in the list.
        self._stopping = True
        await self._task

    async def _publish(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        while not self._stopping:
            number = len(self.positions)
            await asyncio.sleep(max(0.0, began + number * self._pause - loop.time()))
            session, turn = f"s{number % SESSIONS}", f"e{number}"
            event = Event(turn, EventType.APPEND, session, "user", f"text {number}")
            self.positions += await self._system.stream.publish([event])


class Reader:
    """Reads again and again, and fails if a state is older than one that it saw."""

    def __init__(self, workspace: Path, backend: str) -> None:
        self._workspace = workspace
        self._backend = backend
        self.reads = 0

    async def run_until_moved(self) -> None:
        async with make_session_backend(self._workspace, self._backend) as reader:
            seen: dict[str, int] = {}
            with suppress(StoreMoved):
                while True:
                    await self._read(reader, seen)

    async def _read(self, reader: SessionReader, seen: dict[str, int]) -> None:
        before = (await reader.cursor()).applied
        for number in range(SESSIONS):
            page = await reader.history(f"s{number}", limit=1000)
            assert len(page.items) >= seen.get(f"s{number}", 0)
            seen[f"s{number}"] = len(page.items)
        assert (await reader.cursor()).applied >= before
        self.reads += 1
        await asyncio.sleep(0.01)


def mover(system: SystemUnderTest, target: str) -> Program:
    """`turnstream move`, as a process of its own."""
    variables = variables_of(system.workspace, system.redis.url, session_backend=system.backend)
    argv = module_argv("cli", "move", "--to", target, "--workspace", str(system.workspace))
    return Program(argv, environment(**variables))


async def everything_is_there(system: SystemUnderTest, publisher: Publisher) -> None:
    """Every event has its outcome at its position, and its message once and in order."""
    store = await system.store()
    last = publisher.positions[-1]
    await wait_until(lambda: _reached(store, last), "all is applied")
    wanted: dict[str, list[str]] = {}
    for number, position in enumerate(publisher.positions):
        wanted.setdefault(f"s{number % SESSIONS}", []).append(f"text {number}")
        outcome = await store.outcome(f"e{number}")
        assert outcome is not None
        assert outcome.position.stream_id == position.stream_id
    for session, texts in wanted.items():
        page = await store.history(session, limit=1000)
        assert [message.content for message in page.items] == texts
    settings = {
        "turnstream": {"workspace": str(system.workspace)},
        "channels": {"session_backend": store.name},
    }
    assert (await asyncio.to_thread(check_store, Settings.model_validate(settings))).sound


async def _reached(store: SessionReader, position: Position) -> bool:
    return (await store.cursor()).applied >= position.stream_id


@pytest.mark.parametrize(("source", "target"), PAIRS)
async def test_a_store_moves_while_turns_are_published(
    system: SystemUnderTest, source: str, target: str
) -> None:
    """Worker and standby end with 78 and say why; the next worker goes on where they were."""
    system.backend = source
    leader = await system.worker()
    standby = await system.worker(leads=False)
    await standby.says("standing by")
    publisher = Publisher(system, 200)
    await wait_until(lambda: len(publisher.positions) > 200)
    reading = Reader(system.workspace, source)
    watched = asyncio.create_task(reading.run_until_moved())
    with mover(system, target) as move:
        assert await move.ended(within=60) == 0, move.log
    for worker in (leader, standby):
        assert await worker.ended() == os.EX_CONFIG
        assert f"was moved to the {target} backend" in worker.log
    await asyncio.wait_for(watched, 30)
    assert reading.reads > 1
    moved_until = await _applied(system.workspace, target)
    system.backend = target
    await system.worker()
    await wait_until(lambda: publisher.positions[-1].stream_id > moved_until)
    await publisher.stop()
    await everything_is_there(system, publisher)


async def _applied(workspace: Path, backend: str) -> StreamId:
    async with make_session_backend(workspace, backend) as reader:
        return (await reader.cursor()).applied


async def test_an_api_on_the_old_store_answers_503(system: SystemUnderTest) -> None:
    """It names the reason by a code; an api on the new store answers."""
    await system.worker()
    await system.append("e1")
    await system.outcome("e1")
    await system.close_store()
    token = (system.workspace / "token").read_text().strip()
    headers = {"Authorization": f"Bearer {token}"}
    old, _ = await system.serving("api")
    async with httpx.AsyncClient(headers=headers, trust_env=False) as http:
        assert (await http.get(f"{old}/api/sessions")).status_code == 200
        with mover(system, "jsonl") as move:
            assert await move.ended(within=60) == 0, move.log
        for path in ("/api/sessions", "/api/sessions/s/messages", "/readyz"):
            answer = await http.get(f"{old}{path}?consistency=any")
            assert (answer.status_code, answer.json()["code"]) == (503, "store_moved"), path
        system.backend = "jsonl"
        await system.worker()
        new, _ = await system.serving("api")
        answer = await http.get(f"{new}/api/sessions/s/messages")
        assert [one["content"] for one in answer.json()["messages"]] == ["hello"]


@pytest.mark.endurance
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("source", "target"), PAIRS)
async def test_a_move_that_is_killed_20_times_at_500_turns_a_second(
    system: SystemUnderTest, source: str, target: str
) -> None:
    """Each try goes on; a worker is started again as often as it ends."""
    system.backend = source
    worker = await system.worker()
    publisher = Publisher(system, 500)
    await wait_until(lambda: len(publisher.positions) > 2000, within=60)
    watched = asyncio.create_task(Reader(system.workspace, source).run_until_moved())
    for kill in range(20):
        with mover(system, target) as move:
            await asyncio.sleep(0.6 + 0.15 * kill)
            await move.stop(signal.SIGKILL)
        if not worker.runs:
            break
    with mover(system, target) as move:
        assert await move.ended(within=300) == 0, move.log
    await worker.ended()
    await asyncio.wait_for(watched, 60)
    system.backend = target
    await system.worker()
    await publisher.stop()
    await everything_is_there(system, publisher)
