"""What others on the machine may read, and what is said about it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path

import pytest

from harness.services import environment
from harness.up import CommandProgram
from sessions.access.tokens import ensure_admin_token
from sessions.process.private import (
    exposed_settings,
    exposed_workspace,
    make_private_directory,
    secrets_in,
)
from tests.cli.command import UpWithCommands, turnstream

UMASKS = (0o022, 0o000, 0o077)
SECRETS = """
api_key = "sk-1"
paired_tokens = ["a", "b"]
[turnstream]
redis_url = "redis://user:password@127.0.0.1:1"
[channels.telegram.home]
bot_token = "1:x"
secret_token = "x"
[channels.webhook.shop]
secret = "x"
previous_secret = "x"
[agents.main]
base_url = "https://user:password@127.0.0.1"
"""
NONE = """
[turnstream]
redis_url = "redis://127.0.0.1:1"
api_url = "http://127.0.0.1:1"
[channels.telegram.home]
enabled = false
bot_token_env = "HOME_BOT"
[channels.webhook.shop]
enabled = false
secret_env = "SHOP"
[agents.main]
model = "m"
api_key_env = "KEY"
system_prompt = "Ask for the token: it is a secret."
base_url = "https://127.0.0.1/v1"
"""


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def modes(root: Path) -> dict[str, int]:
    """The permissions of everything in the directory, and of it."""
    return {str(path): stat.S_IMODE(path.lstat().st_mode) for path in (root, *root.rglob("*"))}


def wrong(root: Path) -> dict[str, int]:
    """What is not 0700 or, as a file, not 0600."""
    return {
        path: mode
        for path, mode in modes(root).items()
        if mode != (0o700 if Path(path).is_dir() else 0o600)
    }


@pytest.mark.parametrize(
    ("mask", "backend"),
    # Each mask and each store; every pair of them in make endure.
    [
        *zip(UMASKS, cycle(["sqlite", "jsonl"]), strict=False),
        *(
            pytest.param(mask, backend, marks=pytest.mark.endurance)
            for mask, backend in zip(UMASKS, cycle(["jsonl", "sqlite"]), strict=False)
        ),
    ],
)
def test_all_that_up_makes_is_for_this_user_alone(tmp_path: Path, mask: int, backend: str):
    workspace = tmp_path / "workspace"
    with umask(mask), UpWithCommands.running(workspace, TURNSTREAM_SESSION_BACKEND=backend) as up:
        fields = ("session=s", "role=user", "content=hello")
        assert up.run("publish", "--wait", *fields).code == 0
        agent = ("--agent", "main", "--print")
        assert turnstream("token", "create", *agent, workspace=workspace).code == 0
        assert wrong(workspace) == {}
        assert {"token", "tokens.json", "up.json", "redis", "sessions"} <= {*os.listdir(workspace)}
    assert wrong(workspace) == {}
    if backend == "jsonl":
        with umask(mask):
            environ = environment(TURNSTREAM_SESSION_BACKEND=backend)
            done = turnstream("verify", "--rebuild-index", workspace=workspace, environ=environ)
        assert done.code == 0, done.err
        assert wrong(workspace) == {}


@pytest.mark.parametrize("mask", [*UMASKS, 0o777], ids=oct)
def test_a_directory_and_those_above_it_are_private_under_any_umask(tmp_path: Path, mask: int):
    path = tmp_path / "a" / "b" / "c"
    with umask(mask):
        make_private_directory(path)
        make_private_directory(path)
    assert wrong(tmp_path / "a") == {}


def test_a_directory_that_is_there_keeps_its_mode(tmp_path: Path):
    path = tmp_path / "shared"
    path.mkdir()
    path.chmod(0o750)
    make_private_directory(path / "own")
    assert stat.S_IMODE(path.stat().st_mode) == 0o750
    assert stat.S_IMODE((path / "own").stat().st_mode) == 0o700


def test_what_is_no_directory_is_an_error(tmp_path: Path):
    (tmp_path / "file").touch()
    (tmp_path / "lost").symlink_to(tmp_path / "nowhere")
    for path in (tmp_path / "file", tmp_path / "lost", tmp_path / "file" / "a"):
        with pytest.raises(OSError, match=r"File exists|Not a directory"):
            make_private_directory(path)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o664])
def test_a_settings_file_with_secrets_that_others_may_read_is_told(tmp_path: Path, mode: int):
    file = tmp_path / "my settings.toml"
    file.write_text(SECRETS)
    file.chmod(mode)
    [text] = exposed_settings(file)
    assert f"chmod 600 '{file}'" in text
    assert f"{mode:04o}" in text
    assert not any(secret in text for secret in ("sk-1", "1:x", "password@"))
    file.chmod(0o600)
    assert exposed_settings(file) == []


def test_every_secret_of_a_settings_file_is_known(tmp_path: Path):
    file = tmp_path / "settings.toml"
    file.write_text(SECRETS)
    assert [name.rpartition(".")[2] for name in secrets_in(file)] == [
        *("api_key", "paired_tokens", "paired_tokens", "redis_url", "bot_token", "secret_token"),
        *("secret", "previous_secret", "base_url"),
    ]
    file.write_text(NONE)
    assert secrets_in(file) == []
    file.write_text("= no TOML")
    assert secrets_in(file) == []
    assert secrets_in(tmp_path / "nowhere") == []


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o711])
def test_a_workspace_that_others_may_enter_is_told_with_all_that_is_open(tmp_path: Path, mode: int):
    ensure_admin_token(tmp_path)
    (tmp_path / "sessions").mkdir()
    (tmp_path / "sessions").chmod(0o755)
    (tmp_path / "token").chmod(0o644)
    tmp_path.chmod(mode)
    told = exposed_workspace(tmp_path)
    assert [text.rpartition("chmod ")[2] for text in told] == [
        f"700 {tmp_path}",
        f"700 {tmp_path / 'sessions'}",
        f"600 {tmp_path / 'token'}",
    ]
    tmp_path.chmod(0o700)
    assert exposed_workspace(tmp_path) == []
    assert exposed_workspace(tmp_path / "nowhere") == []


@pytest.mark.parametrize("service", ["worker", "api", "ingest", "up"])
def test_every_process_tells_at_its_start_what_others_may_read(
    tmp_path: Path, service: str, redis_url: str
):
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    workspace.chmod(0o755)
    file = workspace / "turnstream.toml"
    file.write_text('[channels.webhook.shop]\nsecret = "0123456789abcdef"\nenabled = false\n')
    file.chmod(0o644)
    variables = {"REDIS_URL": redis_url, "TURNSTREAM_PREFIX": f"{tmp_path.name}:"}
    if service == "ingest":
        variables |= {"TURNSTREAM_API_URL": "http://127.0.0.1:1", "TURNSTREAM_TOKEN": "ts_x"}
    port = () if service == "worker" else ("--port", "0")
    with CommandProgram(workspace, environment(**variables), service, *port) as running:
        running.says_sync(f"chmod 600 {file}", within=30)
        if service != "ingest":
            running.says_sync(f"chmod 700 {workspace}", within=30)
        running.stop_sync()
    assert "0123456789abcdef" not in running.log


def test_doctor_tells_what_others_may_read(tmp_path: Path):
    file = tmp_path / "turnstream.toml"
    file.write_text('[turnstream]\nredis_url = "unix:///nowhere.sock?password=hidden"\n')
    file.chmod(0o644)
    tmp_path.chmod(0o755)
    found = turnstream("doctor", "--json", workspace=tmp_path)
    assert f"chmod 600 {file}" in found.out
    assert f"chmod 700 {tmp_path}" in found.out
    assert "hidden" not in found.out
