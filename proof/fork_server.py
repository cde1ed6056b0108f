"""`python -m proof.fork_server FD`: the small parent of all processes of a run.

It imports what they need once and forks them, so that a killed worker is back in 20 ms instead of
half a second: a run of minutes then holds a thousand faults. A child that ends is started again at
once; one that was ready and shows no progress for 10 s is killed, as the supervisor does it.

Over the socket FD it takes requests and tells what happened, one JSON object a line:

    {"keep": NAME, "role": ROLE, "env": {...}, "argv": [...], "log": PATH}     {"end": NAME}
    {"began": NAME, "pid": PID}     {"ended": NAME, "pid": PID, "code": CODE, "silent": BOOL}

When the other side closes the socket, all children are killed.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from proof.roles import ROLES
from sessions.process.lifeline import LIFELINE_VARIABLE
from sessions.process.progress import PROGRESS_VARIABLE

# Seconds without progress after which the supervisor kills a service that was ready.
SILENCE: Final = 10.0
# Seconds between two looks at the silent ones.
_LOOK: Final = 0.5
# A child that ends by itself so early is not started again at once: its error would fill the disk.
_HASTY: Final = 0.2
_PR_SET_PDEATHSIG: Final = 1


@dataclass
class _Child:
    name: str
    request: dict[str, Any]
    pid: int = 0
    progress: int = -1
    began: float = 0.0
    sign: float = 0.0
    ready: bool = False
    silent: bool = False
    ending: bool = False


@dataclass
class ForkServer:
    """The parent's loop. Single-threaded: it forks."""

    control: socket.socket
    children: dict[str, _Child] = field(default_factory=dict[str, _Child])

    def run(self) -> None:
        """Do as asked until the other side is gone."""
        self._selector = selectors.DefaultSelector()
        self._rest = b""
        self._lifeline, self._life = os.pipe()
        deaths, wake = socket.socketpair()
        for end in (deaths, wake):
            end.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        # A publisher may be called before it can hear.
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        self._selector.register(self.control, selectors.EVENT_READ, self._obey)
        self._selector.register(deaths, selectors.EVENT_READ, lambda: self._reap(deaths))
        try:
            while True:
                for key, _ in self._selector.select(_LOOK):
                    key.data()
                self._kill_the_silent()
        except EOFError:
            signal.set_wakeup_fd(-1)
            self._kill_all()

    # -- requests ----------------------------------------------------------------------------

    def _obey(self) -> None:
        data = self.control.recv(1 << 16)
        if not data:
            raise EOFError
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            request = json.loads(line)
            if "keep" in request:
                child = _Child(request["keep"], request)
                self.children[child.name] = child
                self._start(child)
            else:
                self._end(self.children[request["end"]])

    def _end(self, child: _Child) -> None:
        child.ending = True
        if child.pid:
            os.kill(child.pid, signal.SIGTERM)

    def _tell(self, **facts: object) -> None:
        try:
            self.control.sendall(json.dumps(facts).encode() + b"\n")
        except BrokenPipeError:
            raise EOFError from None

    # -- children ----------------------------------------------------------------------------

    def _start(self, child: _Child) -> None:
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            self._become(child.request, writer)
        os.close(writer)
        os.set_blocking(reader, False)
        child.pid, child.progress, child.ready, child.silent = pid, reader, False, False
        child.began = child.sign = time.monotonic()
        self._selector.register(reader, selectors.EVENT_READ, lambda: self._listen(child, reader))
        self._tell(began=child.name, pid=pid)

    def _listen(self, child: _Child, reader: int) -> None:
        try:
            said = os.read(reader, 4096)
        except OSError:
            return  # it ended, and its pipe was closed, in the same round
        child.ready = child.ready or b"ready" in said
        child.sign = time.monotonic()
        if not said and child.progress == reader:
            self._forget_pipe(child)

    def _forget_pipe(self, child: _Child) -> None:
        if child.progress >= 0:
            self._selector.unregister(child.progress)
            os.close(child.progress)
            child.progress = -1

    def _reap(self, deaths: socket.socket) -> None:
        deaths.recv(4096)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for child in self.children.values():
                if child.pid == pid:
                    self._bury(child, os.waitstatus_to_exitcode(status))

    def _bury(self, child: _Child, code: int) -> None:
        self._forget_pipe(child)
        self._tell(ended=child.name, pid=child.pid, code=code, silent=child.silent)
        child.pid = 0
        if child.ending:
            return
        if code >= 0 and time.monotonic() - child.began < _HASTY:
            time.sleep(_HASTY)
        self._start(child)

    def _kill_the_silent(self) -> None:
        now = time.monotonic()
        for child in self.children.values():
            if child.pid and child.ready and now - child.sign > SILENCE:
                child.silent = True
                os.kill(child.pid, signal.SIGKILL)

    def _kill_all(self) -> None:
        for child in self.children.values():
            if child.pid:
                os.kill(child.pid, signal.SIGKILL)

    def _become(self, request: dict[str, Any], progress: int) -> NoReturn:
        """In the forked process: shed what is the parent's, then be what was asked for."""
        code = os.EX_SOFTWARE
        try:
            _die_with_parent()
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            _redirect_output(request["log"])
            os.environ.update(request["env"])
            os.environ[PROGRESS_VARIABLE] = str(progress)
            os.environ[LIFELINE_VARIABLE] = str(self._lifeline)
            self._shed(keep={0, 1, 2, progress, self._lifeline})
            sys.argv = [request["role"], *request["argv"]]
            code = ROLES[request["role"]]()
        except SystemExit as exit_:
            code = exit_.code if isinstance(exit_.code, int) else os.EX_SOFTWARE
        except BaseException:  # noqa: BLE001 - a forked process must not return to the parent's loop
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)

    def _shed(self, keep: set[int]) -> None:
        for name in os.listdir("/dev/fd"):
            if int(name) not in keep:
                try:
                    os.close(int(name))
                except OSError:
                    continue  # the one that listed the directory


def _die_with_parent() -> None:
    """A fork server that is killed leaves nobody behind (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _redirect_output(path: str) -> None:
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    for number, target in enumerate((null, log, log)):
        os.dup2(target, number)


if __name__ == "__main__":
    gc.freeze()
    ForkServer(socket.socket(fileno=int(sys.argv[1]))).run()
