"""`doctor`: what it looks at, and what it advises."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

from cli.doctor import examine, writing_processes
from cli.system import TargetSystem
from sessions.process.config.loading import load_settings
from sessions.store.sqlite.library import ORIGIN, sqlite3
from tests.cli.command import UpWithCommands, turnstream, write_turns
from tests.cli.planted import store_file


def verdicts(up: UpWithCommands) -> dict[str, str]:
    """The verdict of each check."""
    checks = up.run("doctor", "--json").json()["checks"]
    return {check["name"]: check["verdict"] for check in checks}


def test_a_system_that_runs_is_well(up: UpWithCommands) -> None:
    """Every part was looked at."""
    found = verdicts(up)
    assert set(found) == {
        *("python", "sqlite", "workspace", "disk", "store"),
        *("redis server", "redis", "redis settings", "port"),
    }
    assert set(found.values()) == {"ok"}


def test_versions_and_digests_are_told(up: UpWithCommands) -> None:
    """What one would compare when two machines differ."""
    told = up.run("doctor").out
    assert "sha256" in told
    assert "schema version 4" in told
    assert f"{sqlite3.sqlite_version}, {ORIGIN}" in told


def test_an_empty_workspace_is_no_failure(workspace: Path) -> None:
    """Nothing is made by looking."""
    found = turnstream("doctor", workspace=workspace)
    assert found.code == 0
    assert "up` makes it" in found.out
    assert not workspace.exists()


def test_a_workspace_that_others_may_read_is_a_warning(workspace: Path) -> None:
    """With the command that fixes it."""
    workspace.mkdir(mode=0o755)
    workspace.chmod(0o755)
    found = turnstream("doctor", workspace=workspace)
    assert f"chmod 700 {workspace}" in found.out
    assert stat.S_IMODE(workspace.stat().st_mode) == 0o755


def test_a_redis_that_may_lose_events_is_a_warning(workspace: Path, redis_url: str) -> None:
    """The tests' Redis keeps nothing on its disk."""
    settings = load_settings(None, {"REDIS_URL": redis_url}).replace(workspace=workspace)
    checks = asyncio.run(examine(TargetSystem.find(settings, {}), {}))
    [found] = [check for check in checks if check.name == "redis settings"]
    assert found.verdict in ("ok", "warning")


def test_processes_that_have_a_store_open_for_writing_are_found(
    tmp_path: Path, workspace: Path
) -> None:
    """Readers do not count."""
    file = write_turns(tmp_path / "turns.jsonl", sessions=1, turns=1)
    asyncio.run(store_file(file, workspace, "sqlite"))
    path = workspace / "sessions" / "turnstream.db"
    with path.open("rb"):
        assert writing_processes(path) == []
    with path.open("rb+"):
        assert len(writing_processes(path)) == 1
