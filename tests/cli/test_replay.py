"""`replay`: a file of turns comes into the store once, in order, whatever interrupts it."""

from __future__ import annotations

import asyncio
import gzip
import io
import os
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from cli.output import Output
from cli.progress import ProgressMeter, shown_progress
from cli.stores.replay import Pace, replay
from cli.stores.turnfile import TurnFile
from harness.services import environment
from harness.up import CommandProgram
from harness.waiting import wait_until, wait_until_sync
from sessions.stream.redis import RedisClient, connect
from sessions.stream.turns import TurnStream
from tests.cli.command import UpWithCommands, turnstream, write_turns
from tests.redis_server import Choice, redis_server


@pytest.fixture
def file(tmp_path: Path, key: str) -> Path:
    """Twenty sessions of ten turns, which are this test's own."""
    path = write_turns(tmp_path / "turns.jsonl", sessions=20, turns=10)
    path.write_text(path.read_text().replace('"session": "s', f'"session": "{key}_'))
    return path


def stored(up: UpWithCommands) -> int:
    """How many messages the store holds."""
    return up.run("status", "--json").json()["store"]["messages"]


def test_all_turns_come_into_the_store_once_and_in_order(up: UpWithCommands, file: Path) -> None:
    """A second replay of the same file changes nothing."""
    before = stored(up)
    summary = up.run("replay", file, "--wait", "--json").json()
    assert (summary["sessions"], summary["turns"]) == (20, 200)
    assert stored(up) == before + 200
    assert up.run("replay", file, "--wait", "--publishers", 3).code == 0
    assert stored(up) == before + 200
    assert up.run("verify", "--against", file, "--json").json()["agrees"]


def test_it_says_how_much_and_how_long(up: UpWithCommands, file: Path) -> None:
    """For people, in a sentence."""
    done = up.run("replay", file, "--wait")
    assert done.out.startswith("published 200 turns of 20 sessions in ")
    assert "applied" in done.out


def test_a_packed_copy_is_the_same_replay(up: UpWithCommands, file: Path, tmp_path: Path) -> None:
    """The ids come from the content."""
    up.run("replay", file, "--wait")
    before = stored(up)
    packed = tmp_path / "turns.jsonl.gz"
    packed.write_bytes(gzip.compress(file.read_bytes()))
    assert up.run("replay", packed, "--wait").code == 0
    assert stored(up) == before


def test_an_interrupted_replay_goes_on_where_it_stopped(up: UpWithCommands, file: Path) -> None:
    """Ctrl-C leaves a part of the turns; the same command brings the others."""
    before = stored(up)
    with CommandProgram(up.workspace, environment(), "replay", str(file), "--rate", "50") as slow:
        wait_until_sync(lambda: stored(up) > before)
        assert slow.stop_sync(signal.SIGINT) == 130
    assert "the same command goes on" in slow.log
    assert stored(up) < before + 200
    assert up.run("replay", file, "--wait").code == 0
    assert stored(up) == before + 200
    assert up.run("verify", "--against", file).code == 0


def test_sessions_may_come_one_after_another(up: UpWithCommands, file: Path, key: str) -> None:
    """Without interleaving a single publisher keeps the file's own order."""
    done = up.run("replay", file, "--no-interleave", "--publishers", 1, "--wait")
    assert done.code == 0
    listed = up.run("sessions", "list", "--all", "--json").json()["sessions"]
    own = [row["session_key"] for row in listed if row["session_key"].startswith(key)]
    assert own[::-1] == [f"{key}_{number}" for number in range(20)]


def test_a_bad_line_keeps_everything_from_being_published(up: UpWithCommands, file: Path) -> None:
    """The error has the line's number."""
    file.write_text(file.read_text() + '{"session": "x", "role": "user"}\n')
    before = up.run("status", "--json").json()["stream"]["last_id"]
    refused = up.run("replay", file)
    assert refused.code == 1
    assert "line 201" in refused.err
    assert up.run("status", "--json").json()["stream"]["last_id"] == before


def test_a_workspace_where_nothing_runs_is_said_so(file: Path, workspace: Path) -> None:
    """And what to do about it."""
    refused = turnstream("replay", file, workspace=workspace)
    assert refused.code == os.EX_CONFIG
    assert "turnstream up" in refused.err


def test_the_rate_spreads_the_calls() -> None:
    """A slow rate makes small calls, full speed full ones."""
    assert Pace(publishers=8, rate=None).batch == 100
    assert Pace(publishers=8, rate=1000).batch == 12
    assert Pace(publishers=8, rate=1).batch == 1


class _Said:
    """A meter that keeps what it is told."""

    def __init__(self) -> None:
        self.done = 0
        self.said: list[str] = []

    def advance(self, number: int) -> None:
        self.done += number

    def reach(self, number: int) -> None:
        self.done = number

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
async def own_redis(redis_choice: Choice) -> AsyncIterator[tuple[RedisClient, str]]:
    """A Redis whose memory limit a test may change."""
    with redis_server(redis_choice) as url:
        async with aclosing(connect(url)) as redis:
            yield redis, url


async def test_a_full_redis_is_waited_for(file: Path, own_redis: tuple[RedisClient, str]) -> None:
    """Nothing is lost, nothing comes twice, and one is told why it takes so long."""
    redis, url = own_redis
    stream = TurnStream(redis, url=url, prefix="t:")
    await redis.execute_command("CONFIG SET", "maxmemory", 1)
    meter = _Said()
    with TurnFile.opened(file) as turns:
        replaying = asyncio.create_task(replay(turns, stream, Pace(publishers=2), meter))
        await wait_until(lambda: meter.said)
        assert "memory limit" in meter.said[0]
        await redis.execute_command("CONFIG SET", "maxmemory", 0)
        last = await replaying
    assert meter.done == 200
    assert last is not None
    facts = await stream.facts()
    assert (facts.length, facts.last_id) == (200, last.stream_id)


def test_progress_is_told_in_lines_where_there_is_no_terminal() -> None:
    """A remark that repeats itself is told once."""
    output = Output(stream=io.StringIO())
    output.errors.file = io.StringIO()

    def report(meter: ProgressMeter) -> None:
        meter.say("waiting")
        meter.say("waiting")

    with shown_progress(output, "publishing", 10) as meter:
        report(meter)
    assert output.errors.file.getvalue() == "waiting\n"
