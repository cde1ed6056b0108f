"""`turnstream chat`, as a person and as a pipe use it."""

from __future__ import annotations

import io
import re
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from harness.services import environment
from ingest.failures import FAILED
from tests.cli.command import UpWithCommands, turnstream


@pytest.fixture
def room() -> str:
    """A conversation that no other test has."""
    return uuid.uuid4().hex


def test_one_message_gets_its_answer(up: UpWithCommands, room: str):
    result = up.run("chat", "Is the kettle on?", "--room", room)
    assert (result.code, result.out) == (0, "Is the kettle on?\n")


def test_lines_of_a_pipe_are_one_conversation_that_is_kept(
    up: UpWithCommands, room: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sys, "stdin", io.StringIO("one\n\n two \n/quit\nthree\n"))
    assert up.run("chat", "--room", room).out == "one\ntwo\n"
    key = f"cli_main_{room}_user"
    shown = up.run("sessions", "show", key, "--json").json()
    assert [message["content"] for message in shown["messages"]] == ["one", "one", "two", "two"]
    listed = up.run("sessions", "list", "--channel", "cli.main", "--all", "--json").json()
    [row] = [row for row in listed["sessions"] if row["session_key"] == key]
    assert (row["agent_alias"], row["room_id"], row["sender_id"]) == ("main", room, "user")


def test_new_forgets_what_was_said(up: UpWithCommands, room: str):
    up.run("chat", "one", "--room", room)
    assert up.run("chat", "/new", "--room", room).out == (
        "Conversation history cleared. Starting fresh.\n"
    )
    up.run("chat", "two", "--room", room)
    shown = up.run("sessions", "show", f"cli_main_{room}_user", "--json").json()
    assert [message["content"] for message in shown["messages"]] == ["two", "two"]


def test_stop_without_an_answer_to_stop_says_nothing(up: UpWithCommands, room: str):
    result = up.run("chat", "/stop", "--room", room)
    assert (result.code, result.out) == (0, "")


def test_json_tells_the_session(up: UpWithCommands, room: str):
    answer = up.run("chat", "hello", "--room", room, "--json").json()
    assert (answer["session"], answer["reply"]) == (f"cli_main_{room}_user", "hello")


def test_an_agent_that_is_not_there_is_said(up: UpWithCommands):
    result = up.run("chat", "hello", "--agent", "zed")
    assert result.code == 1
    assert "there is no channel cli.zed" in result.err


@pytest.mark.parametrize(
    ("agents", "says"), [(False, "is not this agent's"), (True, "may be another agent's")]
)
def test_a_session_of_another_agent_is_said_at_once(
    up: UpWithCommands, room: str, agents: bool, says: str
):
    up.run("chat", "hello", "--room", room)
    key = f"cli_main_{room}_user"
    assert up.run("sessions", "owner", key, "other").code == 0
    args = ["token", "create", "--agent", "main", "--scope", "send", "--print", "--json"]
    token = up.run(*args).json()["token"] if agents else None
    environ = {**environment(), **({"TURNSTREAM_TOKEN": token} if token else {})}
    began = time.monotonic()

    result = turnstream("chat", "again", "--room", room, workspace=up.workspace, environ=environ)

    assert result.code == 1
    assert f"session {key} {says}" in result.err
    assert time.monotonic() - began < 60


class Refusing(BaseHTTPRequestHandler):
    """A model's endpoint that takes no message."""

    status = 400

    def do_POST(self) -> None:
        body = b'{"error": {"message": "no"}}'
        self.send_response(self.status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class Denying(Refusing):
    """One that lets nobody in."""

    status = 401


@contextmanager
def serving(endpoint: type[Refusing]) -> Iterator[str]:
    """The URL of such an endpoint."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), endpoint)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_turn_that_failed_ends_with_1_and_says_where_to_look(tmp_path: Path):
    config = tmp_path / "turnstream.toml"
    agent = '[agents.{}]\nprovider = "openai"\nmodel = "m"\nbase_url = "{}"\n'
    with serving(Refusing) as refusing, serving(Denying) as denying:
        config.write_text(agent.format("refused", refusing) + agent.format("denied", denying))
        with UpWithCommands.running(tmp_path / "workspace", "--config", str(config)) as up:
            for name, status, says in (
                ("refused", 400, "The agent could not answer; nothing of it is kept."),
                ("denied", 401, FAILED),
            ):
                result = up.run("chat", "hello", "--config", config, "--agent", name)
                [turn] = re.findall(r"on turn (\S+)$", result.err)
                [line] = [line for line in up.log.splitlines() if f"turn {turn} failed" in line]
                assert (result.code, result.out) == (1, f"{says}\n")
                session = f"cli_{name}_user_user"
                assert f"agent {name}, session '{session}', provider's status {status}" in line
