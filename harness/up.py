"""`turnstream up`, and any other command that runs until it is stopped."""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

from harness.program import Program
from harness.services import environment, module_argv

# Seconds for a start that should take two, on a busy machine.
PATIENCE: Final = 45.0
_READY: Final = re.compile(r'ready on (http://[^\s"]+)')


class CommandProgram(Program):
    """A command on a workspace that runs until it is stopped."""

    def __init__(self, workspace: Path, environ: Mapping[str, str], *arguments: str) -> None:
        self.workspace = workspace
        super().__init__(module_argv("cli", *arguments, "--workspace", str(workspace)), environ)


class Up(CommandProgram):
    """A `turnstream up` on any free port."""

    def __init__(self, workspace: Path, environ: Mapping[str, str], *arguments: str) -> None:
        super().__init__(workspace, environ, "up", "--port", "0", *arguments)
        self.ready_after = float("inf")

    @classmethod
    @contextmanager
    def running(cls, workspace: Path, *arguments: str, **variables: str) -> Generator[Self]:
        """One that is ready within the block, and stopped in order behind it."""
        with runtime_directory() as runtime:
            environ = environment(XDG_RUNTIME_DIR=runtime, **variables)
            with cls(workspace, environ, *arguments) as up:
                up.get_ready()
                yield up
                up.stop_sync(within=PATIENCE)

    def get_ready(self) -> None:
        """Wait until it says so; fails with what it printed if it ends instead."""
        began = time.monotonic()
        self.says_sync("ready on http://", within=PATIENCE)
        self.ready_after = time.monotonic() - began

    @property
    def url(self) -> str | None:
        """The URL of its last line, None before that."""
        found = _READY.search(self.log)
        return found[1] if found else None


@contextmanager
def runtime_directory() -> Generator[str]:
    """A short directory for a socket, removed with whatever is in it."""
    path = tempfile.mkdtemp(prefix="ts-")
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
