"""A directory of sessions, which must be left as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.zeroclaw.making import everything_in
from tests.zeroclaw.reading import Found, read_all


@pytest.fixture
def sessions(workspace: Path) -> Path:
    """The directory of a workspace that ZeroClaw keeps its sessions in."""
    directory = workspace / "sessions"
    directory.mkdir(parents=True)
    return directory


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """A private directory for copies."""
    directory = tmp_path / "scratch"
    directory.mkdir(mode=0o700)
    return directory


@pytest.fixture
def read_here(workspace: Path, scratch: Path) -> Callable[[], Found]:
    """Reads the workspace; fails if a byte, a time or a name in it changes."""

    def read_it() -> Found:
        before = everything_in(workspace)
        found = read_all(workspace, scratch)
        assert everything_in(workspace) == before
        return found

    return read_it
