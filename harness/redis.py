"""A Redis of its own, configured as `turnstream up` configures it."""

from __future__ import annotations

import signal
import socket
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from cli.supervision.embedded_redis import DEFAULT_MAXMEMORY, EmbeddedRedis, find_server
from harness.program import Program
from harness.services import environment
from harness.waiting import wait_until, wait_until_sync


@contextmanager
def prepared_redis(folder: Path, *, maxmemory: int = DEFAULT_MAXMEMORY) -> Generator[EmbeddedRedis]:
    """A server that can be started: its data below `folder`, its socket gone behind the block."""
    with tempfile.TemporaryDirectory(prefix="ts-") as sockets:
        redis = EmbeddedRedis.of(folder, find_server(), runtime_dir=sockets, maxmemory=maxmemory)
        redis.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        redis.socket_path.parent.mkdir(mode=0o700)
        yield redis


class RedisServer:
    """A server that may be killed, and started again on what it left. Ended with its block."""

    def __init__(self, redis: EmbeddedRedis) -> None:
        self._redis = redis
        self._program: Program | None = None
        self.url = redis.url
        self.socket_path = redis.socket_path
        self.folder = redis.directory

    @classmethod
    @contextmanager
    def running(cls, folder: Path, *, maxmemory: int = DEFAULT_MAXMEMORY) -> Generator[Self]:
        """A server that answers."""
        with prepared_redis(folder, maxmemory=maxmemory) as redis:
            server = cls(redis)
            try:
                server._launch()
                wait_until_sync(server.answers, "Redis answers")
                yield server
            finally:
                server._end()

    async def start(self) -> None:
        """Start it on the data that it left, and wait until it has loaded them."""
        self._launch()
        await wait_until(self.answers, "Redis answers")

    def freeze(self) -> None:
        """Let it read nothing more; what is sent to it is lost when it is killed."""
        if self._program is not None:
            self._program.freeze()

    async def kill(self) -> None:
        """End it as a power cut of that process would; nothing happens if it does not run."""
        if self._program is not None:
            await self._program.stop(signal.SIGKILL)

    def answers(self) -> bool:
        """Whether it has loaded its data and takes commands."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(1.0)
            try:
                client.connect(str(self.socket_path))
                client.sendall(b"PING\r\n")
                return client.recv(5) == b"+PONG"
            except OSError:
                return False

    def _launch(self) -> None:
        self._end()
        self._program = Program(self._redis.server_argv(), environment())

    def _end(self) -> None:
        if self._program is not None:
            self._program.close()
