"""While coverage is measured, processes of the tests end in order and say what they ran."""

from __future__ import annotations

import pytest

from harness.program import Program
from harness.services import environment

# Says so when it is asked to end; a kill it cannot notice.
PROGRAM = 'trap "echo asked; exit 0" TERM; echo ready; while :; do sleep 0.01; done'


def log_of(**variables: str) -> str:
    """What a program has said by the end of its block."""
    with Program(["sh", "-c", PROGRAM], environment(**variables)) as program:
        program.says_sync("ready")
    return program.log


def test_a_measured_process_is_asked_to_end() -> None:
    assert log_of(COVERAGE_PROCESS_CONFIG="{}") == "ready\nasked\n"


def test_any_other_process_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
    assert log_of() == "ready\n"
