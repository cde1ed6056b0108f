"""Commands where ingest runs: with its token they act as the agent, and see what that may see."""

from __future__ import annotations

from pathlib import Path

from harness.services import environment
from sessions.access.tokens import TokenScope, ensure_token
from tests.cli.command import UpWithCommands, turnstream


def _where_ingest_runs(up: UpWithCommands, folder: Path) -> dict[str, str]:
    token = folder / "secrets" / "token"
    ensure_token(up.workspace, token, scope=TokenScope.SERVE, note="")
    return environment(TURNSTREAM_API_URL=up.url or "", TURNSTREAM_TOKEN_FILE=str(token))


def test_the_agent_s_sessions_are_shown_and_no_others(up: UpWithCommands, key: str, tmp_path: Path):
    other = f"{key}_nobody_s"
    up.run("publish", "--wait", f"session={key}", "agent=main", "role=user", "content=hello")
    up.run("publish", "--wait", f"session={other}", "role=user", "content=hello")
    found = turnstream(
        "sessions",
        "list",
        "--all",
        workspace=tmp_path / "none",
        environ=_where_ingest_runs(up, tmp_path),
    )
    assert found.code == 0, found.err
    assert key in found.out
    assert other not in found.out


def test_several_agents_and_none_of_them_main_is_a_sentence(up: UpWithCommands, tmp_path: Path):
    file = tmp_path / "turnstream.toml"
    file.write_text("[agents.a]\n[agents.b]\n")
    environ = {**_where_ingest_runs(up, tmp_path), "TURNSTREAM_CONFIG": str(file)}
    found = turnstream("sessions", "list", workspace=tmp_path / "none", environ=environ)
    assert found.code == 78
    assert "several agents" in found.err


def test_the_status_is_shown(up: UpWithCommands, tmp_path: Path):
    environ = _where_ingest_runs(up, tmp_path)
    found = turnstream("status", workspace=tmp_path / "none", environ=environ)
    assert found.code == 0, found.err
    assert "ready on" in found.out
