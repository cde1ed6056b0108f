"""A workspace, a Redis that may be treated badly, and the services that are started on them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, ExitStack, aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, Final, Self

import httpx

from harness.forking import ForkedProgram
from harness.program import Program
from harness.redis import RedisServer
from harness.services import environment, module_argv, variables_of
from harness.waiting import wait_until
from sessions.models import Event, EventType, Outcome
from sessions.store.backend import SessionReader
from sessions.store.factory import make_session_backend
from sessions.stream.redis import RedisClient, connect
from sessions.stream.turns import TurnStream

PREFIX: Final = "turnstream:"
STREAM: Final = f"{PREFIX}turns"
# Small enough that a test fills it in seconds.
SMALL: Final = 64 * 1024 * 1024


class SystemUnderTest:
    """Made by `running` or `on`; whatever was started on it ends with its block."""

    def __init__(
        self, workspace: Path, url: str, client: RedisClient, redis: RedisServer | None
    ) -> None:
        self.workspace = workspace
        self.redis_url = url
        self.client = client
        self.stream = TurnStream(client, url=url, prefix=PREFIX)
        self.backend = "sqlite"
        # Whether services are forked; one whose memory or speed is measured is not.
        self.forks = True
        self._redis = redis
        self._programs = ExitStack()
        self._store: SessionReader | None = None
        self._stack = AsyncExitStack()

    @classmethod
    @asynccontextmanager
    async def running(cls, folder: Path, *, maxmemory: int = SMALL) -> AsyncGenerator[Self]:
        """A system with a Redis and nothing else yet; its workspace is below `folder`."""
        with RedisServer.running(folder / "redis", maxmemory=maxmemory) as redis:
            async with cls.on(redis.url, folder, redis) as system:
                yield system

    @classmethod
    @asynccontextmanager
    async def on(
        cls, url: str, folder: Path, redis: RedisServer | None = None
    ) -> AsyncGenerator[Self]:
        """The same on the Redis at `url`, which nobody else uses."""
        async with aclosing(connect(url)) as client:
            system = cls(folder / "workspace", url, client, redis)
            try:
                yield system
            finally:
                await system.close_store()
                system._programs.close()

    @property
    def redis(self) -> RedisServer:
        """Its Redis, to be treated badly. Only `running` makes one."""
        assert self._redis is not None, "this Redis is not the system's own"
        return self._redis

    # -- services ----------------------------------------------------------------------------

    async def worker(self, *options: str, leads: bool = True, **settings: str) -> Program:
        """Start a worker, and wait until it leads unless it is to stand by."""
        worker = self.start("worker", *options, **settings)
        if leads:
            await worker.says("leading under epoch")
        return worker

    async def web(self, **settings: str) -> str:
        """Start the web process of `turnstream up`; its URL, as soon as it listens."""
        return await self.start("cli.supervision.web", port="0", **settings).address()

    async def serving(self, module: str, **settings: str) -> tuple[str, Program]:
        """Start `api` or `ingest`; its URL, once it is ready."""
        program = self.start(module, port="0", **settings)
        url = await program.address()
        async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
            await wait_until(lambda: _is_ready(http), f"{module} is ready")
        return url, program

    def start(self, module: str, *options: str, **settings: str) -> Program:
        """Start any service. `settings` are by name and replace those of the system."""
        own = {"redis_url": self.redis_url, "session_backend": self.backend, **settings}
        environ = environment(**variables_of(self.workspace, own.pop("redis_url"), **own))
        if self.forks:
            program = ForkedProgram((module, *options), environ)
        else:
            program = Program(module_argv(module, *options), environ)
        return self._programs.enter_context(program)

    # -- the store, from outside -------------------------------------------------------------

    async def store(self) -> SessionReader:
        """The store, read from outside."""
        if self._store is None:
            reader = make_session_backend(self.workspace, self.backend)
            self._store = await self._stack.enter_async_context(reader)
        return self._store

    async def close_store(self) -> None:
        """Let go of the store's files."""
        self._store = None
        await self._stack.aclose()

    async def outcome(self, event_id: str) -> Outcome:
        """The outcome of an event, as soon as it is there."""
        store = await self.store()
        found = await wait_until(lambda: store.outcome(event_id))
        assert found is not None
        return found

    async def texts(self, session: str = "s") -> list[str]:
        """What the messages of a session say."""
        page = await (await self.store()).history(session, limit=1000)
        return [message.content for message in page.items]

    # -- the stream --------------------------------------------------------------------------

    async def xadd(self, *fields: str | bytes) -> None:
        """One XADD, as any program may send it."""
        await self.client.execute_command("XADD", STREAM, "*", *fields)

    async def append(self, event_id: str, content: str = "hello", session: str = "s") -> None:
        """One user append."""
        await self.stream.publish([Event(event_id, EventType.APPEND, session, "user", content)])

    async def redis_says(self, *command: Any) -> Any:
        """One command to Redis."""
        return await self.client.execute_command(*command)


async def _is_ready(http: httpx.AsyncClient) -> bool:
    try:
        return (await http.get("/readyz")).is_success
    except httpx.HTTPError:
        return False
