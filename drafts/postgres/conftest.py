"""Adds this store to those of the contract suite, if a PostgreSQL is to be had."""

from __future__ import annotations

import pytest

from drafts.postgres.server import SERVERS, missing
from tests.stores import MAKERS

_MISSING = missing()
collect_ignore = ["test_postgres.py"] if _MISSING else []

if not _MISSING:
    MAKERS["postgres"] = SERVERS.make


def pytest_unconfigure() -> None:
    """Stop the server that was started for this run."""
    SERVERS.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say why the store was left out."""
    if _MISSING:
        terminalreporter.write_line(f"PostgreSQL: left out, {_MISSING}")
