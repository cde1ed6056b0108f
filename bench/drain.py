"""How fast the worker drains a backlog, against plainly writing what it wrote."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from asyncio.subprocess import Process
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import baseline
from bench.corpus import Turn
from cli.supervision.embedded_redis import EmbeddedRedis, find_server
from sessions import SessionReader, make_session_backend
from sessions.models import Event, EventType
from sessions.stream.redis import connect
from sessions.stream.turns import TurnStream
from worker.batches import BATCH_COUNT

PREFIX: Final = "turnstream:"
# Events of one publish call: enough that Redis is not the one who is measured.
_PUBLISH_STEP: Final = 200
# Seconds between two looks at the worker's cursor.
_LOOK: Final = 0.01


@dataclass(frozen=True)
class Drain:
    """Figures of one run. Rows a second, and the worker's highest resident size in MB."""

    turns: int
    worker: float
    plain: float
    worker_mb: float

    @property
    def ratio(self) -> float:
        """The worker's rate as a share of the plain one."""
        return self.worker / self.plain


@asynccontextmanager
async def redis_server(folder: Path) -> AsyncGenerator[str]:
    """A Redis of our own for the measurement, configured as `turnstream up` does it."""
    redis = EmbeddedRedis.of(folder, find_server(), maxmemory=2 * 1024**3)
    redis.directory.mkdir(parents=True, exist_ok=True)
    redis.socket_path.parent.mkdir(mode=0o700, exist_ok=True)
    server = await asyncio.create_subprocess_exec(*redis.server_argv(), stdout=subprocess.DEVNULL)
    try:
        await until(lambda: redis.is_served_by(server.pid))
        yield redis.url
    finally:
        server.terminate()
        await server.wait()
        shutil.rmtree(redis.socket_path.parent)


@asynccontextmanager
async def worker_process(
    folder: Path, url: str, *, backend: str = "sqlite"
) -> AsyncGenerator[Process]:
    """A real worker on its own workspace, ended when the block ends."""
    settings = {
        "TURNSTREAM_WORKSPACE": str(folder),
        "TURNSTREAM_SESSION_BACKEND": backend,
        "REDIS_URL": url,
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "worker"),
        env=environment(settings),
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.terminate()
        await process.wait()


async def until(condition: Callable[[], Awaitable[bool]], *, pause: float = _LOOK) -> None:
    """Look every `pause` seconds until the condition holds."""
    while not await condition():  # noqa: ASYNC110 - what is waited for is in another process
        await asyncio.sleep(pause)


async def reached(store: SessionReader, resolved: int) -> bool:
    """Whether a worker leads and has applied that many entries."""
    cursor = await store.cursor()
    return cursor.epoch > 0 and cursor.resolved >= resolved


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Ours, with these settings."""
    return {**os.environ, **settings}


async def measure(turns: list[Turn], backend: str, folder: Path) -> Drain:
    """Let a backlog gather before a stopped worker, let it go, then write the same plainly."""
    workspace = folder / "drain"
    async with (
        redis_server(workspace) as url,
        worker_process(workspace, url, backend=backend) as worker,
    ):
        async with make_session_backend(workspace, backend) as store:
            await until(lambda: reached(store, 0))
            worker.send_signal(signal.SIGSTOP)
            await publish(turns, url)
            began = time.perf_counter()
            worker.send_signal(signal.SIGCONT)
            await until(lambda: reached(store, len(turns)))
            took = time.perf_counter() - began
        peak = peak_mb(worker.pid)
    sessions = workspace / "sessions"
    if backend == "jsonl":
        rows, plain = baseline.of_files(sessions, folder / "plain", batch=BATCH_COUNT)
    else:
        rows, plain = baseline.of_rows(
            sessions / "turnstream.db", folder / "plain.db", batch=BATCH_COUNT
        )
    return Drain(len(turns), len(turns) / took, rows / plain, peak)


async def publish(turns: Iterable[Turn], url: str) -> None:
    """Put the turns on the stream as fast as it goes."""
    async with aclosing(connect(url)) as redis:
        stream = TurnStream(redis, url=url, prefix=PREFIX)
        pending: list[Event] = []
        for number, turn in enumerate(turns):
            pending.append(
                Event(
                    id=f"bench-{number:08d}",
                    type=EventType.APPEND,
                    session=turn.session,
                    role=turn.role,
                    content=turn.content,
                )
            )
            if len(pending) == _PUBLISH_STEP:
                await stream.publish(pending)
                pending.clear()
        if pending:
            await stream.publish(pending)


def peak_mb(process_id: int) -> float:
    """The highest resident size of a process, from the kernel; 0 where there is no /proc."""
    return _size_mb(process_id, "VmHWM")


def resident_mb(process_id: int) -> float:
    """Its resident size now, likewise."""
    return _size_mb(process_id, "VmRSS")


def _size_mb(process_id: int, name: str) -> float:
    status = Path(f"/proc/{process_id}/status")
    if not status.exists():
        return 0.0
    line = next(line for line in status.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024
