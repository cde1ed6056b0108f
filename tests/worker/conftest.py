"""Fixtures of the tests that start worker processes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.worker.plant import Plant


@pytest.fixture
async def plant(tmp_path: Path) -> AsyncIterator[Plant]:
    """A Redis of this test's own, and room for workers."""
    async with Plant.of(tmp_path) as plant:
        yield plant
