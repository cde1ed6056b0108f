"""Fixtures of the tests that start worker processes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from harness.system import System


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[System]:
    """A Redis of this test's own, and room for workers."""
    async with System.running(tmp_path) as system:
        yield system
