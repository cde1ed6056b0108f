"""Where `move` writes the backend down, and where it says what to change."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from cli.commands.backend_setting import chosen_backend
from cli.options import CommandContext


def chosen(workspace: Path, **environ: str) -> str:
    return chosen_backend(CommandContext(environ, workspace=workspace), workspace, "jsonl")


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "[gateway]\nport = 1  # mine\n",
        "[channels]\ndebounce_ms = 3\n\n[gateway]\nport = 1",
        '# first\n[channels]   # all of them\n[channels.telegram.a]\nbot_token = "[channels]"\n',
        '[channels.telegram.a]\nbot_token = "x"',
    ],
)
def test_it_is_written_where_nothing_names_a_backend(tmp_path: Path, text: str | None) -> None:
    """Everything else stays as it is."""
    file = tmp_path / "turnstream.toml"
    if text is not None:
        file.write_text(text)
    assert chosen(tmp_path) == f"{file} names it now: start again"
    now = file.read_text()
    settings = tomllib.loads(now)
    assert settings["channels"].pop("session_backend") == "jsonl"
    before = tomllib.loads(text or "")
    assert settings == {**before, "channels": before.get("channels", {})}
    assert all(line in now.splitlines() for line in (text or "").splitlines())
    assert file.stat().st_mode & 0o077 == 0 or text is not None


@pytest.mark.parametrize("text", ["channels.debounce_ms = 3\n", "channels = {debounce_ms = 3}\n"])
def test_settings_that_cannot_be_added_to_stay_and_the_lines_are_printed(
    tmp_path: Path, text: str
) -> None:
    file = tmp_path / "turnstream.toml"
    file.write_text(text)
    assert "add these two lines" in chosen(tmp_path)
    assert file.read_text() == text


def test_what_names_another_backend_is_named(tmp_path: Path) -> None:
    """A variable comes first, as it does for every process."""
    file = tmp_path / "turnstream.toml"
    file.write_text('[channels]\nsession_backend = "sqlite"\n')
    told = chosen(tmp_path, TURNSTREAM_SESSION_BACKEND="sqlite")
    assert told == "set the variable TURNSTREAM_SESSION_BACKEND to jsonl, and start again"
    told = chosen(tmp_path)
    assert told == f'write session_backend = "jsonl" into [channels] of {file}, and start again'
    assert file.read_text() == '[channels]\nsession_backend = "sqlite"\n'


def test_a_file_elsewhere_is_not_written_to(tmp_path: Path) -> None:
    """It may be under somebody's version control, or read-only."""
    other = tmp_path / "elsewhere.toml"
    other.write_text("")
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    assert f"add these two lines to {other}" in chosen(workspace, TURNSTREAM_CONFIG=str(other))
    assert other.read_text() == ""
    assert not [*workspace.iterdir()]
