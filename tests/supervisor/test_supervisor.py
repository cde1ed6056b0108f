"""The rules by which `turnstream up` keeps its processes running."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from cli.supervision.child import Child
from cli.supervision.console import Console
from cli.supervision.supervisor import StopRequest, supervise
from harness.waiting import wait_until, wait_until_sync
from tests.supervisor.harness import (
    MORTAL,
    QUICK,
    READY,
    STEADY,
    STUBBORN,
    Supervision,
    environment,
    is_held,
    python,
    supervised,
)


async def all_ready(run: Supervision, times: int = 1) -> None:
    await wait_until(lambda: run.told("all ready") and run.told("is ready after") >= times)


async def test_children_start_in_order_each_when_the_former_is_ready() -> None:
    """The second child starts behind the readiness of the first."""
    async with supervised(python("first", STEADY), python("second", STEADY)) as run:
        await all_ready(run)
        ready = next(i for i, line in enumerate(run.story) if line.startswith("first is ready"))
        assert run.story.index("first started") < ready < run.story.index("second started")


async def test_children_stop_in_reverse_order_and_each_is_gone_before_the_next() -> None:
    """SIGTERM goes to the last child first; an orderly stop is exit code 0."""
    async with supervised(python("first", STEADY), python("second", STEADY)) as run:
        await all_ready(run)
        run.stop.request()
        assert await run.ended() == 0
        assert [line for line in run.story if "leaving" in line] == [
            "second | leaving",
            "first | leaving",
        ]


async def test_a_killed_child_is_started_again() -> None:
    """SIGKILL from outside costs one restart."""
    async with supervised(python("worker", STEADY)) as run:
        await all_ready(run)
        os.kill(run.pids("worker")[0], signal.SIGKILL)
        await all_ready(run, times=2)
        assert len(run.pids("worker")) == 2
        assert run.told("worker was ended by signal 9: starting it again in 0.01 s") == 1


async def test_an_end_with_code_0_is_an_end_too() -> None:
    """A service that just leaves is started again."""
    async with supervised(python("worker", READY)) as run:
        await wait_until(lambda: len(run.pids("worker")) > 2)


async def test_pauses_between_restarts_double_up_to_a_limit() -> None:
    """A child that once was ready is tried for ever, ever more slowly."""
    dying = python("worker", READY + "os._exit(3)")
    async with supervised(dying, limits=replace(QUICK, hopeless=2)) as run:
        await wait_until(lambda: run.told("starting it again in 0.05 s") >= 2)
        pauses = [line.split()[-2] for line in run.story if "starting it again" in line]
        assert pauses[:5] == ["0.01", "0.02", "0.04", "0.05", "0.05"]


async def test_a_child_that_was_ready_for_a_while_begins_with_the_first_pause_again() -> None:
    """What happened before a long good time is forgotten."""
    async with supervised(python("worker", STEADY), limits=replace(QUICK, settled=0.0)) as run:
        for times in range(1, 4):
            await all_ready(run, times)
            os.kill(run.pids("worker")[-1], signal.SIGKILL)
        await all_ready(run, times=4)
        assert run.told("starting it again in 0.01 s") == 3


async def test_a_wrong_configuration_stops_everything_at_once() -> None:
    """Exit code 78 is not tried again; its text is what the user reads last."""
    refuse = "import sys; print('no such backend: redis'); sys.exit(78)"
    async with supervised(python("first", STEADY), python("worker", refuse)) as run:
        assert await run.ended() == 78
        assert len(run.pids("worker")) == 1
        assert run.told("first | leaving") == 1
        assert "worker cannot run with this configuration" in run.story[-1]
        assert run.story[-1].endswith("  no such backend: redis")


async def test_a_child_that_never_gets_ready_stops_everything_after_five_tries() -> None:
    """The exit code is the child's own."""
    async with supervised(python("first", STEADY), python("worker", "raise SystemExit(3)")) as run:
        assert await run.ended() == 3
        assert len(run.pids("worker")) == 5
        assert "worker ended with exit code 3, 5 times without getting ready" in run.story[-1]


@pytest.mark.parametrize(("script", "code"), [("import os; os.kill(os.getpid(), 6)", 134), ("", 1)])
async def test_the_exit_code_of_a_failure_is_what_a_shell_would_give(
    script: str, code: int
) -> None:
    """A signal counts from 128, and success that must not be is 1."""
    async with supervised(python("worker", script), limits=replace(QUICK, hopeless=1)) as run:
        assert await run.ended() == code


async def test_a_frozen_child_is_killed_and_started_again() -> None:
    """A watched child that stands still longer than allowed is replaced."""
    async with supervised(python("worker", STEADY, watched=True)) as run:
        await all_ready(run)
        os.kill(run.pids("worker")[0], signal.SIGSTOP)
        await all_ready(run, times=2)
        assert run.told("worker made no progress for 1 s: killing it") == 1


async def test_a_child_that_beats_is_left_alone() -> None:
    """Progress keeps a watched child alive, far beyond the time of silence."""
    script = STEADY.replace("time.sleep", "print('beat', flush=True); time.sleep")
    limits = replace(QUICK, silence=0.5)
    async with supervised(python("worker", script, watched=True), limits=limits) as run:
        await wait_until(lambda: run.told("worker | beat") > 75)
        assert len(run.pids("worker")) == 1


async def test_a_child_that_is_not_watched_may_be_silent() -> None:
    """Silence is fatal to those only who promised to speak."""
    mute = READY + "import time\nwhile True: print('.', flush=True); time.sleep(0.02)"
    limits = replace(QUICK, silence=0.2)
    async with supervised(python("web", mute), limits=limits) as run:
        await wait_until(lambda: run.told("web | .") > 40)
        assert len(run.pids("web")) == 1


async def test_a_stubborn_child_is_killed_after_its_grace() -> None:
    """A child that ignores SIGTERM gets SIGKILL, and the others their own time."""
    children = python("first", STEADY), python("worker", STUBBORN, grace=0.2)
    async with supervised(*children) as run:
        await all_ready(run)
        run.stop.request()
        assert await run.ended() == 0
        assert run.told("worker did not end in time: killing it") == 1
        assert run.told("first | leaving") == 1


async def test_a_frozen_child_is_ended_too() -> None:
    """SIGSTOP does not protect from the stop."""
    async with supervised(python("worker", STEADY, grace=0.1)) as run:
        await all_ready(run)
        os.kill(run.pids("worker")[0], signal.SIGSTOP)
        run.stop.request()
        assert await run.ended() == 0


async def test_the_whole_stop_has_a_bound() -> None:
    """The grace of a child is cut to what is left of the time for all."""
    children = python("first", STUBBORN, grace=60.0), python("second", STUBBORN, grace=60.0)
    async with supervised(*children, limits=replace(QUICK, stop_within=0.3)) as run:
        await all_ready(run)
        run.stop.request()
        assert await run.ended() == 0


async def test_asked_a_second_time_everything_ends_at_once() -> None:
    """The second Ctrl-C does not wait for anybody's grace."""
    async with supervised(python("worker", STUBBORN, grace=60.0)) as run:
        await all_ready(run)
        run.stop.request()
        await wait_until(lambda: run.told("stopping"))
        run.stop.request()
        assert await run.ended() == 0


async def test_stop_is_heard_while_children_are_still_starting() -> None:
    """Ctrl-C during a start ends those that run already; the rest never starts."""
    hanging = python("first", "import time; time.sleep(600)")
    async with supervised(hanging, python("second", STEADY)) as run:
        await wait_until(lambda: run.pids("first"))
        run.stop.request()
        assert await run.ended() == 0
        assert run.pids("second") == []


async def test_a_slow_start_is_reported() -> None:
    """A user who waits learns for which program."""
    hanging = python("worker", "import time; time.sleep(600)")
    async with supervised(hanging, limits=replace(QUICK, patience=0.05)) as run:
        await wait_until(lambda: run.told("worker is not ready yet") > 1)


async def test_a_probe_decides_about_readiness_where_there_is_one(tmp_path: Path) -> None:
    """The next child waits until the probe says yes."""
    sign = tmp_path / "ready"

    async def probe(_: int) -> bool:
        return sign.exists()

    probed = python("redis", STEADY.replace(READY, "import os"), probe=probe)
    async with supervised(probed, python("worker", STEADY)) as run:
        await wait_until(lambda: run.told("redis | working"))
        assert run.pids("worker") == []
        sign.touch()
        await all_ready(run)


async def test_a_probe_that_loses_its_cancellation_does_not_hold_up_the_end() -> None:
    """Python 3.11's wait_for does that now and then, and clients are full of it."""

    async def probe(_: int) -> bool:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(600)
        return False

    async with supervised(python("redis", STEADY.replace(READY, "import os"), probe=probe)) as run:
        await wait_until(lambda: run.told("redis | working"))
        run.stop.request()
        assert await run.ended() == 0


async def test_what_a_dead_child_started_is_killed_with_it(tmp_path: Path) -> None:
    """Nothing of a child's process group stays behind."""
    lock = tmp_path / "grandchild"
    script = f"""
import fcntl, os, signal, time
if os.fork():
    time.sleep(600)
life = open({str(lock)!r}, "w")
fcntl.flock(life, fcntl.LOCK_EX)
time.sleep(600)
"""
    async with supervised(python("worker", script)) as run:
        await wait_until(lambda: is_held(lock))
        os.kill(run.pids("worker")[0], signal.SIGKILL)
        await wait_until(lambda: len(run.pids("worker")) > 1 and is_held(lock))
    await wait_until(lambda: not is_held(lock))


async def test_a_program_that_does_not_exist_stops_everything_and_is_raised() -> None:
    """Such a table is a mistake in the program, so it is not tried again."""
    with pytest.RaisesGroup(FileNotFoundError):
        await supervise(
            [Child("worker", ["/nonexistent/program"])],
            environ=environment(),
            log=Console(io.StringIO(), []),
            stop=StopRequest(),
        )


async def test_output_of_any_kind_comes_through_as_lines() -> None:
    """Invalid UTF-8, a line without end and one without newline do no harm."""
    script = r"""
import sys, time
sys.stdout.buffer.write(b"\xff\r\n" + b"x" * 100_000 + b"\n" + b"unfinished")
"""
    limits = replace(QUICK, hopeless=1)
    async with supervised(python("worker", script), limits=limits) as run:
        await run.ended()
        assert run.told("worker | \N{REPLACEMENT CHARACTER}") == 1
        assert run.told("worker | xxx") > 1
        assert run.told("worker | unfinished") == 1


def test_the_console_puts_names_before_lines() -> None:
    """Names are as wide as the longest, the supervisor's own lines stand behind its title."""
    stream = io.StringIO()
    console = Console(stream, ["redis", "web"])
    console.output("web", "hello")
    console.note("web is ready\nand more")
    assert stream.getvalue() == "web   | hello\nup    | web is ready\nup    | and more\n"


def test_a_quiet_console_leaves_out_the_children() -> None:
    """Only the supervisor itself is heard."""
    stream = io.StringIO()
    console = Console(stream, ["web"], quiet=True)
    console.output("web", "hello")
    console.note("ready")
    assert stream.getvalue() == "up  | ready\n"


def test_a_console_that_nobody_reads_any_more_is_no_reason_to_end() -> None:
    """`turnstream up | head` goes on working."""
    reader, writer = os.pipe()
    with open(writer, "w") as stream:
        os.close(reader)
        console = Console(stream, ["web"])
        console.output("web", "hello")
        console.output("web", "hello again")


def test_a_console_shows_what_its_encoding_lacks_as_escapes() -> None:
    """A line in another script is no error on an ASCII terminal."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, "ascii")
    Console(stream, []).note("caf\N{LATIN SMALL LETTER E WITH ACUTE}")
    assert raw.getvalue() == b"up | caf\\xe9\n"


async def test_signals_ask_for_the_end() -> None:
    """SIGTERM never asks for more than an orderly end; a second Ctrl-C does."""
    stop = StopRequest()
    with stop.on_signals():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        await wait_until(stop.asked.is_set)
        assert not stop.now.is_set()
        os.kill(os.getpid(), signal.SIGINT)
        await wait_until(stop.now.is_set)


async def test_a_hang_up_that_is_ignored_stays_ignored() -> None:
    """`nohup turnstream up` outlives its terminal."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest().on_signals():
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


SUPERVISOR = """
import asyncio, os, sys
from cli.supervision.child import Child
from cli.supervision.console import Console
from cli.supervision.supervisor import StopRequest, supervise

async def main():
    stop = StopRequest()
    service = Child("service", (sys.executable, "-c", sys.argv[1], sys.argv[2]), grace=60.0)
    program = (sys.executable, "-c", sys.argv[3], sys.argv[4])
    async def at_once(pid): return True
    children = [service, Child("program", program, probe=at_once)]
    with stop.on_signals():
        return await supervise(children, environ=os.environ, log=Console(sys.stdout, []), stop=stop)

sys.exit(asyncio.run(main()))
"""

# Becomes a program that knows nothing of the lifeline: `cli.supervision.lifeline` must end it.
IGNORANT = """
import os, sys
from cli.supervision.child import python_module

program = '''
import fcntl, sys, time
life = open(sys.argv[1], "w")
fcntl.flock(life, fcntl.LOCK_EX)
time.sleep(600)
'''
lifeline = os.environ["TURNSTREAM_LIFELINE_FD"]
program_of = (sys.executable, "-c", program, sys.argv[1])
argv = python_module("cli.supervision.lifeline", lifeline, *program_of)
os.execv(argv[0], argv)
"""


class SupervisorProcess:
    """A supervisor in a process of its own, with two children that hold a lock each."""

    def __init__(self, folder: Path, service: str = MORTAL, program: str = IGNORANT) -> None:
        self.locks = [folder / "service", folder / "program"]
        arguments = (service, str(self.locks[0]), program, str(self.locks[1]))
        self.process = subprocess.Popen(
            [sys.executable, "-c", SUPERVISOR, *arguments],
            env=environment(),
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        wait_until_sync(lambda: all(map(is_held, self.locks)))

    def finish(self) -> str:
        """What it wrote, when it and its children have ended."""
        wait_until_sync(lambda: not any(map(is_held, self.locks)))
        output, _ = self.process.communicate(timeout=15)
        return output


def test_children_end_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    """SIGKILL leaves nobody behind: neither services nor programs that know nothing of it."""
    outside = SupervisorProcess(tmp_path)
    outside.process.kill()
    outside.finish()


def test_stubborn_and_stuck_children_end_with_a_killed_supervisor_too(tmp_path: Path) -> None:
    """A blocked event loop and an ignored SIGTERM only delay it."""
    stuck = MORTAL.replace("await gone.wait()", "import time; time.sleep(600)")
    deaf = IGNORANT.replace(
        "life =", "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); life ="
    )
    outside = SupervisorProcess(tmp_path, stuck, deaf)
    outside.process.kill()
    outside.finish()


def test_ctrl_c_reaches_the_supervisor_alone(tmp_path: Path) -> None:
    """A signal to the terminal's process group stops the children by SIGTERM, in order."""
    dying = "import sys; print('interrupted by the terminal')\n"
    service = f"try:\n{_indented(MORTAL)}\nexcept KeyboardInterrupt:\n{_indented(dying)}"
    outside = SupervisorProcess(tmp_path, service)
    os.killpg(outside.process.pid, signal.SIGINT)
    output = outside.finish()
    assert outside.process.returncode == 0
    assert "stopping" in output
    assert "interrupted" not in output


def _indented(script: str) -> str:
    return "\n".join(f"    {line}" for line in script.splitlines())
