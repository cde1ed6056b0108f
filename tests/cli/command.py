"""The command as people run it; what runs until it is stopped has a process of its own."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from cli.__main__ import main
from tests.helpers import wait_until_sync

ROOT: Final = Path(__file__).parents[2]
_ARGV: Final = (sys.executable, "-m", "cli")
# Seconds for a command that should take one, on a busy machine.
PATIENCE: Final = 45.0


def environment(**variables: str) -> dict[str, str]:
    """The test's own, without what would point to a system outside of the test."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("TURNSTREAM_") and name not in ("REDIS_URL", "XDG_RUNTIME_DIR")
    }
    return {**kept, "PYTHONPATH": str(ROOT), "HOME": "/nonexistent", **variables}


@dataclass(frozen=True)
class Result:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """The printed JSON of a command that succeeded."""
        assert self.code == 0, self.err
        return json.loads(self.out)


def turnstream(
    *arguments: object, workspace: Path, environ: dict[str, str] | None = None
) -> Result:
    """Run `turnstream` on a workspace, in this process, which saves a second of imports."""
    out, err = io.StringIO(), io.StringIO()
    argv = [*map(str, arguments), "--workspace", str(workspace)]
    with redirect_stdout(out), redirect_stderr(err):
        code = main(argv, environ or environment())
    return Result(code, out.getvalue(), err.getvalue())


def process(*arguments: object, workspace: Path, environ: dict[str, str] | None = None) -> Result:
    """The same in a process of its own; it has no terminal and no input."""
    done = subprocess.run(
        [*_ARGV, *map(str, arguments), "--workspace", str(workspace)],
        env=environ or environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)


class Service:
    """A command that runs until it is stopped."""

    def __init__(self, workspace: Path, environ: dict[str, str], *arguments: str) -> None:
        self.workspace = workspace
        self._log = workspace.parent / f"{uuid.uuid4().hex}.log"
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [*_ARGV, *arguments, "--workspace", str(workspace)],
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        """What it and its children have printed so far."""
        return self._log.read_text()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end, and give its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(PATIENCE)
        finally:
            self.process.kill()


class Up(Service):
    """A `turnstream up` on any free port."""

    def __init__(self, workspace: Path, environ: dict[str, str], *arguments: str) -> None:
        super().__init__(workspace, environ, "up", "--port", "0", *arguments)
        self.ready_after = float("inf")

    @classmethod
    @contextmanager
    def running(cls, workspace: Path, *arguments: str, **variables: str) -> Generator[Self]:
        """One that is ready within the block, and stopped in order behind it."""
        with runtime_directory() as runtime:
            environ = environment(XDG_RUNTIME_DIR=runtime, **variables)
            up = cls(workspace, environ, *arguments)
            try:
                up.get_ready()
                yield up
            finally:
                up.stop()

    def get_ready(self) -> None:
        """Wait until it says so; fails with what it printed where it ends instead."""
        began = time.monotonic()
        wait_until_sync(lambda: self.is_ready or self.process.poll() is not None, within=PATIENCE)
        assert self.is_ready, self.output
        self.ready_after = time.monotonic() - began

    @property
    def is_ready(self) -> bool:
        """Whether it has said that all is ready."""
        return self.url is not None

    @property
    def url(self) -> str | None:
        """The URL of its last line, None before that."""
        found = re.search(r"ready on (http://\S+)", self.output)
        return found[1] if found else None

    def run(self, *arguments: object) -> Result:
        """Run another command on its workspace."""
        return turnstream(*arguments, workspace=self.workspace)

    def worker(self) -> int:
        """The process id of the worker that leads."""
        return int(self.run("status", "--json").json()["store"]["leader"].rpartition(":")[2])


@contextmanager
def runtime_directory() -> Generator[str]:
    """A short directory for a socket, removed with whatever is in it."""
    path = tempfile.mkdtemp(prefix="ts-")
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def write_turns(path: Path, sessions: int, turns: int) -> Path:
    """A file of that many sessions with so many turns each, one session after the other."""
    with path.open("w", encoding="utf-8") as file:
        for session in range(sessions):
            for number in range(turns):
                role = "assistant" if number % 2 else "user"
                turn = {"session": f"s{session}", "role": role, "content": f"turn {number} ☕"}
                print(json.dumps(turn), file=file)
    return path
