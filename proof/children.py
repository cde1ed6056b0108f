"""The fork server as a run sees it: which processes live, and how they ended."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from harness.waiting import Stuck

# Seconds for what must happen soon on a machine that is busy with a run.
_PATIENCE: Final = 30.0


@dataclass(frozen=True)
class ChildExit:
    """How a process ended; `code` is negative for a signal."""

    name: str
    pid: int
    code: int
    silent: bool
    at: float


class Children:
    """The processes of a run, by name."""

    def __init__(
        self, fork_server: asyncio.subprocess.Process, writer: asyncio.StreamWriter
    ) -> None:
        self.pids: dict[str, int] = {}
        self.ends: list[ChildExit] = []
        self._killed: set[int] = set()
        self._fork_server = fork_server
        self._writer = writer
        self._changed = asyncio.Condition()
        self._gone = False

    @classmethod
    @asynccontextmanager
    async def running(cls) -> AsyncGenerator[Self]:
        """A fork server without children; all it has by then are killed at the end of the block."""
        ours, theirs = socket.socketpair()
        with theirs:
            fork_server = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "proof.fork_server", str(theirs.fileno())),
                pass_fds=[theirs.fileno()],
            )
        reader, writer = await asyncio.open_connection(sock=ours)
        children = cls(fork_server, writer)
        listening = asyncio.create_task(children._listen(reader), name="fork_server")
        try:
            yield children
        finally:
            writer.close()
            await fork_server.wait()
            listening.cancel()

    async def keep(
        self, name: str, role: str, *argv: str, env: Mapping[str, str] | None = None, log: Path
    ) -> None:
        """Start a process that is started again whenever it ends; returns when it runs."""
        self._ask(keep=name, role=role, argv=argv, env=dict(env or {}), log=str(log))
        await self._until(lambda: name in self.pids, f"{name} runs")

    async def end(self, *names: str) -> list[ChildExit]:
        """Ask processes for an orderly end and wait for it."""
        for name in names:
            self._ask(end=name)
        await self._until(lambda: not self.pids.keys() & set(names), f"{', '.join(names)} ended")
        return [self._last_end(name) for name in names]

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> bool:
        """Send a signal; whether there was a process to get it."""
        pid = self.pids.get(name)
        if pid is None:
            return False
        if number == signal.SIGKILL:
            self._killed.add(pid)
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        return True

    def forgive(self, pid: int) -> None:
        """Count the end of a process as asked for, whenever it comes."""
        self._killed.add(pid)

    @property
    def by_themselves(self) -> list[ChildExit]:
        """Ends that nobody asked for: not by a signal of ours, and not in order."""
        return [
            end
            for end in self.ends
            if end.pid not in self._killed and end.code != 0 and not end.silent
        ]

    def _last_end(self, name: str) -> ChildExit:
        return next(end for end in reversed(self.ends) if end.name == name)

    def _ask(self, **request: object) -> None:
        self._writer.write(json.dumps(request).encode() + b"\n")

    async def _until(self, holds: Callable[[], bool], what: str) -> None:
        try:
            async with asyncio.timeout(_PATIENCE), self._changed:
                await self._changed.wait_for(lambda: self._gone or holds())
        except TimeoutError:
            raise Stuck(f"not within {_PATIENCE:g} s: {what}") from None
        if self._gone:
            raise Stuck("the fork server has ended")

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            await self._note(json.loads(line))
        self._gone = True
        async with self._changed:
            self._changed.notify_all()

    async def _note(self, told: dict[str, Any]) -> None:
        if "began" in told:
            self.pids[told["began"]] = told["pid"]
        else:
            name = told["ended"]
            self.pids.pop(name, None)
            end = ChildExit(name, told["pid"], told["code"], told["silent"], time.monotonic())
            self.ends.append(end)
        async with self._changed:
            self._changed.notify_all()
