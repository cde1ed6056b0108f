"""Fixtures of the tests that take minutes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from harness.system import SystemUnderTest


@pytest.fixture(params=["sqlite", "jsonl"])
async def system(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SystemUnderTest]:
    """A Redis of this test's own, and room for workers on each backend in turn."""
    async with SystemUnderTest.running(tmp_path) as system:
        system.backend = request.param
        yield system
