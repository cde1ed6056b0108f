"""A supervisor in the test's own event loop, with everything that it said and started."""

from __future__ import annotations

import asyncio
import fcntl
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from cli.supervision.child import Child
from cli.supervision.supervisor import RestartLimits, StopRequest, supervise

ROOT: Final = Path(__file__).parents[2]

# Short enough that a test waits for nothing, long enough for a busy machine.
QUICK: Final = RestartLimits(silence=1.0, first_pause=0.01, longest_pause=0.05, probe_every=0.01)

# Says that it is ready, as a service in any language could.
READY: Final = "import os; os.write(int(os.environ['TURNSTREAM_PROGRESS_FD']), b'ready\\n')\n"

# A service that works until it is ended; its second line shows that it came to an end in order.
STEADY: Final = f"""
import signal, sys, time

def leave(number, frame):
    print("leaving", flush=True)
    sys.exit(0)

signal.signal(signal.SIGTERM, leave)
print("working", flush=True)
{READY}
while True:
    os.write(int(os.environ["TURNSTREAM_PROGRESS_FD"]), b"beat\\n")
    time.sleep(0.02)
"""
# The same, deaf to SIGTERM.
STUBBORN: Final = STEADY.replace("signal.SIGTERM, leave", "signal.SIGTERM, signal.SIG_IGN")

# A service that ends with its supervisor; it holds the lock on a file as long as it runs.
MORTAL: Final = """
import asyncio, fcntl, os, sys
from sessions.process.lifeline import LIFELINE_VARIABLE, inherited_pipe, watch_parent
from sessions.process.progress import ProgressReporter

async def main():
    life = open(sys.argv[1], "w")
    fcntl.flock(life, fcntl.LOCK_EX)
    gone = asyncio.Event()
    watch_parent(inherited_pipe(os.environ, LIFELINE_VARIABLE), gone.set, grace=0.3)
    ProgressReporter.inherited(os.environ).ready()
    await gone.wait()

asyncio.run(main())
"""


def python(name: str, script: str, *arguments: str, **options: object) -> Child:
    """A child that runs a piece of Python."""
    # `options` are fields of Child, which a type of keywords cannot say.
    fields: Any = options
    return replace(Child(name, (sys.executable, "-c", script, *arguments)), **fields)


def environment() -> dict[str, str]:
    """The test's own, in which children find the packages, installed or not."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def is_held(lock: Path) -> bool:
    """Whether a living process holds the lock on the file."""
    with lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@dataclass
class Supervision:
    """A running supervisor; `story` is all that happened, in order."""

    task: asyncio.Task[int]
    stop: StopRequest
    story: list[str]
    starts: list[tuple[str, int]]

    def pids(self, name: str) -> list[int]:
        """The process ids that the child had so far."""
        return [pid for started, pid in self.starts if started == name]

    def told(self, text: str) -> int:
        """How often the text occurs in the story."""
        return sum(text in line for line in self.story)

    async def ended(self) -> int:
        """The exit code, when the supervisor has ended by itself."""
        await asyncio.wait({self.task}, timeout=15)
        assert self.task.done(), self.story
        return self.task.result()


class _Story(list[str]):
    """A log that keeps the lines."""

    def output(self, name: str, line: str) -> None:
        self.append(f"{name} | {line}")

    def note(self, text: str) -> None:
        self.append(text)


@asynccontextmanager
async def supervised(
    *children: Child, limits: RestartLimits = QUICK
) -> AsyncGenerator[Supervision]:
    """Supervise the children within the block, and stop them in order at its end."""
    story, stop, starts = _Story(), StopRequest(), list[tuple[str, int]]()

    def on_start(name: str, pid: int) -> None:
        starts.append((name, pid))
        story.append(f"{name} started")

    async def on_ready() -> None:
        story.append("all ready")

    task = asyncio.create_task(
        supervise(
            children,
            environ=environment(),
            log=story,
            stop=stop,
            limits=limits,
            on_start=on_start,
            on_ready=on_ready,
        )
    )
    try:
        yield Supervision(task, stop, story, starts)
    finally:
        stop.asked.set()
        await asyncio.wait({task})
