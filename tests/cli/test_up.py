"""`turnstream up`: one command, everything runs; and how it refuses, heals and ends."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import time
from pathlib import Path

import httpx

from cli.supervision.running import UpRecord
from harness.services import environment
from harness.up import CommandProgram, runtime_directory
from harness.waiting import wait_until_sync
from tests.cli.command import UpWithCommands, process

# Seconds that are promised for a start, and for a stop.
PROMISE = 10.0


def publish(up: UpWithCommands, session: str, content: str) -> None:
    """Publish a user message and wait until it is stored."""
    done = up.run("publish", "--wait", f"session={session}", "role=user", f"content={content}")
    assert done.code == 0, done.err


def contents(up: UpWithCommands, session: str) -> list[str]:
    """What the messages of a session say."""
    data = up.run("sessions", "show", session, "--json").json()
    return [message["content"] for message in data["messages"]]


def test_it_says_where_it_is_ready(up: UpWithCommands) -> None:
    """The last line that it prints by itself has the URL; the system answers there."""
    assert f"turnstream is ready on {up.url}" in up.log
    assert httpx.get(f"{up.url}/readyz").status_code == 200


def test_what_it_says_to_try_can_be_typed(up: UpWithCommands) -> None:
    """As it stands there, in the directory in which `up` was started."""
    [line] = [line for line in up.log.splitlines() if " sessions list --workspace " in line]
    done = subprocess.run(line, shell=True, env=environment(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_it_makes_a_token_that_works(up: UpWithCommands) -> None:
    """It stands in the workspace, for this user alone; a log is told only where."""
    path = up.workspace / "token"
    token = path.read_text().strip()
    assert token not in up.log
    assert str(path) in up.log
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    answer = httpx.get(f"{up.url}/api/sessions", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200


def test_ingest_and_api_answer_on_one_port(up: UpWithCommands, key: str) -> None:
    """An event that is posted is in the history at once."""
    token = (up.workspace / "token").read_text().strip()
    headers = {"Authorization": f"Bearer {token}"}
    event = {"type": "append", "session": key, "role": "user", "content": "hello"}
    with httpx.Client(base_url=up.url or "", headers=headers) as client:
        assert client.post("/api/events", json=event).status_code == 202
        history = client.post("/api/tools/sessions_history", json={"session_id": key}).json()
    assert [message["content"] for message in history["data"]["messages"]] == ["hello"]


def test_the_workspace_is_private(up: UpWithCommands) -> None:
    """Nobody else may look into it."""
    assert stat.S_IMODE(up.workspace.stat().st_mode) == 0o700
    assert stat.S_IMODE((up.workspace / "up.json").stat().st_mode) == 0o600


def test_a_workspace_path_of_200_characters_works(up: UpWithCommands, key: str) -> None:
    """Sockets have short names, whatever the workspace's is."""
    assert len(str(up.workspace)) == 200
    publish(up, key, "hello")
    assert contents(up, key) == ["hello"]


def test_a_second_one_is_told_who_runs(up: UpWithCommands) -> None:
    """It names the process and the URL, and disturbs nothing."""
    refused = process("up", "--port", "0", workspace=up.workspace)
    assert refused.code == 1
    assert f"process {up.pid}" in refused.err
    assert up.url is not None
    assert up.url in refused.err
    assert up.run("status").code == 0


def test_a_taken_port_is_named_before_anything_is_started(workspace: Path) -> None:
    """No Redis, no store, no token is left behind."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = process("up", "--port", port, workspace=workspace)
    assert refused.code == os.EX_CONFIG
    assert f"port {port}" in refused.err
    assert "Traceback" not in refused.err
    assert {path.name for path in workspace.iterdir()} == {"up.lock"}


def test_an_unknown_backend_is_refused_with_the_valid_ones(workspace: Path) -> None:
    """A typing error in the settings starts nothing."""
    environ = environment(TURNSTREAM_SESSION_BACKEND="redis")
    refused = process("up", "--port", "0", workspace=workspace, environ=environ)
    assert refused.code == os.EX_CONFIG
    assert "sqlite, jsonl" in refused.err


def test_a_workspace_that_cannot_be_one_is_refused(tmp_path: Path) -> None:
    """A file in its place is said to be in the way."""
    file = tmp_path / "file"
    file.touch()
    refused = process("up", "--port", "0", workspace=file / "workspace")
    assert refused.code == os.EX_CONFIG
    assert str(file) in refused.err


def test_a_redis_that_is_away_is_named_before_anything_is_started(workspace: Path) -> None:
    """Somebody else's Redis is not waited for in silence."""
    url = "redis://127.0.0.1:1/0"
    refused = process("up", "--port", "0", "--redis-url", url, workspace=workspace)
    assert refused.code == os.EX_TEMPFAIL
    assert url in refused.err


def test_a_redis_of_others_is_used_where_it_is_named(workspace: Path, redis_url: str) -> None:
    """No Redis of our own is started then, and that one is not stopped."""
    arguments = ("--redis-url", redis_url)
    with UpWithCommands.running(
        workspace, *arguments, TURNSTREAM_PREFIX=f"{workspace.parent.name}:"
    ) as up:
        assert up.run("redis-url").out.strip() == redis_url
        assert not (workspace / "redis").exists()
        publish(up, "s", "hello")
        assert httpx.get(f"{up.url}/readyz").status_code == 200


def test_sigterm_ends_everything_in_order(workspace: Path) -> None:
    """Web, then the worker, then Redis; within ten seconds, and nothing is left."""
    with UpWithCommands.running(workspace) as up:
        redis = up.run("redis-url", "--cli").out.split()[-1]
        began = time.monotonic()
        assert up.stop_sync() == 0
        assert time.monotonic() - began < PROMISE
    ends = [up.log.index(text) for text in ("web stopped", "worker stopped", "bye bye")]
    assert ends == sorted(ends)
    assert UpRecord.find(workspace) is None
    assert not Path(redis).exists()


def test_a_killed_worker_comes_back_and_goes_on(workspace: Path) -> None:
    """What was published meanwhile is applied, after what was there before; Ctrl-C ends it all."""
    with UpWithCommands.running(workspace) as up:
        publish(up, "s", "before")
        first = up.worker()
        os.kill(first, signal.SIGKILL)
        publish(up, "s", "after")
        assert up.worker() != first
        assert contents(up, "s") == ["before", "after"]
        assert up.stop_sync(signal.SIGINT) == 0


def test_what_was_stored_is_there_after_up_itself_was_killed(workspace: Path) -> None:
    """Its children end with it, its record counts for nothing, the next one goes on."""
    with runtime_directory() as runtime:
        environ = environment(XDG_RUNTIME_DIR=runtime)
        with UpWithCommands(workspace, environ) as killed:
            killed.get_ready()
            publish(killed, "s", "before")
            killed.send(signal.SIGKILL)
            wait_until_sync(lambda: not killed.runs)
            assert UpRecord.find(workspace) is None
            with UpWithCommands(workspace, environ) as again:
                again.get_ready()
                publish(again, "s", "after")
                assert contents(again, "s") == ["before", "after"]
                again.stop_sync()


def test_a_standby_leads_when_the_system_that_it_joined_loses_its_worker(workspace: Path) -> None:
    """`turnstream worker` finds the Redis of `up` by itself."""
    with (
        UpWithCommands.running(workspace) as up,
        CommandProgram(workspace, environment(), "worker") as standby,
    ):
        standby.says_sync("standing by")
        os.kill(up.worker(), signal.SIGKILL)
        publish(up, "s", "hello")
        assert contents(up, "s") == ["hello"]
        assert standby.stop_sync() == 0
