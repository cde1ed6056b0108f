"""A system that runs for all tests which do not stop it; they keep apart by their sessions."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.command import UpWithCommands


@pytest.fixture(scope="session")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UpWithCommands]:
    """A running `turnstream up`, whose workspace has a path of 200 characters."""
    parent = tmp_path_factory.mktemp("up")
    with UpWithCommands.running(parent / ("w" * (199 - len(str(parent))))) as up:
        yield up


@pytest.fixture
def key() -> str:
    """A session key that no other test has."""
    return f"cli_{uuid.uuid4().hex}"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A workspace that does not exist yet."""
    return tmp_path / "workspace"
