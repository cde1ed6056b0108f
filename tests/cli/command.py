"""The command as people run it; what runs until it is stopped has a process of its own."""

from __future__ import annotations

import io
import json
import subprocess
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.__main__ import main
from harness import up
from harness.services import environment, module_argv
from harness.up import PATIENCE


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
        [*module_argv("cli"), *map(str, arguments), "--workspace", str(workspace)],
        env=environ or environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)


class UpWithCommands(up.Up):
    """A `turnstream up` with the commands that are run on its workspace."""

    def run(self, *arguments: object) -> Result:
        """Run another command on its workspace."""
        return turnstream(*arguments, workspace=self.workspace)

    def worker(self) -> int:
        """The process id of the worker that leads."""
        return int(self.run("status", "--json").json()["store"]["leader"].rpartition(":")[2])


def write_turns(path: Path, sessions: int, turns: int) -> Path:
    """A file of that many sessions with so many turns each, one session after the other."""
    with path.open("w", encoding="utf-8") as file:
        for session in range(sessions):
            for number in range(turns):
                role = "assistant" if number % 2 else "user"
                turn = {"session": f"s{session}", "role": role, "content": f"turn {number} ☕"}
                print(json.dumps(turn), file=file)
    return path
