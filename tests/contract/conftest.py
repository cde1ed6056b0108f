"""Fixtures of the contract suite: every test runs once for each backend."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sessions.store.backend import SessionBackend
from tests.stores import MAKERS, Clock, Leader, Open, lead


@pytest.fixture
def clock() -> Clock:
    """The clock that the backends of a test share."""
    return Clock()


@pytest.fixture(params=MAKERS)
def open_store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Open:
    """Makes backends that share one store, each as another process would."""
    return MAKERS[request.param](tmp_path, clock)


@pytest.fixture
async def backend(open_store: Open) -> AsyncIterator[SessionBackend]:
    """An open backend on a new store, in write mode; nobody leads yet."""
    async with open_store("write") as opened:
        yield opened


@pytest.fixture
async def store(backend: SessionBackend, clock: Clock) -> Leader:
    """The same, leading."""
    return await lead(backend, clock)
