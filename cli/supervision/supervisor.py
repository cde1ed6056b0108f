"""Runs the processes of `turnstream up` and `turnstream worker` from a table, by these rules:

1. Start in the order of the table, each when the one before it is ready; stop in reverse order.
2. What a child writes appears behind its name; Ctrl-C reaches the supervisor alone.
3. A child that ends is started again, after a pause that doubles. Exit code 78 (the configuration
   is wrong), or five ends without ever having been ready, is the end of all of them.
4. A watched child that was ready and shows no progress for 10 s is killed and started again.
5. No child outlives the supervisor, however that ends (the lifeline).
6. Stopping is SIGTERM, a grace time, SIGKILL, 10 s in all; asked a second time, SIGKILL at once.

    stop = Stop()
    with stop.on_signals():
        code = await supervise(table, environ=os.environ, log=Console(...), stop=stop)
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NoReturn

from cli.supervision.child import Child, ChildRun, Log, Probe
from sessions.process.retry import Pauses

# Into so many parts the time of silence is cut. A part in which the supervisor itself did not run
# (a paused container, a suspended laptop) then counts as one, not as the whole time.
_TICKS: Final = 20


@dataclass(frozen=True)
class RestartLimits:
    """Times and counts of the rules, in seconds; the defaults are the ones that are promised."""

    # A leader that lives without progress for 10 s is replaced: beats come every second.
    silence: float = 10.0
    # The first restart is hardly noticed; a Redis with a full disk is tried 12 times a minute.
    first_pause: float = 0.2
    longest_pause: float = 5.0
    # A child that was ready for so long was well: its next end is a first one again.
    settled: float = 10.0
    # Without one success, more tries only hide the reason: 3 s of pauses, then it is shown.
    hopeless: int = 5
    # Everything ends within 10 s; one of them is for the kernel and the last lines.
    stop_within: float = 9.0
    probe_every: float = 0.05
    # A start takes a second; a user who waits longer wants to know for which program.
    patience: float = 10.0


class StopRequest:
    """The request to end: orderly when asked once, at once when asked again."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.now = asyncio.Event()

    def request(self) -> None:
        """Ask for the end; from the second time on, for an end without grace."""
        (self.now if self.asked.is_set() else self.asked).set()

    @contextlib.contextmanager
    def on_signals(self) -> Generator[None]:
        """Let SIGINT, SIGTERM and SIGHUP ask, in the running loop's thread (the main one).

        Only Ctrl-C asks for the end without grace: a service manager may send others in pairs.
        SIGHUP stays ignored where it was (nohup).
        """
        loop = asyncio.get_running_loop()
        handlers = {signal.SIGINT: self.request, signal.SIGTERM: self.asked.set}
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            handlers[signal.SIGHUP] = self.asked.set
        for number, handler in handlers.items():
            loop.add_signal_handler(number, handler)
        try:
            yield
        finally:
            for number in handlers:
                loop.remove_signal_handler(number)


async def supervise(
    children: Sequence[Child],
    *,
    environ: Mapping[str, str],
    log: Log,
    stop: StopRequest,
    limits: RestartLimits | None = None,
    on_start: Callable[[str, int], None] = lambda name, pid: None,
    on_ready: Callable[[], Awaitable[None]] | None = None,
) -> int:
    """Run the children until `stop` is asked (0) or one of them is beyond help (its exit code).

    `environ` is what the children inherit. `on_start` hears the name and process id of every
    start, restarts included; `on_ready` is awaited once, when all are ready for the first time.
    None of the children runs any more when this returns, raises or is cancelled; what `on_ready`
    or the start of a program raises (OSError) comes out as an ExceptionGroup.
    """
    with _lifeline() as lifeline:
        shared = _Shared(environ, lifeline, log, limits or RestartLimits(), on_start)
        runners = [_ChildRunner(child, shared) for child in children]
        try:
            await _run(runners, stop, on_ready)
        except* _Stopped:
            log.note("stopping")
        finally:
            await _end(runners, stop, shared.limits)
    for failure in [runner.failure for runner in runners if runner.failure]:
        log.note(failure.text)
        return failure.exit_code
    return 0


class _Stopped(Exception):
    """All children are to be stopped, because it was asked for or because one is beyond help."""


@dataclass(frozen=True)
class _Failure:
    """Why a child cannot run, for people and for the shell."""

    text: str
    exit_code: int


@dataclass(frozen=True)
class _Shared:
    """What all runners share."""

    environ: Mapping[str, str]
    lifeline: int
    log: Log
    limits: RestartLimits
    on_start: Callable[[str, int], None]


@contextlib.contextmanager
def _lifeline() -> Generator[int]:
    """The reading end of a pipe whose writing end is open in this process only."""
    reader, writer = os.pipe()
    try:
        yield reader
    finally:
        os.close(reader)
        os.close(writer)


async def _run(
    runners: Sequence[_ChildRunner],
    stop: StopRequest,
    on_ready: Callable[[], Awaitable[None]] | None,
) -> None:
    """Keep all children running; left by an exception only."""
    async with asyncio.TaskGroup() as group:
        group.create_task(_raise_when_asked(stop), name="stop")
        for runner in runners:
            group.create_task(runner.keep_running(), name=runner.child.name)
            await runner.first_ready()
        if on_ready is not None:
            await on_ready()


async def _raise_when_asked(stop: StopRequest) -> None:
    await stop.asked.wait()
    raise _Stopped


async def _end(runners: Sequence[_ChildRunner], stop: StopRequest, limits: RestartLimits) -> None:
    deadline = asyncio.get_running_loop().time() + limits.stop_within
    for runner in reversed(runners):
        await runner.end(stop.now, deadline)


class _ChildRunner:
    """Runs one child and starts it again, until it is beyond help or told to end."""

    def __init__(self, child: Child, shared: _Shared) -> None:
        self.child = child
        self.failure: _Failure | None = None
        self._shared = shared
        self._limits = shared.limits
        self._life: ChildRun | None = None
        self._was_ready = asyncio.Event()
        self._pauses = Pauses(shared.limits.first_pause, shared.limits.longest_pause)

    async def keep_running(self) -> None:
        """Start the child again and again; raises _Stopped. Cancelling leaves the child running."""
        while True:
            life = self._life = ChildRun(self.child, self._shared.log)
            await life.begin(self._shared.environ, self._shared.lifeline)
            self._shared.on_start(self.child.name, life.pid)
            began = _clock()
            code = await self._attend(life)
            await asyncio.sleep(self._judge(life, code, _clock() - began))

    async def first_ready(self) -> None:
        """Wait until the child is ready for the first time, saying so where that takes long."""
        while not self._was_ready.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._limits.patience):
                    await self._was_ready.wait()
                    return
            self._note("is not ready yet")

    async def end(self, now: asyncio.Event, deadline: float) -> None:
        """SIGTERM, grace, SIGKILL; the grace ends early at `deadline` (loop time) or with `now`."""
        if self._life is None:
            return
        over = asyncio.ensure_future(self._life.over())
        hurry = asyncio.ensure_future(now.wait())
        self._life.terminate()
        grace = min(self.child.grace, max(0.0, deadline - _clock()))
        await asyncio.wait({over, hurry}, timeout=grace, return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        if not over.done():
            self._note("did not end in time: killing it")
            self._life.kill()
        await over

    async def _attend(self, life: ChildRun) -> int:
        """See one life through; gives its exit code."""
        async with asyncio.TaskGroup() as group:
            watch = group.create_task(self._watch(life), name=f"watch {self.child.name}")
            code = await life.over()
            watch.cancel()
        return code

    async def _watch(self, life: ChildRun) -> None:
        began = _clock()
        await self._until_ready(life)
        self._was_ready.set()
        self._note(f"is ready after {_clock() - began:.1f} s")
        if self.child.watched:
            await self._until_silent(life)
            self._note(f"made no progress for {self._limits.silence:g} s: killing it")
            life.kill()

    async def _until_ready(self, life: ChildRun) -> None:
        probe = self.child.probe
        while probe is not None and not life.ready.is_set():
            await asyncio.sleep(self._limits.probe_every)
            if await _answer(probe, life.pid):
                life.ready.set()
        await life.ready.wait()

    async def _until_silent(self, life: ChildRun) -> None:
        silent = 0
        while silent < _TICKS:
            seen = life.signs
            await asyncio.sleep(self._limits.silence / _TICKS)
            silent = silent + 1 if life.signs == seen else 0

    def _judge(self, life: ChildRun, code: int, lived: float) -> float:
        """The pause before the next start, in seconds; raises _Stopped where that has no sense."""
        limits = self._limits
        if life.ready.is_set() and lived >= limits.settled:
            self._pauses.reset()
        pause = self._pauses.after()
        if code == os.EX_CONFIG:
            self._give_up(life, code, "cannot run with this configuration")
        if self._pauses.failures >= limits.hopeless and not self._was_ready.is_set():
            self._give_up(
                life, code, f"{_ending(code)}, {self._pauses.failures} times without getting ready"
            )
        self._note(f"{_ending(code)}: starting it again in {pause:g} s")
        return pause

    def _give_up(self, life: ChildRun, code: int, why: str) -> NoReturn:
        tail = "\n".join(f"  {line}" for line in life.tail) or "  (it wrote nothing)"
        text = f"{self.child.name} {why}; everything was stopped. Its last lines:\n{tail}"
        self.failure = _Failure(text, _shell_code(code))
        raise _Stopped

    def _note(self, text: str) -> None:
        self._shared.log.note(f"{self.child.name} {text}")


async def _answer(probe: Probe, pid: int) -> bool:
    """What the probe says. Python 3.11 can lose a cancellation in wait_for, where redis-py waits
    for every command, and a probe that is asked again and again would never end: it is made up for.
    """
    answer = await probe(pid)
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
    return answer


def _clock() -> float:
    return asyncio.get_running_loop().time()


def _ending(code: int) -> str:
    return f"ended with exit code {code}" if code >= 0 else f"was ended by signal {-code}"


def _shell_code(code: int) -> int:
    """The exit code that a shell would give, and 1 for a child that ended well when it must not."""
    return 128 - code if code < 0 else code or 1
