"""A service that is forked is what its command line starts, and ends as that does."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from harness.forking import ForkedProgram
from harness.program import Program
from harness.services import environment, module_argv, variables_of
from harness.system import SystemUnderTest

# What argparse ends with.
_WRONG_USAGE = 2


@pytest.fixture(params=["worker", "api", "ingest"])
def service(request: pytest.FixtureRequest) -> str:
    """Each service in turn."""
    return request.param


def test_it_says_what_the_command_line_says_and_ends_with_its_code(
    tmp_path: Path, service: str
) -> None:
    variables = variables_of(tmp_path, "redis://127.0.0.1:1/0", session_backend="mysql")
    environ = environment(**variables)
    with (
        ForkedProgram((service,), environ) as forked,
        Program(module_argv(service), environ) as started,
    ):
        assert forked.ended_sync() == started.ended_sync() == os.EX_CONFIG
    # What stands before that has the time in it.
    [said, expected] = [program.log.splitlines()[-1] for program in (forked, started)]
    assert said == expected
    assert said.startswith(f"{service}: ")


def test_its_arguments_are_its_own(service: str) -> None:
    with ForkedProgram((service, "--nonsense"), environment()) as forked:
        assert forked.ended_sync() == _WRONG_USAGE
    assert f"python -m {service}: error: unrecognized arguments: --nonsense" in forked.log


def test_a_command_prints_what_it_prints_on_a_pipe() -> None:
    asked = ("cli", "--version")
    with (
        ForkedProgram(asked, environment()) as forked,
        Program(module_argv(*asked), environment()) as started,
    ):
        assert forked.ended_sync() == started.ended_sync() == 0
    assert forked.log == started.log
    assert forked.log.startswith("turnstream ")


def test_one_that_is_killed_at_once_has_ended_with_its_output() -> None:
    for _ in range(5):
        with ForkedProgram(("cli", "--version"), environment()) as forked:
            forked.send(signal.SIGKILL)
            assert forked.ended_sync() == -signal.SIGKILL


async def test_it_has_a_session_of_its_own_and_takes_signals(system: SystemUnderTest) -> None:
    worker = await system.worker()
    assert os.getsid(worker.pid) == worker.pid != os.getsid(0)
    assert os.readlink(f"/proc/{worker.pid}/fd/0") == os.devnull
    worker.freeze()
    worker.thaw()
    assert await worker.stop(signal.SIGINT) == 0
    other = await system.worker()
    assert await other.stop(signal.SIGKILL) == -signal.SIGKILL
    assert not other.runs
    other.send(signal.SIGTERM)


async def test_a_service_that_is_measured_is_started_by_its_command_line(
    system: SystemUnderTest,
) -> None:
    system.forks = False
    worker = await system.worker()
    assert _command_line(worker)[:3] == [*map(os.fsencode, module_argv("worker"))]


def _command_line(program: Program) -> list[bytes]:
    return Path(f"/proc/{program.pid}/cmdline").read_bytes().split(b"\0")
