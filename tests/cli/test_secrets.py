"""What every process says of a URL with a password in it."""

from __future__ import annotations

import os
from itertools import product
from pathlib import Path

import pytest

from harness.services import environment
from harness.up import CommandProgram
from harness.waiting import wait_until_sync
from tests.cli.command import process, turnstream

PUBLISH = ("publish", "session=s", "role=user", "content=hello")
# What cannot be read, and what cannot be reached.
URLS = (
    "redis://user:QQ/QQ@127.0.0.1:1/0",
    "redis://user:QQ#QQ@127.0.0.1:1/0",
    "redis://user:QQ?QQ@127.0.0.1:1/0",
    "redis://user:QQ",
    "user:QQ@127.0.0.1:1",
    "redis://user:QQ@QQ@127.0.0.1:1/0",
    "redis://user:QQ%40QQ@127.0.0.1:1/0",
    "redis://127.0.0.1:1/0?password=QQ@QQ",
    "unix:///nowhere/redis.sock?username=user&password=QQ",
)


@pytest.mark.parametrize(
    ("command", "url"),
    [
        *product([("doctor",), ("status",), ("up", "--port", "0")], URLS),
        # It tries for some seconds where nobody answers.
        *product([PUBLISH], [URLS[0], URLS[8]]),
    ],
)
def test_a_command_prints_nothing_of_a_password(
    workspace: Path, command: tuple[str, ...], url: str
):
    workspace.mkdir(mode=0o700)
    found = turnstream(*command, workspace=workspace, environ=environment(REDIS_URL=url))
    assert found.code != 0
    assert "QQ" not in found.out + found.err
    assert "Redis" in found.out + found.err


SERVICES = (("worker",), ("api", "--port", "0"), ("ingest", "--port", "0"))
FORMS = (URLS[0], URLS[3], URLS[8])


@pytest.mark.parametrize(
    ("command", "url"),
    # Each service and each form; every pair of them in make endure.
    [
        *zip(SERVICES, FORMS, strict=True),
        *(
            pytest.param(*pair, marks=pytest.mark.endurance)
            for pair in product(SERVICES, FORMS)
            if SERVICES.index(pair[0]) != FORMS.index(pair[1])
        ),
    ],
)
def test_a_service_prints_nothing_of_a_password(
    workspace: Path, command: tuple[str, ...], url: str
):
    variables = {"TURNSTREAM_API_URL": "http://127.0.0.1:1", "TURNSTREAM_TOKEN": "ts_x"}
    with CommandProgram(workspace, environment(REDIS_URL=url, **variables), *command) as service:
        said = ("is not a Redis URL", "redis.sock?***", "listening on")
        wait_until_sync(lambda: any(text in service.log for text in said), within=30)
        service.stop_sync()
    assert "QQ" not in service.log


def test_up_prints_nothing_of_the_password_of_a_redis_that_it_uses(workspace: Path, redis_url: str):
    url = f"{redis_url}?password=QQQQ" if "?" not in redis_url else f"{redis_url}&password=QQQQ"
    refused = process("up", "--port", "0", "--redis-url", url, workspace=workspace)
    assert "QQQQ" not in refused.out + refused.err
    assert refused.code in (os.EX_CONFIG, os.EX_TEMPFAIL)
