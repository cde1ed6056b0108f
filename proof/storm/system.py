"""The system in the storm, as processes: Redis, a worker, an api, three replicas of ingest."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Final, Self

import httpx

from cli.supervision.embedded_redis import EmbeddedRedis, find_server
from proof.children import Children, Stuck, environment, until
from proof.evidence import database_of
from proof.probe import StoreProbe, StreamProbe
from proof.stack import free_port
from proof.storm.looks import LaneProbe
from proof.storm.outside import Outside
from sessions.access.tokens import ensure_admin_token
from sessions.process.lifeline import LIFELINE_VARIABLE
from sessions.process.progress import PROGRESS_VARIABLE
from sessions.stream.redis import connect

REPLICAS: Final = ("ingest-a", "ingest-b", "ingest-c")
BACKEND: Final = "sqlite"
# Seconds within which everything must have started, or must be applied once all is said.
_WITHIN: Final = 60.0
_LOOK: Final = 0.1
_MAXMEMORY: Final = 512 * 1024 * 1024


class System:
    """Made by `running`; ended with its block. Whatever ends by itself is started again."""

    def __init__(
        self, folder: Path, children: Children, redis: EmbeddedRedis, backend: str
    ) -> None:
        self.folder = folder
        self.backend = backend
        self.children = children
        self.redis = redis
        self.workspace = folder / "workspace"
        self.token = ensure_admin_token(self.workspace)
        self.store = StoreProbe(database_of(self.workspace, backend))
        self.urls = [f"http://127.0.0.1:{free_port()}" for _ in REPLICAS]
        self._api = f"http://127.0.0.1:{free_port()}"

    stream: StreamProbe
    lanes: LaneProbe

    @classmethod
    @asynccontextmanager
    async def running(
        cls, folder: Path, *, outside: Outside, backend: str = BACKEND
    ) -> AsyncGenerator[Self]:
        """A system that takes messages; `outside` are its model and its platforms."""
        workspace = folder / "workspace"
        workspace.mkdir(mode=0o700, parents=True)
        with tempfile.TemporaryDirectory(prefix="ts-storm-") as sockets:
            redis = EmbeddedRedis.of(
                workspace, find_server(), runtime_dir=sockets, maxmemory=_MAXMEMORY
            )
            redis.directory.mkdir(mode=0o700)
            redis.socket_path.parent.mkdir(mode=0o700)
            async with Children.running() as children, aclosing(connect(redis.url)) as client:
                system = cls(folder, children, redis, backend)
                system.stream, system.lanes = StreamProbe(client), LaneProbe(client)
                try:
                    await system._start(outside)
                    yield system
                finally:
                    system.store.close()

    async def _start(self, outside: Outside) -> None:
        (self.folder / "turnstream.toml").write_text(outside.settings())
        await self.start_redis()
        await self._keep("worker", "worker")
        await self._keep("api", "api", port=self._api)
        for name, url in zip(REPLICAS, self.urls, strict=True):
            await self._keep(name, "ingest", port=url)
        async with httpx.AsyncClient(trust_env=False) as client:
            for url in self.urls:
                await self.until(lambda url=url: _is_ready(client, url), f"{url} is ready")

    async def _keep(self, name: str, module: str, *, port: str = "") -> None:
        variables = environment(self.workspace, redis_url=self.redis.url, backend=self.backend)
        variables |= {"TURNSTREAM_API_URL": self._api, "TURNSTREAM_TOKEN": self.token}
        if port:
            variables["TURNSTREAM_PORT"] = port.rpartition(":")[2]
        config = f"--config={self.folder / 'turnstream.toml'}"
        # Pipes to the nursery do not outlive the exec: a replica that is frozen stays frozen.
        words = ("/usr/bin/env", "-u", PROGRESS_VARIABLE, "-u", LIFELINE_VARIABLE)
        argv = (*words, sys.executable, "-m", module, config)
        log = self.folder / f"{name}.log"
        await self.children.keep(name, "program", *argv, env=variables, log=log)

    async def start_redis(self) -> None:
        """Start Redis, and wait until it has loaded what it has."""
        argv = self.redis.server_argv()
        await self.children.keep("redis", "program", *argv, log=self.folder / "redis.log")
        await self.until(self._redis_answers, "Redis answers")

    async def _redis_answers(self) -> bool:
        return await self.stream.last_id() is not None

    # -- looking -------------------------------------------------------------------------------

    async def until(
        self, holds: Callable[[], bool | Awaitable[bool]], what: str, within: float = _WITHIN
    ) -> None:
        """Look until it holds; raises Stuck."""
        await until(holds, what, within=within, look=_LOOK)

    # -- ending --------------------------------------------------------------------------------

    async def quiet(self) -> list[str]:
        """Wait until nothing is at work, then end all; the ids of all stream entries."""
        await self.until(self._has_no_lanes, "no lane is in use")
        await self.until(self._caught_up, "everything that was accepted is applied")
        keys = await self.lanes.keys()
        if keys:
            raise Stuck(f"lanes left keys behind: {', '.join(keys[:8])}")
        entries = await self.stream.leftovers()
        for names in (REPLICAS, ("api",), ("worker",), ("redis",)):
            for end in await self.children.end(*names):
                if end.code != os.EX_OK:
                    raise Stuck(f"{end.name} was asked to end and ended with {end.code}")
        return [*entries.entries.elements()]

    async def _has_no_lanes(self) -> bool:
        return not await self.lanes.in_use()

    async def _caught_up(self) -> bool:
        last, cursor = await self.stream.last_id(), self.store.cursor()
        return last is not None and cursor is not None and cursor.applied == last

    def send(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a process; raises Stuck where it does not run."""
        if not self.children.kill(name, number):
            raise Stuck(f"{name} does not run")


async def _is_ready(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(f"{url}/readyz")).is_success
    except httpx.HTTPError:
        return False
