"""The system in the storm, as processes: Redis, a worker, an api, three replicas of ingest."""

from __future__ import annotations

import signal
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Self

import httpx

from harness.services import free_port, module_argv
from harness.waiting import Stuck, wait_until
from proof.storm.external import ExternalServers
from proof.storm.journal import AGENT, AIDE
from proof.storm.lane_probe import LaneProbe
from proof.storm.reply_probe import ReplyProbe
from proof.testbed import Testbed, workspace_in
from sessions.access.tokens import TokenScope, create_token, ensure_admin_token
from sessions.process.lifeline import LIFELINE_VARIABLE
from sessions.process.progress import PROGRESS_VARIABLE

REPLICAS: Final = ("ingest-a", "ingest-b", "ingest-c")
BACKEND: Final = "sqlite"
# Seconds for which a replica tries to send a reply before it is parked.
PARK_AFTER: Final = 2
# Seconds within which everything must have started, or must be applied once all is said.
_WITHIN: Final = 60.0
_LOOK: Final = 0.1


class StormSystem:
    """Made by `running`; ended with its block. Whatever ends by itself is started again."""

    def __init__(self, ground: Testbed) -> None:
        self._ground = ground
        self.workspace = workspace_in(ground.folder)
        self.children, self.redis = ground.children, ground.redis
        self.stream, self.store = ground.stream, ground.store
        self.lanes = LaneProbe(ground.stream.redis)
        self.replies = ReplyProbe(ground.stream.redis)
        self._config = ground.folder / "turnstream.toml"
        self.token = ensure_admin_token(self.workspace)
        self.agent_tokens = {
            agent: create_token(self.workspace, scope=TokenScope.SEND, agent=agent)[0]
            for agent in (AGENT, AIDE)
        }
        self.urls = [f"http://127.0.0.1:{free_port()}" for _ in REPLICAS]
        self.api = f"http://127.0.0.1:{free_port()}"

    @classmethod
    @asynccontextmanager
    async def running(
        cls, folder: Path, *, outside: ExternalServers, backend: str = BACKEND
    ) -> AsyncGenerator[Self]:
        """A system that takes messages; `outside` are its model and its platforms."""
        async with Testbed.opened(folder, backend) as ground:
            system = cls(ground)
            await system._start(outside)
            yield system

    async def _start(self, outside: ExternalServers) -> None:
        (self._config).write_text(outside.settings())
        await self.start_redis()
        await self._keep("worker", "worker")
        await self._keep("api", "api", port=self.api)
        for name, url in zip(REPLICAS, self.urls, strict=True):
            await self._keep(name, "ingest", port=url)
        await self._all_are_ready()

    async def _keep(self, name: str, module: str, *, port: str = "") -> None:
        settings = {"api_url": self.api, "token": self.token, "reply_park_secs": str(PARK_AFTER)}
        if port:
            settings["port"] = port.rpartition(":")[2]
        variables = self._ground.variables(self.redis.url, **settings)
        config = f"--config={self._config}"
        # Pipes to the fork server do not outlive the exec: a replica that is frozen stays frozen.
        words = ("/usr/bin/env", "-u", PROGRESS_VARIABLE, "-u", LIFELINE_VARIABLE)
        argv = (*words, *module_argv(module, config))
        log = self._ground.log_of(name)
        await self.children.keep(name, "program", *argv, env=variables, log=log)

    async def _all_are_ready(self) -> None:
        """Wait for the replicas; one that was killed is started again by itself."""
        async with httpx.AsyncClient(trust_env=False) as client:
            for url in self.urls:
                await self.until(lambda url=url: _is_ready(client, url), f"{url} is ready")

    async def start_redis(self) -> None:
        """Start Redis, and wait until it has loaded what it has."""
        await self._ground.start_redis()

    # -- looking -------------------------------------------------------------------------------

    async def until(
        self, holds: Callable[[], bool | Awaitable[bool]], what: str, within: float = _WITHIN
    ) -> None:
        """Look until it holds; raises Stuck."""
        await wait_until(holds, what, within=within, pause=_LOOK)

    # -- ending --------------------------------------------------------------------------------

    async def quiet(self) -> list[str]:
        """Wait until nothing is at work, then end all; the ids of all stream entries."""
        await self.until(self._has_no_lanes, "no lane is in use")
        await self.until(self._has_no_replies, "no reply is parked or undelivered")
        await self.until(self._ground.has_caught_up, "everything that was accepted is applied")
        # One that is asked to end before it listens knows no orderly end.
        await self._all_are_ready()
        keys = await self.lanes.keys()
        if keys:
            raise Stuck(f"lanes left keys behind: {', '.join(keys[:8])}")
        entries = await self.stream.leftovers()
        for names in (REPLICAS, ("api",), ("worker",), ("redis",)):
            await self._ground.end(*names)
        return [*entries.entries.elements()]

    async def _has_no_lanes(self) -> bool:
        return not await self.lanes.in_use()

    async def _has_no_replies(self) -> bool:
        return not await self.replies.kept()

    def send(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a process; raises Stuck where it does not run."""
        if not self.children.kill(name, number):
            raise Stuck(f"{name} does not run")


async def _is_ready(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(f"{url}/readyz")).is_success
    except httpx.HTTPError:
        return False
