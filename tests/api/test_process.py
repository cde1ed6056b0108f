"""The api as a process: what it says, how it ends, what it refuses to start with."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.app import opened
from sessions.errors import ConfigError
from sessions.process.settings import Settings
from tests.helpers import wait_until_sync

COMMAND = (sys.executable, "-P", "-m", "api")


def environment(settings: Settings, **more: str) -> dict[str, str]:
    """The variables of a service with these settings, on a free port."""
    assert settings.redis_url is not None
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "TURNSTREAM_WORKSPACE": str(settings.workspace),
        "TURNSTREAM_REDIS_URL": settings.redis_url,
        "TURNSTREAM_PREFIX": settings.turnstream.prefix,
        "TURNSTREAM_PORT": "0",
        **more,
    }


@contextmanager
def running(environ: dict[str, str], log: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The process once it listens, and its URL; `log` takes what it says."""
    with (
        log.open("wb") as output,
        subprocess.Popen(COMMAND, env=environ, stdout=output, stderr=output) as process,
    ):
        try:
            found = wait_until_sync(
                lambda: re.search(r"listening on (http://\S+)", log.read_text())
            )
            assert found is not None
            yield process, found[1]
        finally:
            process.kill()


def test_answers_on_one_connection_do_not_wait_for_acknowledgements(
    settings: Settings, tmp_path: Path
):
    """Which come 40 ms late where the kernel holds small packets back for them."""
    with (
        running(environment(settings), tmp_path / "log") as (_, url),
        httpx.Client(base_url=url, trust_env=False) as client,
    ):
        taken = [client.get("/healthz").elapsed.total_seconds() for _ in range(20)]

    assert sorted(taken)[10] < 0.03


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_a_signal_and_ends_well(
    settings: Settings, tmp_path: Path, number: signal.Signals
):
    log = tmp_path / "log"
    with running(environment(settings), log) as (process, url):
        assert httpx.get(f"{url}/healthz", trust_env=False).json() == {"status": "ok"}
        process.send_signal(number)

        assert process.wait(timeout=5) == 0

    said = log.read_text()
    assert f"sqlite store (not made yet) in {settings.workspace}" in said
    assert settings.stream_key in said


def test_a_port_that_is_taken_is_a_configuration_error(settings: Settings):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run(environment(settings, TURNSTREAM_PORT=port))

    assert done.returncode == os.EX_CONFIG
    assert f"api: cannot listen on 127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"session_backend": "papyrus"}, "session_backend 'papyrus' does not exist"),
        ({"allowed_hosts": ["http://x"]}, "allowed_hosts: 'http://x' is not a host name"),
        ({"redis_url": "nonsense"}, "is not a Redis URL: write redis://"),
    ],
)
async def test_a_wrong_setting_is_named_before_anything_is_served(
    settings: Settings, given: dict[str, Any], says: str
):
    with pytest.raises(ConfigError, match=says):
        async with opened(settings.replace(**given)):
            pass


def run(environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """A process that ends by itself."""
    return subprocess.run(
        COMMAND, env=environ, capture_output=True, text=True, timeout=20, check=False
    )
