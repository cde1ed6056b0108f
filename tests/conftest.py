"""What tests of every kind share: a Redis, a stream on it, a workspace, and somebody who leads."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from harness.system import SystemUnderTest
from sessions.process.settings import Settings
from sessions.stream.turns import TurnStream
from tests.leading import Leading, opened_stream
from tests.redis_server import COVERED, Choice, choose, redis_server

_choice = cache(choose)


class Scheduling(LoadScopeScheduling):
    """Gives each test to a worker by itself, and all of `tests/channels`, which share processes."""

    def _split_scope(self, nodeid: str) -> str:
        return "channels" if nodeid.startswith("tests/channels/") else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    """How `pytest -n` distributes."""
    return Scheduling(config, log)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which Redis the tests ran on, and on which others a whole system did."""
    terminalreporter.write_line(f"Redis: {_choice().why}")
    ended = terminalreporter.getreports("passed") + terminalreporter.getreports("failed")
    told = {value for report in ended for name, value in report.user_properties if name == COVERED}
    for server in sorted(map(str, told)):
        terminalreporter.write_line(f"A whole system on: {server}")


@pytest.fixture(scope="session")
def redis_choice() -> Choice:
    """Which Redis this run uses."""
    return _choice()


@pytest.fixture(scope="session")
def redis_url(redis_choice: Choice) -> Iterator[str]:
    """A Redis for this run alone; tests keep apart by the prefix of their keys."""
    with redis_server(redis_choice) as url:
        yield url


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """An empty workspace."""
    return tmp_path / "workspace"


@pytest.fixture
def settings(workspace: Path, redis_url: str) -> Settings:
    """Settings with a stream of this test's own, and two agents that may not meet."""
    prefix = f"test-{uuid.uuid4().hex[:12]}:"
    own = {"workspace": str(workspace), "redis_url": redis_url, "prefix": prefix}
    agents = {"anna": {"channels": ["telegram.home"]}, "bert": {"channels": ["discord.club"]}}
    return Settings.model_validate({"turnstream": own, "agents": agents})


@pytest.fixture
async def stream(settings: Settings) -> AsyncIterator[TurnStream]:
    """The stream of `settings`."""
    async with opened_stream(settings) as stream:
        yield stream


@pytest.fixture
async def leading(settings: Settings) -> AsyncIterator[Leading]:
    """A writer for the store of `settings`, which applies whatever comes until it is paused."""
    async with opened_stream(settings) as stream, Leading.of(settings, stream) as leading:
        await leading.resume()
        yield leading


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[SystemUnderTest]:
    """A Redis of this test's own, and room for services as processes."""
    async with SystemUnderTest.running(tmp_path) as system:
        yield system
