"""`publish` and `redis-url`: one event by hand, with and without redis-cli."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from cli.addresses import redis_cli_arguments
from harness.services import environment
from tests.cli.command import UpWithCommands, turnstream

HELLO = ("role=user", "content=hello")


def test_a_published_event_is_in_the_history_at_once(up: UpWithCommands, key: str) -> None:
    """It prints the id that it chose, and a position."""
    identity, position = up.run("publish", f"session={key}", *HELLO).out.split()
    data = up.run("sessions", "show", key, "--json").json()
    assert [message["id"] for message in data["messages"]] == [identity]
    assert position.endswith(identity)


def test_ids_that_are_chosen_here_sort_by_time(up: UpWithCommands, key: str) -> None:
    """A later one is greater as text."""
    first, second = (up.run("publish", f"session={key}", *HELLO).out for _ in range(2))
    assert first < second


def test_waiting_tells_the_outcome(up: UpWithCommands, key: str) -> None:
    """The same id again has the same outcome and no second effect."""
    for _ in range(2):
        done = up.run("publish", "--wait", "--json", f"id={key}", f"session={key}", *HELLO)
        assert done.json()["outcome"] == "applied"
    assert up.run("sessions", "show", key, "--json").json()["total"] == 1


def test_an_event_that_contradicts_an_earlier_one_is_an_error(up: UpWithCommands, key: str) -> None:
    """Its id has the outcome of the earlier one, and it has one of its own."""
    for content, ending in (("one", ["applied"]), ("two", ["dead", "id_conflict"])):
        fields = (f"id={key}", f"session={key}", "role=user", f"content={content}")
        done = up.run("publish", "--wait", *fields)
        assert done.out.split()[2:] == ending
        assert done.code == (1 if content == "two" else 0)


def test_an_event_without_effect_says_why(up: UpWithCommands, key: str) -> None:
    """A rename of nothing is no error, and no rename."""
    done = up.run("publish", "--wait", "type=rename", f"session={key}", "name=x")
    assert done.code == 0
    assert done.out.split()[-2:] == ["noop", "no_session"]


def test_a_field_that_does_not_exist_is_refused(up: UpWithCommands, key: str) -> None:
    """A slip of the pen is not published; the error names the fields that there are."""
    refused = up.run("publish", f"session={key}", "role=user", "contnet=hello")
    assert refused.code == 1
    assert "contnet" in refused.err
    assert "content" in refused.err


def test_a_bad_event_is_refused_before_it_is_published(up: UpWithCommands) -> None:
    """By the same validator as everywhere."""
    refused = up.run("publish", f"session={'x' * 600}", *HELLO)
    assert refused.code == 1
    assert "session" in refused.err
    assert "Traceback" not in refused.err


def test_bytes_that_are_no_text_are_refused(up: UpWithCommands, key: str) -> None:
    """What a shell may hand over is not always UTF-8."""
    refused = up.run("publish", f"session={key}", "role=user", "content=\udcff")
    assert refused.code == 1
    assert "content" in refused.err


def test_nothing_to_publish_to_is_said_so(workspace: Path) -> None:
    """With what to do, and the exit code of a wrong configuration."""
    refused = turnstream("publish", "session=s", *HELLO, workspace=workspace)
    assert refused.code == os.EX_CONFIG
    assert "turnstream up" in refused.err


def test_a_redis_that_is_away_is_an_error_to_try_again(workspace: Path) -> None:
    """After a few seconds of trying, with the URL and without its password."""
    environ = environment(REDIS_URL="redis://:secret@127.0.0.1:1/0")
    refused = turnstream("publish", "session=s", *HELLO, workspace=workspace, environ=environ)
    assert refused.code == os.EX_TEMPFAIL
    assert "127.0.0.1:1" in refused.err
    assert "secret" not in refused.err


def test_the_url_is_printed_alone(up: UpWithCommands) -> None:
    """So that a script can take it as it is."""
    url = up.run("redis-url").out
    assert url.startswith("unix://")
    assert url.count("\n") == 1


def test_redis_cli_is_told_the_socket(up: UpWithCommands) -> None:
    """`-s` and a path on which somebody listens."""
    option, path = up.run("redis-url", "--cli").out.split()
    assert option == "-s"
    with socket.socket(socket.AF_UNIX) as probe:
        probe.connect(path)


def test_other_urls_are_given_to_redis_cli_as_they_are() -> None:
    """A database of a socket becomes an option of its own."""
    assert redis_cli_arguments("redis://h:1/2") == ["-u", "redis://h:1/2"]
    assert redis_cli_arguments("unix:///a%20b?db=3") == ["-s", "/a b", "-n", "3"]
    closed = redis_cli_arguments("unix:///a?username=u&password=p%40")
    assert closed == ["-s", "/a", "--user", "u", "-a", "p@"]
