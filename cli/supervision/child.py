"""One child process of the supervisor: what it is, how it starts, what it says, how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, STDOUT, Process
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from sessions.process.lifeline import LIFELINE_VARIABLE
from sessions.process.progress import PROGRESS_VARIABLE

# Lines kept of a child, to say why it failed: a traceback's end and the log line before it.
_TAIL: Final = 20
# Bytes after which a line is cut: longer ones are data that was printed by mistake.
_LONGEST_LINE: Final = 16 * 1024
# Seconds for the last words of a dead child to come through. They are in the pipe already, only a
# grandchild that left the process group could keep it open.
_LAST_WORDS: Final = 1.0


# Asked with the process id whether the child is ready to serve.
Probe = Callable[[int], Awaitable[bool]]


@dataclass(frozen=True)
class Child:
    """A row of the supervisor's table.

    `env` is added to what all children inherit. The child is ready when it writes `ready` to its
    progress pipe (ProgressReporter), or when `probe`, asked again and again with its process id,
    first returns True. A `watched` child is killed and restarted when it was ready and then shows
    no progress. `grace` is the time from SIGTERM to SIGKILL, in seconds.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    probe: Probe | None = None
    watched: bool = False
    grace: float = 4.0


class Log(Protocol):
    """Where the supervisor writes, a line at a time, without newline."""

    def output(self, name: str, line: str) -> None:
        """Take a line that the child of that name wrote."""
        ...

    def note(self, text: str) -> None:
        """Take something that the supervisor says itself; it may have several lines."""
        ...


def python_module(module: str, *arguments: str) -> tuple[str, ...]:
    """The argv that runs a module of ours with this Python.

    `-P` keeps the current directory off the module path: people have folders named `api` and
    `worker` in theirs, and those must not be run.
    """
    return (sys.executable, "-P", "-m", module, *arguments)


class ChildRun:
    """One run of a child, from its start to its last words. Not used again after that."""

    def __init__(self, child: Child, log: Log) -> None:
        self.ready = asyncio.Event()
        self.signs = 0
        self.tail: deque[str] = deque(maxlen=_TAIL)
        self._child = child
        self._log = log
        self._process: Process | None = None
        self._code: int | None = None
        self._pipes: list[_Lines] = []

    @property
    def pid(self) -> int:
        """The process id, from the start on."""
        if self._process is None:
            raise RuntimeError("the child was not started")
        return self._process.pid

    async def begin(self, environ: Mapping[str, str], lifeline: int) -> None:
        """Start the process in a session of its own; raises OSError.

        A session of its own keeps the terminal's Ctrl-C away from it: the supervisor alone gets
        that, and ends the children in order.
        """
        with contextlib.ExitStack() as handed_over:
            output = await self._listen(self._on_output, handed_over)
            progress = await self._listen(self._on_progress, handed_over)
            self._process = await asyncio.create_subprocess_exec(
                *self._child.argv,
                stdin=DEVNULL,
                stdout=output,
                stderr=STDOUT,
                pass_fds=(progress, lifeline),
                env=self._environment(environ, progress, lifeline),
                start_new_session=True,
            )

    async def over(self) -> int:
        """Wait until the process has ended, and give its exit code (negative: the signal).

        What it left behind in its process group is killed.
        """
        if self._process is not None and self._code is None:
            code = await self._process.wait()
            self._signal_group(signal.SIGKILL)
            await self._last_words()
            self._code = code
        for pipe in self._pipes:
            pipe.close()
        return self._code or 0

    def terminate(self) -> None:
        """Ask the process for an orderly end; nothing where it has ended."""
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()

    def kill(self) -> None:
        """End the process and all of its group at once; nothing where it has ended."""
        if self._process is not None and self._process.returncode is None:
            self._signal_group(signal.SIGKILL)

    async def _last_words(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS):
                for pipe in self._pipes:
                    await pipe.ended.wait()

    async def _listen(
        self, on_line: Callable[[str], None], handed_over: contextlib.ExitStack
    ) -> int:
        """Open a pipe for the child to write to; our copy of its end closes with `handed_over`."""
        reader, writer = os.pipe()
        handed_over.callback(os.close, writer)
        pipe = _Lines(on_line)
        self._pipes.append(pipe)
        await asyncio.get_running_loop().connect_read_pipe(lambda: pipe, os.fdopen(reader, "rb", 0))
        return writer

    def _environment(
        self, environ: Mapping[str, str], progress: int, lifeline: int
    ) -> dict[str, str]:
        pipes = {PROGRESS_VARIABLE: str(progress), LIFELINE_VARIABLE: str(lifeline)}
        # Lines that sit in a buffer when a child is killed are the ones that say why.
        return {**environ, "PYTHONUNBUFFERED": "1", **self._child.env, **pipes}

    def _on_output(self, line: str) -> None:
        self.tail.append(line)
        self._log.output(self._child.name, line)

    def _on_progress(self, line: str) -> None:
        self.signs += 1
        if line == "ready":
            self.ready.set()

    def _signal_group(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        # The child leads its group, so the group has its id, also when the child itself is gone.
        # macOS answers with a permission error where only a zombie is left.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


class _Lines(asyncio.Protocol):
    """Cuts what comes out of a pipe into lines."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self.ended = asyncio.Event()
        self._on_line = on_line
        self._rest = b""
        self._transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _LONGEST_LINE:
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            self._on_line(line.decode(errors="replace").rstrip("\r"))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._rest:
            self.data_received(b"\n")
        self.ended.set()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
