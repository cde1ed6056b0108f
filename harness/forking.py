"""Services from a process that has imported them: 20 ms and no processor instead of a second of it.

That process is Python's own fork server. It starts with the first service and ends with this
process. A service runs as by `python -m`: with its own variables, arguments, output and session.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import DupFd
from typing import Any, Final, Protocol

from harness.program import Program, RunningProcess

# What takes long to import. What `python -m` runs is not among it: that is run in the new process.
_IMPORTED: Final = ["worker.app", "api.app", "ingest.app", "sessions.web.serving"]


class ForkedProgram(Program):
    """A service as a process of its own. `argv` is its module and its arguments.

    Its resident memory counts what the fork server has imported for other services. While coverage
    is measured it is a program like any other: only Python's start begins to measure.
    """

    def _start(
        self, argv: Sequence[str], environ: Mapping[str, str], output: int
    ) -> RunningProcess:
        if self._is_measured:
            return super()._start((sys.executable, "-m", *argv), environ, output)
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_IMPORTED)
        process = context.Process(
            target=_be, args=(argv, dict(environ), _Sent(output)), daemon=True
        )
        process.start()
        return _Forked(process)


class _Descriptor(Protocol):
    def detach(self) -> int: ...


class _Sent:
    """A descriptor that goes to the new process with the request to start it.

    `DupFd` sends it so only while the request is written. Before that it keeps a copy here until
    the process asks for it, and one that is killed at once never asks: its output would not end.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __reduce__(self) -> tuple[Any, ...]:
        return _same, (DupFd(self._descriptor),)


def _same(descriptor: _Descriptor) -> _Descriptor:
    return descriptor


def _be(argv: Sequence[str], environ: Mapping[str, str], output: _Descriptor) -> None:
    """In the new process: what `python -m` would run."""
    os.setsid()
    null, written = os.open(os.devnull, os.O_RDONLY), output.detach()
    for number, target in enumerate((null, written, written)):
        os.dup2(target, number)
    os.close(null)
    os.close(written)
    # Those of the fork server know of its own files only.
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - as long as the process lives
    sys.stderr = open(  # noqa: SIM115 - likewise
        2, "w", buffering=1, errors="backslashreplace", closefd=False
    )
    os.environ.clear()
    os.environ.update(environ)
    sys.argv = [*argv]
    runpy.run_module(argv[0], run_name="__main__", alter_sys=True)


class _Forked:
    """The process as `subprocess` would show it."""

    def __init__(self, process: BaseProcess) -> None:
        self._process = process
        assert process.pid is not None
        self.pid = process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout or 0)
        return code

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def send_signal(self, number: int, /) -> None:
        # The fork server may have taken note of its end by now.
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)
