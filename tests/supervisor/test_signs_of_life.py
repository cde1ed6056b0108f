"""The two pipes between a service and its supervisor, seen from the service."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sessions.process.lifeline import inherited_pipe, watch_parent
from sessions.process.progress import PROGRESS_VARIABLE, ProgressReporter


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    for fd in (reader, writer):
        with contextlib.suppress(OSError):
            os.close(fd)


def test_ready_is_said_once(pipe: tuple[int, int]) -> None:
    """However often a service becomes ready, the supervisor hears it once."""
    reporter = ProgressReporter(pipe[1])
    reporter.ready()
    reporter.ready()
    assert os.read(pipe[0], 100) == b"ready\n"


def test_beats_are_bounded_in_rate(pipe: tuple[int, int]) -> None:
    """A service may beat with every batch; one line a second goes out."""
    reporter = ProgressReporter(pipe[1])
    for _ in range(1000):
        reporter.beat()
    assert os.read(pipe[0], 100) == b"beat\n"


def test_a_supervisor_that_does_not_read_blocks_nobody(pipe: tuple[int, int]) -> None:
    """When the pipe is full the beat is dropped."""
    reporter = ProgressReporter(pipe[1], interval=0.0)
    for _ in range(100_000):
        reporter.beat()


def test_a_supervisor_that_is_gone_is_no_error(pipe: tuple[int, int]) -> None:
    """Ending with the supervisor is the lifeline's business."""
    reporter = ProgressReporter(pipe[1], interval=0.0)
    os.close(pipe[0])
    reporter.ready()
    reporter.beat()


def test_without_a_supervisor_nothing_happens() -> None:
    """A service that was started by hand works the same."""
    reporter = ProgressReporter.inherited({})
    reporter.ready()
    reporter.beat()


async def test_without_a_lifeline_nothing_is_watched() -> None:
    """No parent, no end."""
    watch_parent(None, lambda: pytest.fail("nobody was watched"))


def test_an_inherited_pipe_is_found_by_its_variable(pipe: tuple[int, int]) -> None:
    """It is not handed on to programs that the service starts."""
    os.set_inheritable(pipe[1], True)
    assert inherited_pipe({PROGRESS_VARIABLE: str(pipe[1])}, PROGRESS_VARIABLE) == pipe[1]
    assert not os.get_inheritable(pipe[1])


@pytest.mark.parametrize("value", ["", "x", "-1", "987654", "9" * 30])
def test_a_variable_that_names_no_descriptor_counts_as_absent(value: str) -> None:
    """A stale or broken variable means that there is no supervisor."""
    assert inherited_pipe({PROGRESS_VARIABLE: value}, PROGRESS_VARIABLE) is None


def test_a_variable_that_names_a_file_of_somebody_else_counts_as_absent(tmp_path: Path) -> None:
    """Beats never land in a file that got the descriptor's number later."""
    with (tmp_path / "file").open("w") as file:
        environ = {PROGRESS_VARIABLE: str(file.fileno())}
        assert inherited_pipe(environ, PROGRESS_VARIABLE) is None
