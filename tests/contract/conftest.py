"""Fixtures of the contract suite: every test runs once for each backend, some for its variants."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from sessions.store.backend import SessionBackend
from tests.stores import MAKERS, VARIANTS, Clock, LeadingBackend, Open, lead

# Modules whose tests are quick and come by all of what differs between two SQLite libraries.
_VARIED: Final = frozenset(
    {"test_lease", "test_order", "test_reads", "test_rollback", "test_search"}
)


@pytest.fixture
def clock() -> Clock:
    """The clock that the backends of a test share."""
    return Clock()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Name the backends of a test."""
    if "open_store" in metafunc.fixturenames:
        varied = metafunc.definition.path.stem in _VARIED
        names = [*MAKERS, *VARIANTS] if varied else [*MAKERS]
        metafunc.parametrize("open_store", names, indirect=True)


@pytest.fixture
def open_store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Open:
    """Makes backends that share one store, each as another process would."""
    return {**MAKERS, **VARIANTS}[request.param](tmp_path, clock)


@pytest.fixture
async def backend(open_store: Open) -> AsyncIterator[SessionBackend]:
    """An open backend on a new store, in write mode; nobody leads yet."""
    async with open_store("write") as opened:
        yield opened


@pytest.fixture
async def store(backend: SessionBackend, clock: Clock) -> LeadingBackend:
    """The same, leading."""
    return await lead(backend, clock)
