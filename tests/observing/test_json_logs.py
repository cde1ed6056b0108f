"""Logs as JSON: every line of every process is an object, which says what it is about."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from cli.supervision.console import JsonConsole
from harness.system import SystemUnderTest
from harness.up import Up
from sessions.process.json_lines import JsonFormatter, about
from sessions.process.logs import configure_logging
from sessions.process.tasks import TaskWatcher, log_failure
from tests.ingest.logged import logging_as_a_process_does
from tests.ingest.model_server import failure
from tests.walk.site import site_with_model

SECRET = "my PIN is 4711"


def objects(log: str) -> list[dict[str, Any]]:
    """The lines of a log; fails if one is no object with what each must have."""
    found = [json.loads(line) for line in log.splitlines()]
    for line in found:
        assert {"time", "level", "service", "message"} <= line.keys(), line
        assert datetime.fromisoformat(line["time"]).utcoffset() is not None
    return found


def formatter() -> JsonFormatter:
    return JsonFormatter("test", lambda name: name.startswith("ingest"))


def record(name: str, message: str, **more: object) -> logging.LogRecord:
    return logging.makeLogRecord({"name": name, "levelname": "INFO", "msg": message, **more})


def test_up_prints_objects_alone(tmp_path: Path) -> None:
    with Up.running(tmp_path / "workspace", TURNSTREAM_LOG_FORMAT="json") as up:
        assert up.url is not None
        os.kill(up.pid, 0)
    lines = objects(up.log)
    assert {"up", "worker", "web"} <= {line["service"] for line in lines}
    assert "leading under epoch 1" in " ".join(line["message"] for line in lines)
    assert not [line for line in lines if '"time"' in line["message"]]


async def test_lines_about_a_failed_turn_have_its_fields(system: SystemUnderTest) -> None:
    worker = await system.worker(log_format="json")

    def refuse(request: object) -> Any:
        return failure(429, SECRET, type="rate_limit_error", code="rate_limit_exceeded")

    async with site_with_model(system, refuse, log_format="json") as (site, _):
        async with site.chat("kitchen") as chat:
            await chat.say(SECRET)
            await chat.hears("error")
        [line] = [line for line in objects(site.program.log) if "failed: agent" in line["message"]]
    assert (line["agent"], line["session"], line["logger"]) == (
        "main",
        "gw_kitchen",
        "ingest.turns.answering",
    )
    assert line["turn"] == line["event_id"]
    assert (line["status"], line["error_code"], line["error_type"]) == (
        "429",
        "rate_limit_exceeded",
        "rate_limit_error",
    )
    assert SECRET not in site.program.log + worker.log
    objects(worker.log)


async def test_a_wrong_setting_is_an_object_too(system: SystemUnderTest) -> None:
    service = system.start("ingest", log_format="json", port="no port")
    assert await service.ended() == os.EX_CONFIG
    [line] = objects(service.log)
    assert (line["level"], line["service"]) == ("critical", "ingest")
    assert "gateway.port" in line["message"]


def test_an_error_that_ends_a_process_is_an_object_without_what_it_stumbled_over() -> None:
    program = f"""
from sessions.process.logs import configure_logging
configure_logging("api", "info", "json")
int({SECRET!r})
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    [line] = objects(done.stderr)
    assert (line["level"], done.returncode) == ("critical", 1)
    assert "ValueError" in line["exception"]
    assert "4711" not in done.stderr


def test_a_line_says_what_it_is_about() -> None:
    with about(turn="t1", agent="anna", room=None):
        line = json.loads(formatter().format(record("ingest.turns", "hello", session="s")))
    assert (line["turn"], line["agent"], line["session"]) == ("t1", "anna", "s")
    assert "room" not in line
    assert "turn" not in json.loads(formatter().format(record("ingest.turns", "hello")))


def test_a_library_brings_no_fields() -> None:
    line = json.loads(formatter().format(record("aiohttp.access", "x", session=SECRET)))
    assert "session" not in line


def test_what_a_library_was_given_is_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    with logging_as_a_process_does(caplog):
        logging.getLogger("httpx").error("failed with %s", SECRET, exc_info=ValueError(SECRET))
        shown = [formatter().format(each) for each in caplog.records]
    assert len(shown) == 1
    assert "4711" not in shown[0]


def test_a_line_stays_a_line_whatever_a_key_holds() -> None:
    key = "a\nb\u2028c\x1b[31m\ud800"
    text = formatter().format(record("ingest.turns", key, session=key))
    assert text.isascii()
    assert text.isprintable()
    assert json.loads(text)["session"] == key


async def test_a_task_of_its_own_is_not_about_what_started_it() -> None:
    seen: list[dict[str, Any]] = []

    async def say() -> None:
        seen.append(json.loads(formatter().format(record("ingest.turns", "hello"))))

    async with TaskWatcher(log_failure) as tasks:
        with about(turn="t1"):
            await tasks.start(say(), "say")
            await say()
    assert ["turn" in line for line in seen] == [False, True]


def test_the_console_wraps_what_is_no_object() -> None:
    stream = io.StringIO()
    console = JsonConsole(stream)
    own = json.dumps({"time": "2026-01-01T00:00:00.000Z", "level": "info", "message": "hello"})
    console.output("worker", own)
    console.output("redis", "* Ready to accept connections")
    console.output("redis", "17")
    console.note("two\nlines")
    first, *others = stream.getvalue().splitlines()
    assert first == own
    assert [(line["service"], line["message"]) for line in map(json.loads, others)] == [
        ("redis", "* Ready to accept connections"),
        ("redis", "17"),
        ("up", "two\nlines"),
    ]


def test_text_is_the_default(caplog: pytest.LogCaptureFixture) -> None:
    with logging_as_a_process_does(caplog):
        configure_logging("test", "info")
        assert not isinstance(logging.getLogger().handlers[0].formatter, JsonFormatter)
        assert sys.excepthook is sys.__excepthook__
