"""Where tokens are shown: on a terminal, or where somebody said so."""

from __future__ import annotations

import json
import os
import pty
import re
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.services import ROOT, environment, module_argv
from harness.up import PATIENCE, runtime_directory
from harness.waiting import wait_until_sync
from sessions.access.tokens import TokenScope, list_tokens
from tests.cli.command import process, turnstream

TOKEN = re.compile(r"ts_[0-9a-f]{64}")
CREATE = ("token", "create", "--agent", "main")


class Screen:
    """A command whose output goes to a terminal, and what stands on that."""

    def __init__(self, *arguments: object, workspace: Path, environ: dict[str, str]) -> None:
        self.text = ""
        self._master, slave = pty.openpty()
        os.set_blocking(self._master, False)
        argv = [*module_argv("cli"), *map(str, arguments), "--workspace", str(workspace)]
        self.process = subprocess.Popen(
            argv, env=environ, cwd=ROOT, stdin=slave, stdout=slave, stderr=slave
        )
        os.close(slave)

    @classmethod
    @contextmanager
    def of(cls, *arguments: object, workspace: Path, **variables: str) -> Iterator[Screen]:
        """The command for the time of the block; it is stopped behind it."""
        screen = cls(*arguments, workspace=workspace, environ=environment(**variables))
        try:
            yield screen
        finally:
            screen.process.terminate()
            wait_until_sync(screen.is_over, within=PATIENCE)
            os.close(screen._master)

    def look(self) -> str:
        """All that has been printed so far."""
        try:
            while piece := os.read(self._master, 65536):
                self.text += piece.decode()
        except OSError:
            pass  # nothing more for now, or the command has ended
        return self.text

    def is_over(self) -> bool:
        """Whether the command has ended; what it still prints is taken."""
        self.look()
        return self.process.poll() is not None


def test_up_shows_the_token_on_a_terminal(workspace: Path):
    with (
        runtime_directory() as runtime,
        Screen.of("up", "--port", "0", workspace=workspace, XDG_RUNTIME_DIR=runtime) as screen,
    ):
        wait_until_sync(lambda: "is ready on" in screen.look(), within=PATIENCE)
        assert (workspace / "token").read_text().strip() in screen.text


def test_create_prints_the_token_on_a_terminal(workspace: Path):
    with Screen.of(*CREATE, workspace=workspace) as screen:
        wait_until_sync(screen.is_over, within=PATIENCE)
        assert len(TOKEN.findall(screen.look())) == 1


@pytest.mark.parametrize("more", [(), ("--json",)])
@pytest.mark.parametrize("variables", [{}, {"FORCE_COLOR": "1", "TTY_COMPATIBLE": "1"}])
def test_create_makes_no_token_that_a_log_would_keep(
    workspace: Path, more: tuple[str, ...], variables: dict[str, str]
):
    found = process(*CREATE, *more, workspace=workspace, environ=environment(**variables))
    assert found.code == 2
    assert "--print" in found.err
    assert "--out" in found.err
    assert not workspace.exists()


def test_a_script_gets_the_token_where_it_asks_for_it(workspace: Path):
    printed = process(*CREATE, "--print", workspace=workspace)
    assert TOKEN.fullmatch(printed.out.strip())
    made = json.loads(process(*CREATE, "--print", "--json", workspace=workspace).out)
    assert TOKEN.fullmatch(made["token"])
    assert len(list_tokens(workspace)) == 2


def test_a_token_in_a_file_is_for_this_user_alone(workspace: Path, tmp_path: Path):
    file = tmp_path / "main.token"
    found = turnstream(*CREATE, "--scope", "read", "--out", file, "--json", workspace=workspace)
    assert found.json()["file"] == str(file)
    assert TOKEN.fullmatch(file.read_text().strip())
    assert not TOKEN.search(found.out)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [entry.scope for entry in list_tokens(workspace)] == [TokenScope.READ]


def test_a_file_that_is_there_is_not_replaced(workspace: Path, tmp_path: Path):
    file = tmp_path / "main.token"
    file.write_text("mine")
    found = turnstream(*CREATE, "--out", file, workspace=workspace)
    assert found.code == 1
    assert "no token was made" in found.err
    assert file.read_text() == "mine"
    assert list_tokens(workspace) == ()


def test_no_file_stays_where_no_token_was_made(workspace: Path, tmp_path: Path):
    file = tmp_path / "main.token"
    wrong = ("token", "create", "--agent", "main", "--scope", "admin", "--out", file)
    assert turnstream(*wrong, workspace=workspace).code == os.EX_CONFIG
    assert not file.exists()


@pytest.mark.parametrize("command", [("list",), ("revoke", "1f0c93ab")])
def test_tokens_of_a_workspace_that_is_not_there_are_none_to_speak_of(
    workspace: Path, command: tuple[str, ...]
):
    found = turnstream("token", *command, workspace=workspace)
    assert found.code == os.EX_CONFIG
    assert f"there is no workspace {workspace}" in found.err
    assert not workspace.exists()
