"""What every run stands on: a Redis and services that are kept running, and looks from outside."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from cli.supervision.embedded_redis import EmbeddedRedis
from harness.redis import prepared_redis
from harness.services import variables_of
from harness.waiting import Stuck, wait_until
from proof.children import Children
from proof.evidence import database_of
from proof.probe import StoreProbe, StreamProbe
from sessions.stream.redis import connect

# Seconds within which Redis must have loaded what it has.
_LOADED_WITHIN: Final = 60.0


@dataclass(frozen=True)
class Testbed:
    """A workspace with a Redis of its own and the children of a fork server. Made by `opened`."""

    folder: Path
    backend: str
    children: Children
    redis: EmbeddedRedis
    stream: StreamProbe
    store: StoreProbe

    @classmethod
    @asynccontextmanager
    async def opened(cls, folder: Path, backend: str) -> AsyncGenerator[Self]:
        """An empty workspace below the folder, in which nothing runs yet."""
        workspace = workspace_in(folder)
        workspace.mkdir(mode=0o700, parents=True)
        with prepared_redis(workspace) as redis:
            async with Children.running() as children, aclosing(connect(redis.url)) as client:
                with closing(StoreProbe(database_of(workspace, backend))) as store:
                    yield cls(folder, backend, children, redis, StreamProbe(client), store)

    def variables(self, redis_url: str, **settings: str) -> dict[str, str]:
        """The settings of a service, as variables."""
        own = {"session_backend": self.backend, **settings}
        return variables_of(workspace_in(self.folder), redis_url, **own)

    def log_of(self, name: str) -> Path:
        """Where the output of a child goes."""
        return self.folder / f"{name}.log"

    async def start_redis(self) -> None:
        """Start Redis, and wait until it has loaded what it has."""
        argv = self.redis.server_argv()
        await self.children.keep("redis", "program", *argv, log=self.log_of("redis"))
        await wait_until(self._redis_answers, "Redis answers", within=_LOADED_WITHIN)

    async def has_caught_up(self) -> bool:
        """Whether everything on the stream is applied."""
        last, cursor = await self.stream.last_id(), self.store.cursor()
        return last is not None and cursor is not None and cursor.applied == last

    async def end(self, *names: str) -> None:
        """Ask children for an orderly end; raises Stuck if one does not come to it."""
        for end in await self.children.end(*names):
            if end.code != os.EX_OK:
                raise Stuck(f"{end.name} was asked to end and ended with {end.code}")

    async def _redis_answers(self) -> bool:
        return await self.stream.last_id() is not None


def workspace_in(folder: Path) -> Path:
    """The workspace of a run that has this folder."""
    return folder / "workspace"
