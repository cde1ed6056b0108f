"""To whom commands talk, and show a token: to the server of the workspace's own store alone."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from cli.identity import stores_of
from cli.supervision.running import UpRecord, WorkspaceLock
from harness.services import environment
from sessions.access.tokens import ensure_admin_token
from tests.cli.command import UpWithCommands, process, turnstream, write_turns
from tests.cli.planted import store_file

OTHER = "f" * 32
# All that ask the api, each with what it needs.
COMMANDS = (
    ("sessions", "list"),
    ("sessions", "show", "s0"),
    ("sessions", "tail", "s0"),
    ("sessions", "search", "turn"),
    ("sessions", "send", "s0", "hello"),
    ("sessions", "reset", "s0", "--yes"),
    ("sessions", "delete", "s0", "--yes"),
    ("sessions", "rename", "s0", "name"),
    ("dead", "list"),
    ("dead", "show", "1"),
    ("dead", "replay", "1"),
    ("dead", "purge", "1", "--yes"),
    ("chat", "hello"),
    ("publish", "--wait", "session=s0", "role=user", "content=hello"),
    ("replay", "--wait", "turns.jsonl"),
    ("status",),
    ("doctor",),
)


class ForeignServer:
    """A server that is none of ours, and what it was asked."""

    def __init__(self, answer: tuple[int, Any]) -> None:
        self.requests: list[tuple[str, str | None]] = []
        foreign = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                foreign.requests.append((self.path, self.headers.get("Authorization")))
                body = json.dumps(answer[1]).encode()
                self.send_response(answer[0])
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_DELETE = answer

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    @classmethod
    @contextmanager
    def listening(cls, status: int = 200, answer: Any = None) -> Iterator[ForeignServer]:
        """One that answers everything with that."""
        foreign = cls((status, {"ready": True, "store_id": OTHER} if answer is None else answer))
        thread = threading.Thread(target=foreign._server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield foreign
        finally:
            foreign._server.shutdown()
            thread.join()
            foreign._server.server_close()

    @property
    def tokens(self) -> list[str]:
        """The tokens that it was shown."""
        return [token for _, token in self.requests if token is not None]


@pytest.fixture
def stopped(tmp_path: Path, workspace: Path) -> Path:
    """A workspace with a store and a token, whose `up` is stopped."""
    file = write_turns(tmp_path / "turns.jsonl", sessions=1, turns=2)
    asyncio.run(store_file(file, workspace, "sqlite"))
    ensure_admin_token(workspace)
    return workspace


def record(workspace: Path, url: str) -> UpRecord:
    return UpRecord(
        pid=os.getpid(),
        url=url,
        redis_url="redis://127.0.0.1:1/0",
        workspace=str(workspace),
        backend="sqlite",
        prefix="turnstream:",
        started_at="2026-01-01T00:00:00+00:00",
    )


def arguments(command: tuple[str, ...], workspace: Path) -> list[str]:
    file = str(workspace.parent / "turns.jsonl")
    return [file if word == "turns.jsonl" else word for word in command]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_what_listens_on_the_port_of_a_stopped_system_is_not_asked(
    stopped: Path, command: tuple[str, ...]
):
    with ForeignServer.listening() as foreign:
        environ = environment(TURNSTREAM_PORT=str(foreign.port), REDIS_URL="redis://127.0.0.1:1")
        found = turnstream(*arguments(command, stopped), workspace=stopped, environ=environ)
        assert foreign.requests == []
    if command != ("doctor",):
        assert found.code == os.EX_TEMPFAIL
        assert f"no turnstream runs in {stopped}" in found.out + found.err


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_process_with_the_id_of_a_killed_up_is_not_taken_for_it(
    stopped: Path, command: tuple[str, ...]
):
    with ForeignServer.listening() as foreign:
        record(stopped, foreign.url).write()
        turnstream(*arguments(command, stopped), workspace=stopped)
        assert foreign.requests == []


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_who_took_the_port_of_a_running_system_is_shown_no_token(
    stopped: Path, command: tuple[str, ...]
):
    with ForeignServer.listening() as foreign, WorkspaceLock.held(stopped) as lock:
        lock.describe(pid=os.getpid())
        record(stopped, foreign.url).write()
        found = turnstream(*arguments(command, stopped), workspace=stopped)
        assert foreign.tokens == []
        assert {path for path, _ in foreign.requests} <= {"/readyz"}
    if command != ("doctor",):
        assert OTHER in found.out + found.err
        assert stores_of(stopped)["sqlite"] in found.out + found.err


@pytest.mark.parametrize(
    ("status", "answer", "code", "text"),
    [
        (200, {"store_id": OTHER}, os.EX_CONFIG, f"serves the store {OTHER}"),
        (200, {"store_id": None}, os.EX_CONFIG, "does not tell which store"),
        (200, {"status": "ready"}, os.EX_CONFIG, "does not tell which store"),
        (200, [], os.EX_CONFIG, "does not tell which store"),
        (404, {}, os.EX_CONFIG, "does not tell which store"),
        (302, {}, os.EX_CONFIG, "does not tell which store"),
        (503, {"backend": "sqlite", "store_id": None, "error": "busy"}, os.EX_TEMPFAIL, "busy"),
    ],
)
def test_an_address_that_serves_another_store_is_not_shown_the_workspace_s_token(
    stopped: Path, status: int, answer: Any, code: int, text: str
):
    with ForeignServer.listening(status, answer) as foreign:
        environ = environment(TURNSTREAM_API_URL=foreign.url)
        found = turnstream("sessions", "list", workspace=stopped, environ=environ)
        assert (found.code, foreign.tokens) == (code, [])
        assert text in found.err
        assert foreign.url in found.err


def test_ingest_shows_the_workspace_s_token_to_no_other_store(stopped: Path):
    with ForeignServer.listening() as foreign:
        environ = environment(TURNSTREAM_API_URL=foreign.url, REDIS_URL="redis://127.0.0.1:1")
        found = process("ingest", "--port", "0", workspace=stopped, environ=environ)
        assert (found.code, foreign.tokens) == (os.EX_CONFIG, [])
        assert OTHER in found.err


def test_nothing_is_published_whose_outcome_nobody_can_tell(up: UpWithCommands, key: str):
    url = up.run("redis-url").out.strip()
    with ForeignServer.listening() as foreign:
        environ = environment(TURNSTREAM_API_URL=foreign.url, REDIS_URL=url)
        fields = (f"session={key}", "role=user", "content=hello")
        before = up.run("status", "--json").json()["stream"]["last_id"]
        found = turnstream("publish", "--wait", *fields, workspace=up.workspace, environ=environ)
        assert (found.code, foreign.tokens) == (os.EX_CONFIG, [])
        assert up.run("status", "--json").json()["stream"]["last_id"] == before


def test_the_server_of_the_workspace_s_store_is_shown_its_token(up: UpWithCommands):
    environ = environment(TURNSTREAM_API_URL=up.url or "")
    found = turnstream("sessions", "list", workspace=up.workspace, environ=environ)
    assert found.code == 0, found.err


def test_an_address_with_a_token_of_its_own_is_meant_whatever_the_workspace_holds(
    up: UpWithCommands, stopped: Path
):
    token = (up.workspace / "token").read_text().strip()
    environ = environment(TURNSTREAM_API_URL=up.url or "", TURNSTREAM_TOKEN=token)
    found = turnstream("sessions", "list", workspace=stopped, environ=environ)
    assert found.code == 0, found.err


def test_the_token_of_the_environment_is_not_shown_to_who_took_the_port(stopped: Path):
    with ForeignServer.listening() as foreign, WorkspaceLock.held(stopped) as lock:
        lock.describe(pid=os.getpid())
        replace(record(stopped, foreign.url)).write()
        environ = environment(TURNSTREAM_TOKEN="ts_token")
        turnstream("sessions", "list", workspace=stopped, environ=environ)
        assert foreign.tokens == []


@pytest.mark.parametrize("command", [("status",), ("sessions", "list"), ("dead", "list")])
def test_a_workspace_that_is_not_there_is_said(
    up: UpWithCommands, tmp_path: Path, command: tuple[str, ...]
):
    nowhere = tmp_path / "nowhere"
    environ = environment(TURNSTREAM_PORT=(up.url or "").rpartition(":")[2])
    found = turnstream(*command, workspace=nowhere, environ=environ)
    assert found.code == os.EX_TEMPFAIL
    assert f"there is no workspace {nowhere}" in found.out + found.err
    assert "store" not in found.out
    assert not nowhere.exists()
