"""`turnstream up`: everything on one machine, as children of one supervisor.

First what can be wrong is looked at: the workspace, its lock, the port, Redis. Only then anything
is started.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import socket
import sys
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from cli.addresses import local_url, redis_cli_arguments
from cli.supervision.child import Child, python_module
from cli.supervision.embedded_redis import EmbeddedRedis, Server, find_server
from cli.supervision.running import Running, WorkspaceLock, make_workspace
from cli.supervision.supervisor import Console, Stop, supervise
from cli.tasks import run
from sessions import make_session_backend, times
from sessions.access.tokens import TOKEN_FILE, ensure_admin_token
from sessions.errors import ConfigError
from sessions.process.settings import Settings
from sessions.stream.redis import ERRORS, connect, explain, redacted


@dataclass(frozen=True)
class House:
    """All that is decided before the start. `server` and `redis` are None for a Redis of others."""

    settings: Settings
    settings_file: Path | None
    record: Running
    token: str
    server: Server | None
    redis: EmbeddedRedis | None
    adopt: bool


def up(
    settings: Settings, environ: Mapping[str, str], *, settings_file: Path | None, adopt: bool
) -> int:
    """Run everything until it is stopped; the exit code.

    Raises ConfigError, AlreadyRunning or StreamUnavailable before anything is started.
    """
    workspace = make_workspace(settings.workspace)
    make_session_backend(workspace, settings.channels.session_backend)
    with WorkspaceLock.held(workspace) as lock:
        lock.describe(pid=os.getpid())
        settings = settings.replace(port=free_port(settings.gateway.host, settings.gateway.port))
        house = _prepare(settings, environ, settings_file=settings_file, adopt=adopt)
        lock.describe(pid=os.getpid(), url=house.record.url, started_at=house.record.started_at)
        try:
            return run(_keep(house, environ))
        finally:
            house.record.remove()


def free_port(host: str, port: int) -> int:
    """The port, if it is free on that host; with 0 one that is. Raises ConfigError."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            # As the web process will do: a connection of the former one that is not forgotten
            # yet does not keep the port.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            return probe.getsockname()[1]
    except OSError as error:
        raise ConfigError(
            f"cannot listen on port {port} of {host}: {error.strerror}; stop the "
            "program that uses it, or choose another with --port (0 takes any that is free)"
        ) from error


def _prepare(
    settings: Settings,
    environ: Mapping[str, str],
    *,
    settings_file: Path | None,
    adopt: bool,
) -> House:
    workspace = settings.workspace
    server, redis = None, None
    if settings.redis_url is None:
        server = find_server(environ.get("PATH"))
        redis = EmbeddedRedis.of(
            workspace,
            server,
            runtime_dir=environ.get("XDG_RUNTIME_DIR"),
            maxmemory=settings.turnstream.redis_maxmemory_mb * 1024 * 1024,
        )
    else:
        run(_reach(settings.redis_url))
    record = Running(
        pid=os.getpid(),
        url=local_url(settings),
        redis_url=redis.url if redis is not None else settings.redis_url or "",
        workspace=str(workspace),
        backend=settings.channels.session_backend,
        prefix=settings.turnstream.prefix,
        started_at=times.render(times.now()),
    )
    token = ensure_admin_token(workspace)
    return House(settings, settings_file, record, token, server, redis, adopt)


async def _reach(url: str) -> None:
    """Raise the error that explains it where Redis cannot be used."""
    async with aclosing(connect(url)) as client:
        try:
            await client.execute_command("PING")
        except ERRORS as error:
            raise explain(error, url) from error


async def _keep(house: House, environ: Mapping[str, str]) -> int:
    """Start the children, say so, and keep them until the end."""
    children = _children(house)
    stop = Stop()

    async def on_ready() -> None:
        house.record.write()
        # Nobody may read it any more (`| head`): that is no reason to end.
        with contextlib.suppress(OSError):
            print(welcome(house, show_token=sys.stdout.isatty()), flush=True)

    with stop.on_signals():
        return await supervise(
            children,
            environ={**environ, **_variables(house)},
            log=Console(sys.stdout, [child.name for child in children]),
            stop=stop,
            on_ready=on_ready,
        )


def _children(house: House) -> list[Child]:
    """What is started, in this order; it ends in the opposite one: ingest, worker, Redis."""
    adopt = ("--adopt-stream",) if house.adopt else ()
    services = [
        Child("worker", python_module("worker", *adopt), watched=True),
        Child("web", python_module("cli.supervision.web"), watched=True),
    ]
    return services if house.redis is None else [house.redis.child(), *services]


def _variables(house: House) -> dict[str, str]:
    """The settings that were decided here, for the children."""
    variables = {
        "TURNSTREAM_WORKSPACE": str(house.settings.workspace),
        "TURNSTREAM_REDIS_URL": house.record.redis_url,
        "TURNSTREAM_HOST": house.settings.gateway.host,
        "TURNSTREAM_PORT": str(house.settings.gateway.port),
        "TURNSTREAM_API_URL": house.record.url,
    }
    if house.settings_file is not None:
        variables["TURNSTREAM_CONFIG"] = str(house.settings_file)
    return variables


def welcome(house: House, *, show_token: bool) -> str:
    """What a person is told when all is ready; the last line has `ready` and the URL.

    Without `show_token` it says only where the token is: what is no terminal may be kept.
    """
    record = house.record
    workspace = shlex.quote(record.workspace)
    token_file = shlex.quote(str(Path(record.workspace, TOKEN_FILE)))
    token_told = f"the administrator's, in {token_file}"
    stream = shlex.quote(house.settings.stream_key)
    return f"""
  sessions   {record.workspace} ({record.backend} backend)
  redis      {_redis_text(house)}
  web        {record.url} (ingest and api in one process)
  token      {f"{house.token} (admin; kept in {token_file})" if show_token else token_told}

  Try:
    curl -H "Authorization: Bearer $(cat {token_file})" {record.url}/api/sessions
    {_redis_cli(house)} XADD {stream} '*' v 1 id e1 type append \\
        session telegram_home_42 role user content hello
    turnstream publish --workspace {workspace} session=telegram_home_42 role=user content=hello
    turnstream sessions list --workspace {workspace}

turnstream is ready on {record.url} (Ctrl-C stops it)"""


def _redis_cli(house: House) -> str:
    """The redis-cli command; a URL of others is not shown, as it may hold a password."""
    if house.redis is not None:
        return shlex.join(["redis-cli", *redis_cli_arguments(house.record.redis_url)])
    workspace = shlex.quote(house.record.workspace)
    return f"redis-cli $(turnstream redis-url --cli --workspace {workspace})"


def _redis_text(house: House) -> str:
    if house.redis is None or house.server is None:
        return redacted(house.record.redis_url)
    server = f"{Path(house.server.path).name} {house.server.version} ({house.server.origin})"
    return f"{server}, on {house.redis.socket_path}, data in {house.redis.directory}"


__all__ = ["House", "free_port", "up", "welcome"]
