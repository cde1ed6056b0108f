"""What a service inherits from the supervisor that started it: two pipes, named in its environment.

The lifeline is a pipe that nobody ever writes to. Its writing end is open in the supervisor alone,
so that reading from it returns when the supervisor ends, however it ends: SIGKILL included.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

LIFELINE_VARIABLE: Final = "TURNSTREAM_LIFELINE_FD"

# Seconds for an orderly end once the supervisor is gone: as long as it would itself have waited.
ORPHAN_GRACE: Final = 9.0


def inherited_pipe(environ: Mapping[str, str], variable: str) -> int | None:
    """The descriptor of the pipe that `variable` names, or None where there is none.

    A variable that outlived its descriptor (a shell started by a service) counts as none: what
    has that number by now is somebody else's file. Subprocesses do not inherit the pipe.
    """
    try:
        fd = int(environ.get(variable, ""))
        if not stat.S_ISFIFO(os.fstat(fd).st_mode):
            return None
    except (ValueError, OverflowError, OSError):
        return None
    os.set_inheritable(fd, False)
    return fd


def watch_parent(
    fd: int | None, on_gone: Callable[[], object], *, grace: float = ORPHAN_GRACE
) -> None:
    """Call `on_gone` once, in the running event loop, when the supervisor is gone.

    `fd` is `inherited_pipe(environ, LIFELINE_VARIABLE)`; with None nothing is watched. `on_gone`
    asks for the same orderly end as SIGTERM does. A process that still runs `grace` seconds later
    is ended on the spot with exit code 70: its event loop may be stuck, so a thread does it.
    """
    if fd is None:
        return
    loop = asyncio.get_running_loop()
    thread = threading.Thread(
        target=_outlive, args=(fd, loop, on_gone, grace), name="lifeline", daemon=True
    )
    thread.start()


def _outlive(
    fd: int, loop: asyncio.AbstractEventLoop, on_gone: Callable[[], object], grace: float
) -> None:
    os.read(fd, 1)
    # A closed loop means that the process is on its way out already.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(on_gone)
    time.sleep(grace)
    os._exit(os.EX_SOFTWARE)
