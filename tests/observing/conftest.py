"""What these tests share: Prometheus' tools, fetched once in a run."""

from __future__ import annotations

import fcntl

import pytest

from tests.observing.prometheus import Promtool, prometheus_tools


@pytest.fixture(scope="session")
def promtool(tmp_path_factory: pytest.TempPathFactory) -> Promtool:
    """promtool; tests that need it are skipped without it."""
    # The processes of a run with -n share one download.
    shared = tmp_path_factory.getbasetemp().parent / "prometheus"
    with open(f"{shared}.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = shared / "usr/bin"
        return Promtool(found if found.exists() else prometheus_tools(shared))
