"""What an operator sees: one command, replicas, health, secrets nowhere, JSON logs."""

from __future__ import annotations

import json
from typing import Final

import pytest

from tests.stack.stack import Stack, docker

SERVICES: Final = ("proxy", "redis", "worker", "api", "ingest")


def test_all_are_healthy_in_the_numbers_of_the_settings(stack: Stack):
    counts = {service: len(stack.containers(service)) for service in SERVICES}
    assert counts == {"proxy": 1, "redis": 1, "worker": 2, "api": 2, "ingest": 3}
    assert {stack.health(name) for name in stack.containers()} == {"healthy"}


def test_the_second_command_restarts_nothing(stack: Stack):
    before = stack.started()
    stack.up()
    assert stack.started() == before


def test_one_port_is_published_below_the_range_of_the_kernel_s_own(stack: Stack):
    published = {
        binding["HostPort"]
        for name in stack.containers()
        for bindings in stack.inspect(name)["NetworkSettings"]["Ports"].values()
        for binding in bindings or ()
    }
    assert published == {str(stack.port)}
    assert "127.0.0.1:8787" in stack.compose("config", TURNSTREAM_PUBLISH="") or stack.port


def test_no_secret_is_in_what_docker_shows(stack: Stack):
    secrets = stack.secrets()
    assert all(len(secret) > 60 for secret in secrets)
    images = (stack.project, f"{stack.project}-proxy")
    shown = {
        "inspect": docker("inspect", *stack.containers(), *images),
        "history": "".join(docker("history", "--no-trunc", image) for image in images),
        "config": stack.compose("config"),
        "logs": stack.compose("logs", "--no-color"),
        "top": stack.compose("top"),
    }
    for name, text in shown.items():
        assert len(text) > 100, name
        assert not [secret for secret in secrets if secret in text], name


def test_every_line_of_every_log_is_json_and_says_whose_it_is(stack: Stack):
    logs = stack.logs()
    assert len(logs) == len(stack.containers())
    for name, lines in logs.items():
        for line in lines:
            assert {"level", "service", "message"} <= set(json.loads(line)), f"{name}: {line}"


def test_a_token_in_the_query_of_a_chat_is_in_no_log(stack: Stack):
    made_up = "ts_" + "ab12" * 16
    url = f"{stack.url}/ws/chat?agent=main&token={made_up}"
    docker("run", "--rm", "--network=host", "--entrypoint=python3", stack.project, "-c", _GET, url)
    assert made_up not in stack.compose("logs", "--no-color")


_GET: Final = """
import sys, urllib.request, urllib.error
try:
    urllib.request.urlopen(sys.argv[1])
except urllib.error.HTTPError:
    pass
"""


@pytest.mark.parametrize("service", ["worker", "api", "ingest"])
def test_status_and_sessions_work_where_a_service_runs(stack: Stack, service: str):
    for name in stack.containers(service):
        assert "ready on" in stack.run_in(name, "turnstream", "status")
        stack.run_in(name, "turnstream", "sessions", "list")


@pytest.mark.parametrize("service", ["worker", "api"])
def test_the_status_where_the_store_is_shows_all_of_it(stack: Stack, service: str):
    told = stack.run_in(stack.containers(service)[0], "turnstream", "status", "--json")
    found = json.loads(told)
    assert found["problems"] == {}
    assert len(found["stream"]["standbys"]) == 1
