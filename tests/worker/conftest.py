"""Fixtures of the tests that start worker processes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from harness.system import SystemUnderTest


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[SystemUnderTest]:
    """A Redis of this test's own, and room for workers."""
    async with SystemUnderTest.running(tmp_path) as system:
        yield system
