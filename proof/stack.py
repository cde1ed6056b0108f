"""One system under test: Redis behind proxies, two workers, a web process, publishers."""

from __future__ import annotations

import signal
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from harness.services import free_port
from harness.waiting import Stuck, wait_until
from proof.evidence import Leftovers
from proof.proxy import Proxy
from proof.testbed import Testbed, workspace_in
from sessions.access.tokens import ensure_admin_token
from sessions.models import StreamId

WORKERS: Final = ("worker-a", "worker-b")
# Seconds within which a healed stack must have applied everything.
QUIET_WITHIN: Final = 45.0
# Seconds between two looks while waiting.
LOOK: Final = 0.01


@dataclass(frozen=True)
class StackSetup:
    """What a stack is made of. `rate` is in events a second, over all publishers.

    `mutant` names a bug of `mutants`; with a `forgetful_disk` power cuts are possible.
    """

    folder: Path
    backend: str
    seed: str
    rate: float = 150.0
    publishers: int = 2
    web: bool = False
    mutant: str | None = None
    forgetful_disk: bool = False

    @property
    def workspace(self) -> Path:
        """The workspace of all its services."""
        return workspace_in(self.folder)

    @property
    def histories(self) -> Path:
        """Where publishers keep their histories."""
        return self.folder / "histories"


class Stack:
    """A running stack. Made by `running`; ended with its block."""

    def __init__(self, setup: StackSetup, ground: Testbed) -> None:
        self.setup = setup
        self._ground = ground
        self.children, self.redis = ground.children, ground.redis
        self.stream, self.store = ground.stream, ground.store
        self.worker_proxy = Proxy(ground.redis.socket_path)
        self.publisher_proxy = Proxy(ground.redis.socket_path)
        self.publishers = [f"publisher-{number}" for number in range(setup.publishers)]
        self._web = f"http://127.0.0.1:{free_port()}" if setup.web else None

    @classmethod
    @asynccontextmanager
    async def running(cls, setup: StackSetup) -> AsyncGenerator[Self]:
        """A stack in which a worker leads and nobody publishes yet."""
        setup.histories.mkdir(mode=0o700, parents=True)
        async with Testbed.opened(setup.folder, setup.backend) as ground:
            stack = cls(setup, ground)
            try:
                await stack._start()
                yield stack
            finally:
                await stack._close()

    async def _start(self) -> None:
        await self.worker_proxy.start()
        await self.publisher_proxy.start()
        await self.start_redis()
        for name in WORKERS:
            await self._keep(name, "worker")
        if self._web is not None:
            await self._keep("web", "web")
        await self.until(lambda: self.store.leader() is not None, "a worker leads")

    async def _close(self) -> None:
        await self.worker_proxy.close()
        await self.publisher_proxy.close()

    async def _keep(self, name: str, role: str, *argv: str) -> None:
        url = f"redis://127.0.0.1:{self.worker_proxy.port}"
        variables = self._ground.variables(url, **self._web_settings())
        if self.setup.mutant is not None:
            variables["PROOF_MUTANT"] = self.setup.mutant
        if self.setup.forgetful_disk:
            variables["PROOF_DISK"] = str(self.setup.folder)
        log = self._ground.log_of(name)
        await self.children.keep(name, role, *argv, env=variables, log=log)

    def _web_settings(self) -> dict[str, str]:
        if self._web is None:
            return {}
        token = ensure_admin_token(self.setup.workspace)
        return {"api_url": self._web, "port": self._web.rpartition(":")[2], "token": token}

    async def publish(self) -> None:
        """Let the publishers begin."""
        url = f"redis://127.0.0.1:{self.publisher_proxy.port}"
        for name in self.publishers:
            await self._keep(
                name,
                "publisher",
                f"--folder={self.setup.histories}",
                f"--name={name}",
                f"--seed={self.setup.seed}",
                f"--redis={url}",
                f"--rate={self.setup.rate / len(self.publishers)}",
                *([f"--web={self._web}"] if self._web else ()),
            )

    async def start_redis(self) -> None:
        """Start Redis, and wait until it has loaded what it has."""
        await self._ground.start_redis()

    async def end_redis(self) -> None:
        """End Redis in order; it is not started again by itself."""
        await self.children.end("redis")

    async def pause_publishers(self) -> None:
        """Freeze the publishers, and wait until all they sent is applied."""
        for name in self.publishers:
            self.children.kill(name, signal.SIGSTOP)
        await self.until(self._ground.has_caught_up, "everything that was sent is applied")

    def resume_publishers(self) -> None:
        """Let the publishers go on."""
        for name in self.publishers:
            self.children.kill(name, signal.SIGCONT)

    # -- looking -----------------------------------------------------------------------------

    async def waiting(self) -> list[str]:
        """The ids that the store has not applied."""
        return await self.stream.waiting(self.applied())

    def applied(self) -> StreamId:
        """How far the store has applied the stream."""
        cursor = self.store.cursor()
        if cursor is None:
            raise Stuck("the store cannot be read")
        return cursor.applied

    def leader(self) -> str | None:
        """The name of the worker that leads, if it lives."""
        pid = self.store.leader()
        return next((name for name in WORKERS if self.children.pids.get(name) == pid), None)

    def standby(self) -> str | None:
        """The name of the other one, if it lives."""
        leader = self.leader()
        names = [name for name in WORKERS if name != leader and name in self.children.pids]
        return names[0] if leader is not None and names else None

    def is_writing(self, name: str) -> bool | None:
        """Whether a worker is inside a writing transaction; None where that cannot be known."""
        pid = self.children.pids.get(name)
        return None if pid is None else self.store.is_locked_by(pid)

    async def until(
        self, holds: Callable[[], bool | Awaitable[bool]], what: str, within: float = QUIET_WITHIN
    ) -> None:
        """Look until it holds; raises Stuck."""
        await wait_until(holds, what, within=within, pause=LOOK)

    # -- ending ------------------------------------------------------------------------------

    async def quiet(self) -> Leftovers:
        """Let the publishers finish, the workers catch up and end; what Redis is left with."""
        await self.children.end(*self.publishers)
        await self.until(self._ground.has_caught_up, "everything that was accepted is applied")
        leftovers = await self.stream.leftovers()
        services = [*WORKERS, "web"] if self._web else [*WORKERS]
        await self._ground.end(*services)
        await self.end_redis()
        return leftovers
