"""A program as a process of its own, and what it said."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

from harness.waiting import PATIENCE, wait_until, wait_until_sync

_LISTENS: Final = re.compile(r'listening on (http://[^\s"]+)')
# Set by coverage in the processes that it measures; see [tool.coverage.run] in pyproject.toml.
_MEASURED: Final = "COVERAGE_PROCESS_CONFIG"
# Seconds that a measured process has for its end, which takes about one.
_GRACE: Final = 5.0


class RunningProcess(Protocol):
    """What a program needs of its process; `subprocess` has it."""

    @property
    def pid(self) -> int:
        """Its process id."""
        ...

    def poll(self) -> int | None:
        """Its exit code, None while it runs."""
        ...

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; the exit code. Raises subprocess.TimeoutExpired."""
        ...

    def kill(self) -> None:
        """Kill it; nothing happens to one that has ended."""
        ...

    def send_signal(self, sig: int, /) -> None:
        """Send a signal; nothing happens to one that is known to have ended."""
        ...


class Program:
    """A running process. What it prints is kept; it is killed with its block at the latest.

    It has no input, and a session of its own, so that a Ctrl-C at the terminal is not for it.
    Waiting comes in two forms, for callers with and without an event loop.
    """

    def __init__(self, argv: Sequence[str], environ: Mapping[str, str]) -> None:
        self._is_measured = _MEASURED in environ
        # A pipe: a limit on the size of files, which stands for a full disk, does not touch it.
        output, written = os.pipe()
        try:
            self._process = self._start(argv, environ, written)
        except BaseException:
            os.close(output)
            raise
        finally:
            os.close(written)
        self._said: list[bytes] = []
        self._reading = threading.Thread(target=self._read, args=(output,), daemon=True)
        self._reading.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def code(self) -> int | None:
        """Its exit code, None while it runs."""
        return self._process.poll()

    @property
    def runs(self) -> bool:
        """Whether it has not ended yet."""
        return self.code is None

    @property
    def log(self) -> str:
        """Everything that it and its children have printed so far."""
        return b"".join(self._said).decode(errors="replace")

    # -- waiting -----------------------------------------------------------------------------

    async def says(self, text: str, *, within: float = PATIENCE) -> None:
        """Wait until the text is in its log; fails if it ends without."""
        await wait_until(lambda: self._has_said(text), f"it says {text!r}", within=within)

    def says_sync(self, text: str, *, within: float = PATIENCE) -> None:
        """The same without an event loop."""
        wait_until_sync(lambda: self._has_said(text), f"it says {text!r}", within=within)

    async def address(self) -> str:
        """The URL that it serves, as soon as it does."""
        await self.says("listening on http://")
        return self._address()

    def address_sync(self) -> str:
        """The same without an event loop."""
        self.says_sync("listening on http://")
        return self._address()

    async def ended(self, *, within: float = PATIENCE) -> int:
        """Wait for the end; the exit code."""
        await wait_until(lambda: not self.runs, f"process {self.pid} ends", within=within)
        return self.close()

    def ended_sync(self, *, within: float = PATIENCE) -> int:
        """The same without an event loop."""
        wait_until_sync(lambda: not self.runs, f"process {self.pid} ends", within=within)
        return self.close()

    # -- ending ------------------------------------------------------------------------------

    async def stop(self, how: signal.Signals = signal.SIGTERM, *, within: float = PATIENCE) -> int:
        """Send the signal and wait for the end; the exit code, also of one that had ended."""
        self.send(how)
        return await self.ended(within=within)

    def stop_sync(self, how: signal.Signals = signal.SIGTERM, *, within: float = PATIENCE) -> int:
        """The same without an event loop."""
        self.send(how)
        return self.ended_sync(within=within)

    def close(self) -> int:
        """Kill it if it still runs; the exit code. Nothing happens the second time.

        Fails if something else keeps its output open.

        While coverage is measured it is asked to end first: a killed process says nothing of what
        it ran.
        """
        if self._is_measured:
            self.send(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_GRACE)
        self._process.kill()
        code = self._process.wait()
        # Children of its own may print a little longer than it lives.
        self._reading.join(PATIENCE)
        assert not self._reading.is_alive(), f"{self.pid} has ended, and its output is still open"
        return code

    # -- treating it badly -------------------------------------------------------------------

    def send(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens to a process that has ended."""
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    def freeze(self) -> None:
        """Stop it in the middle of whatever it does."""
        self.send(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self.send(signal.SIGCONT)

    def limit_file_size(self, size: int) -> None:
        """Let no file of it grow beyond `size` bytes: to the process a full disk."""
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    # -- its memory --------------------------------------------------------------------------

    def peak_mb(self) -> float:
        """Its highest resident size, from the kernel; 0 without a /proc."""
        return memory_mb(self.pid, "VmHWM")

    def resident_mb(self) -> float:
        """Its resident size now."""
        return memory_mb(self.pid, "VmRSS")

    def _start(
        self, argv: Sequence[str], environ: Mapping[str, str], output: int
    ) -> RunningProcess:
        """Begin a process that prints into `output`."""
        return subprocess.Popen(
            argv,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )

    def _read(self, output: int) -> None:
        with open(output, "rb", buffering=0) as pipe:
            # Pieces as they come, of lines or not.
            while piece := pipe.read(65536):
                self._said.append(piece)

    def _has_said(self, text: str) -> bool:
        # Looked at first: what it said before it ended is in the log by then.
        ended = not self.runs and not self._reading.is_alive()
        said = text in self.log
        assert said or not ended, f"ended with {self.code} without {text!r}:\n{self.log}"
        return said

    def _address(self) -> str:
        found = _LISTENS.search(self.log)
        assert found is not None, self.log
        return found[1]


def memory_mb(process_id: int, name: str) -> float:
    """A figure of a process's memory by the kernel's name for it; 0 without such a process."""
    with suppress(OSError):
        for line in Path(f"/proc/{process_id}/status").read_text(encoding="ascii").splitlines():
            if line.startswith(name):
                return int(line.split()[1]) / 1024
    return 0.0
