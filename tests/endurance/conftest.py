"""Fixtures of the tests that take minutes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.worker.plant import Plant


@pytest.fixture(params=["sqlite", "jsonl"])
async def plant(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Plant]:
    """A Redis of this test's own, and room for workers on each backend in turn."""
    async with Plant.of(tmp_path) as plant:
        plant.backend = request.param
        yield plant
