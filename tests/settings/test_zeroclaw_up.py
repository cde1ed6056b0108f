"""Six configurations of ZeroClaw's, each with `turnstream up`: it starts, or says why not."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest

from harness.waiting import wait_until_sync
from tests.cli.command import UpWithCommands, process
from tests.settings.zeroclaw_files import FILES, WEBHOOK_WITHOUT_SECRET, write


class Start(NamedTuple):
    """What the start says of a configuration, and which bots it polls."""

    agents: str
    channels: str
    told: tuple[str, ...]
    polled: frozenset[str] = frozenset()


STARTS = {
    "minimal": Start(
        "default (openai: llama3.2)",
        "none",
        ("gateway.require_pairing: has no effect: every entry point wants a token", "[cost]"),
    ),
    "several agents": Start(
        "ada (openai: gpt-4o), bob (openai: llama-3.3-70b-versatile)",
        "telegram.home on",
        (
            "agents.old: enabled = false",
            "agents.bob: risk_profiles.careful restricts it",
            "channels.max_concurrent_per_channel: has no effect",
            "runtime_profiles.long: keep_tool_context_turns, max_history_messages have no effect",
            "channels.telegram.home: no peer group of it names anybody",
        ),
        frozenset({"1:home"}),
    ),
    "peer groups": Start(
        "main (openai: openai/gpt-4o)",
        "telegram.home on, telegram.work on",
        ("channels.telegram.home.debounce_ms: 90000 is more than 60000",),
        frozenset({"1:home", "2:work"}),
    ),
    "disabled channels": Start(
        "main (openai: gpt-4o)",
        "discord.clamps off, telegram.home off, telegram.spare off, telegram.nobodys off",
        (
            "channels.telegram.nobodys: it is not served: no agent",
            "channels.matrix.kitchen: it is not served: there is no such type",
            "channels.session_ttl_hours: has no effect",
        ),
    ),
    "webhook without secret": Start(
        "main (openai: deepseek-chat)",
        "webhook.ci off, webhook.shop on",
        (
            "channels.webhook.ci: it is not served: it has no secret",
            "channels.webhook.shop: posts go to /channels/webhook/shop",
        ),
    ),
}


@contextmanager
def recorded_bots() -> Iterator[tuple[str, set[str]]]:
    """A Bot API that answers nothing, and the tokens of the bots that asked it."""
    asked: set[str] = set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.add(self.path.split("/")[1].removeprefix("bot"))
            self.send_response(503)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing is printed."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("name", STARTS)
def test_it_starts_and_says_what_it_made_of_it(tmp_path: Path, name: str) -> None:
    """The file in the workspace is found; nothing is polled that ZeroClaw would not poll."""
    meant = STARTS[name]
    with recorded_bots() as (telegram, asked):
        path = write(tmp_path, FILES[name], telegram=telegram)
        with UpWithCommands.running(tmp_path) as up:
            said = [" ".join(line.split()) for line in up.log.splitlines()]
            assert f"agents {meant.agents}" in said
            assert f"channels {meant.channels}" in said
            assert f"settings {path} (ZeroClaw)" in said
            for text in meant.told:
                # Once for the system, and not by each process.
                assert len([line for line in said if text in line]) == 1, text
            wait_until_sync(lambda: asked >= meant.polled)
            assert up.run("sessions", "list", "--json").json()["sessions"] == []
    assert asked == meant.polled


def test_a_provider_that_cannot_be_asked_starts_nothing(tmp_path: Path) -> None:
    """One sentence says what to write; nothing is made in the workspace."""
    write(tmp_path, FILES["another provider"])
    refused = process("up", "--port", "0", workspace=tmp_path)
    assert refused.code == os.EX_CONFIG
    assert "agents.main: Turnstream asks OpenAI-compatible endpoints only" in refused.err
    assert 'add provider = "openai", base_url, model and api_key_env' in refused.err
    assert [one.name for one in tmp_path.iterdir()] == ["config.toml"]


def test_our_own_file_in_the_workspace_comes_first(tmp_path: Path) -> None:
    """Who has written one means it."""
    write(tmp_path, FILES["another provider"])
    write(tmp_path, "[channels]\ndebounce_ms = 5", name="turnstream.toml")
    assert process("doctor", workspace=tmp_path).code == 0


def test_a_service_alone_says_it_in_its_log(tmp_path: Path) -> None:
    """Once, with every notice."""
    path = write(tmp_path, WEBHOOK_WITHOUT_SECRET)
    environ = {**os.environ, "REDIS_URL": "redis://127.0.0.1:1/0"}
    refused = process("ingest", "--config", path, workspace=tmp_path, environ=environ)
    assert f"settings file: {path} (ZeroClaw); agents: main (openai: deepseek-chat)" in refused.err
    assert refused.err.count("webhook.ci: it is not served") == 1
