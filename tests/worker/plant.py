"""A worker as operators have it: a process of its own, on a Redis that a test may ill-treat."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import resource
import shutil
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, Final

from cli.supervision.embedded_redis import EmbeddedRedis, find_server
from sessions.models import Event, EventType, Outcome
from sessions.store.backend import SessionReader
from sessions.store.factory import make_session_backend
from sessions.stream.redis import RedisClient, connect
from sessions.stream.turns import TurnStream
from tests.helpers import PATIENCE, wait_until

STREAM: Final = "turnstream:turns"
# Seconds until a web process listens; it imports more than all others.
_START: Final = 45.0


class RedisServer:
    """A Redis of one test, configured as `turnstream up` configures it."""

    def __init__(self, folder: Path) -> None:
        self._server = EmbeddedRedis.of(folder, find_server(), maxmemory=64 * 1024 * 1024)
        self._process: Process | None = None
        self.url = self._server.url
        self.folder = self._server.directory

    async def start(self) -> None:
        """Start it on the data that it left."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._server.socket_path.parent.mkdir(mode=0o700, exist_ok=True)
        self._process = await asyncio.create_subprocess_exec(
            *self._server.server_argv(), stdout=asyncio.subprocess.DEVNULL
        )
        process_id = self._process.pid
        await wait_until(lambda: self._server.is_served_by(process_id))

    async def kill(self) -> None:
        """End it as a power cut of that process would."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()

    async def end(self) -> None:
        """End it and remove its socket."""
        await self.kill()
        shutil.rmtree(self._server.socket_path.parent, ignore_errors=True)


class WorkerProcess:
    """One `python -m worker`; what it logs is kept."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._lines: list[str] = []
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(
        cls, workspace: Path, url: str, *options: str, module: str = "worker", **settings: str
    ) -> WorkerProcess:
        """Start it; `settings` are TURNSTREAM_ variables by their names in lower case.

        `module` is another service's.
        """
        variables = {f"TURNSTREAM_{name.upper()}": value for name, value in settings.items()}
        environ = {
            **os.environ,
            "TURNSTREAM_WORKSPACE": str(workspace),
            "TURNSTREAM_REDIS_URL": url,
            **variables,
        }
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", module, *options), env=environ, stdout=PIPE, stderr=STDOUT
        )
        return cls(process)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def runs(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.returncode is None

    @property
    def log(self) -> str:
        """Everything that it has logged so far."""
        return "".join(self._lines)

    async def says(self, text: str, *, within: float = PATIENCE) -> None:
        """Wait until the text is in its log."""
        await wait_until(lambda: text in self.log or self._gone(text), within=within)

    async def address(self) -> str:
        """The URL that it serves, as soon as it does."""
        await self.says("listening on", within=_START)
        found = re.search(r"listening on (http://\S+)", self.log)
        assert found is not None
        return found[1]

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal and wait for the end; the exit code."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(how)
        return await self.ended()

    async def ended(self) -> int:
        """Wait for the end; the exit code."""
        code = await asyncio.wait_for(self._process.wait(), 15)
        await self._reading
        return code

    def freeze(self) -> None:
        """Stop it in the middle of whatever it does."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def limit_file_size(self, size: int) -> None:
        """Let no file of it grow beyond `size` bytes: to the process a full disk."""
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def peak_mb(self) -> float:
        """Its highest resident size."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024

    def _gone(self, text: str) -> bool:
        code = self._process.returncode
        assert code is None, f"ended with {code} before saying {text!r}:\n{self.log}"
        return False

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self._lines.append(line.decode(errors="replace"))


class Plant:
    """A Redis, a workspace, and the workers that a test starts on them."""

    def __init__(self, folder: Path, redis: RedisServer, client: RedisClient) -> None:
        self.workspace = folder / "workspace"
        self.redis = redis
        self.client = client
        self.stream = TurnStream(client, url=redis.url, prefix="turnstream:")
        self.backend = "sqlite"
        self._processes: list[WorkerProcess] = []
        self._store: SessionReader | None = None
        self._stack = contextlib.AsyncExitStack()

    @classmethod
    @asynccontextmanager
    async def of(cls, folder: Path) -> AsyncIterator[Plant]:
        """A plant with a running Redis and nothing else."""
        redis = RedisServer(folder / "redis")
        await redis.start()
        async with aclosing(connect(redis.url)) as client:
            plant = cls(folder, redis, client)
            try:
                yield plant
            finally:
                await plant.end()
                await redis.end()

    async def end(self) -> None:
        """Kill what still runs."""
        await self.close_store()
        for process in self._processes:
            await process.stop(signal.SIGKILL)

    async def worker(self, *options: str, leads: bool = True, **settings: str) -> WorkerProcess:
        """Start a worker, and wait until it leads unless it is to stand by."""
        worker = await self._start("worker", *options, **settings)
        if leads:
            await worker.says("leading under epoch")
        return worker

    async def web(self, **settings: str) -> str:
        """Start the web process of `turnstream up`; its URL."""
        return await (await self._start("cli.supervision.web", port="0", **settings)).address()

    async def _start(self, module: str, *options: str, **settings: str) -> WorkerProcess:
        chosen = {"session_backend": self.backend, **settings}
        process = await WorkerProcess.start(
            self.workspace, self.redis.url, *options, module=module, **chosen
        )
        self._processes.append(process)
        return process

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

    async def xadd(self, *fields: str | bytes) -> None:
        """One XADD, as any program may send it."""
        await self.client.execute_command("XADD", STREAM, "*", *fields)

    async def append(self, event_id: str, content: str = "hello", session: str = "s") -> None:
        """One user append."""
        await self.stream.publish([Event(event_id, EventType.APPEND, session, "user", content)])

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

    async def redis_says(self, *command: Any) -> Any:
        """One command to Redis."""
        return await self.client.execute_command(*command)
