"""Runs a program that ends with the supervisor.

`python -m cli.supervision.lifeline FD PROGRAM [ARG ...]`

For programs that cannot watch the lifeline (descriptor FD) themselves. The program takes over this
process, its id and exit code included; a small guard is left behind as its child, waits for the
end of either side, and when it is the supervisor's sends SIGTERM, later SIGKILL.

It imports nothing of ours: what is loaded here stays in memory as long as the program runs.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from collections.abc import Sequence
from typing import Final

# Seconds from SIGTERM to SIGKILL. Redis needs a tenth of one; it has fsynced every answer anyway.
GRACE: Final = 2.0


def main(arguments: Sequence[str]) -> str:
    """Become the program; returns only to say why that was not possible."""
    if len(arguments) < 2 or not arguments[0].isdecimal():
        return "usage: python -m cli.supervision.lifeline FD PROGRAM [ARG ...]"
    _leave_guard(int(arguments[0]))
    program = list(arguments[1:])
    try:
        os.execvp(program[0], program)
    except OSError as error:
        return f"cannot run {program[0]}: {error.strerror}"


def _leave_guard(lifeline: int) -> None:
    """Fork the guard; it reads a pipe whose other end stays open in the program while that runs."""
    program = os.getpid()
    os.set_inheritable(lifeline, False)
    ended, running = os.pipe()
    if os.fork():
        os.close(ended)
        os.set_inheritable(running, True)
        return
    try:
        _shed_descriptors(keep={lifeline, ended})
        _guard(program, lifeline, ended)
    finally:
        os._exit(0)


def _shed_descriptors(keep: set[int]) -> None:
    """Close what belongs to the program: the guard must not hold its output or its locks open."""
    null = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(null, standard)
    for fd in {int(name) for name in os.listdir("/dev/fd")} - keep - {0, 1, 2}:
        # The descriptor that listed the directory is in the list and closed by now.
        with contextlib.suppress(OSError):
            os.close(fd)


def _guard(program: int, lifeline: int, ended: int) -> None:
    readable, _, _ = select.select([lifeline, ended], [], [])
    for deadly in (signal.SIGTERM, signal.SIGKILL):
        # The parent changes the moment that the program ends: its id is not used after that.
        if ended in readable or os.getppid() != program:
            return
        os.kill(program, deadly)
        readable, _, _ = select.select([ended], [], [], GRACE)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
