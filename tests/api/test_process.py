"""The api as a process: what it says, how it ends, what it refuses to start with."""

from __future__ import annotations

import os
import signal
import socket
from typing import Any

import httpx
import pytest

from api.app import opened
from harness.program import Program
from harness.services import environment, module_argv, variables_of
from sessions.errors import ConfigError
from sessions.process.settings import Settings

API = module_argv("api")


def variables(settings: Settings, **more: str) -> dict[str, str]:
    """The variables of a service with these settings, on a free port."""
    assert settings.redis_url is not None
    own = {"prefix": settings.turnstream.prefix, "port": "0", **more}
    return environment(**variables_of(settings.workspace, settings.redis_url, **own))


def test_answers_on_one_connection_do_not_wait_for_acknowledgements(settings: Settings):
    """Which come 40 ms late where the kernel holds small packets back for them."""
    with (
        Program(API, variables(settings)) as process,
        httpx.Client(base_url=process.address_sync(), trust_env=False) as client,
    ):
        taken = [client.get("/healthz").elapsed.total_seconds() for _ in range(20)]

    assert sorted(taken)[10] < 0.03


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_a_signal_and_ends_well(settings: Settings, number: signal.Signals):
    with Program(API, variables(settings)) as process:
        url = process.address_sync()
        assert httpx.get(f"{url}/healthz", trust_env=False).json() == {"status": "ok"}

        assert process.stop_sync(number, within=5) == 0

    assert f"sqlite store (not made yet) in {settings.workspace}" in process.log
    assert settings.stream_key in process.log


def test_a_port_that_is_taken_is_a_configuration_error(settings: Settings):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with Program(API, variables(settings, port=port)) as process:
            assert process.ended_sync() == os.EX_CONFIG

    assert f"api: cannot listen on 127.0.0.1:{port}" in process.log
    assert "Traceback" not in process.log


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
