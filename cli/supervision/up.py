"""`turnstream up`: everything on one machine, as children of one supervisor.

First what can be wrong is looked at: the workspace, its lock, the port, Redis. Only then anything
is started.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import socket
import sys
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from cli.addresses import local_url, redis_cli_arguments
from cli.supervision.child import Child, python_module
from cli.supervision.console import console_of
from cli.supervision.embedded_redis import EmbeddedRedis, RedisProgram, find_server
from cli.supervision.running import UpRecord, WorkspaceLock, make_workspace
from cli.supervision.supervisor import StopRequest, supervise
from cli.tasks import run
from sessions import make_session_backend, times
from sessions.access.tokens import TOKEN_FILE, ensure_admin_token
from sessions.errors import ConfigError
from sessions.process.config.loading import Configuration
from sessions.process.config.summary import ANNOUNCED, agents_text, channels_text, file_text
from sessions.process.settings import Settings
from sessions.stream.redis import ERRORS, connect, explain, redacted


@dataclass(frozen=True)
class StartPlan:
    """All that is decided before the start. `server` and `redis` are None for a Redis of others."""

    configuration: Configuration
    record: UpRecord
    token: str
    server: RedisProgram | None
    redis: EmbeddedRedis | None
    adopt: bool

    @property
    def settings(self) -> Settings:
        """The settings of the configuration."""
        return self.configuration.settings


def up(configuration: Configuration, environ: Mapping[str, str], *, adopt: bool) -> int:
    """Run everything until it is stopped; the exit code.

    Raises ConfigError, AlreadyRunning or StreamUnavailable before anything is started.
    """
    settings = configuration.settings
    workspace = make_workspace(settings.workspace)
    make_session_backend(workspace, settings.channels.session_backend)
    with WorkspaceLock.held(workspace) as lock:
        lock.describe(pid=os.getpid())
        settings = settings.replace(port=free_port(settings.gateway.host, settings.gateway.port))
        plan = _prepare(configuration._replace(settings=settings), environ, adopt=adopt)
        lock.describe(pid=os.getpid(), url=plan.record.url, started_at=plan.record.started_at)
        try:
            return run(_keep(plan, environ))
        finally:
            plan.record.remove()


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


def _prepare(configuration: Configuration, environ: Mapping[str, str], *, adopt: bool) -> StartPlan:
    settings = configuration.settings
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
    record = UpRecord(
        pid=os.getpid(),
        url=local_url(settings),
        redis_url=redis.url if redis is not None else settings.redis_url or "",
        workspace=str(workspace),
        backend=settings.channels.session_backend,
        prefix=settings.turnstream.prefix,
        started_at=times.render(times.now()),
    )
    token = ensure_admin_token(workspace)
    return StartPlan(configuration, record, token, server, redis, adopt)


async def _reach(url: str) -> None:
    """Raise the error that explains it where Redis cannot be used."""
    async with aclosing(connect(url)) as client:
        try:
            await client.execute_command("PING")
        except ERRORS as error:
            raise explain(error, url) from error


async def _keep(plan: StartPlan, environ: Mapping[str, str]) -> int:
    """Start the children, say so, and keep them until the end."""
    children = _children(plan)
    form = plan.settings.turnstream.log_format
    console = console_of(form, sys.stdout, [child.name for child in children])
    stop = StopRequest()

    async def on_ready() -> None:
        plan.record.write()
        if form == "json":
            console.note(f"turnstream is ready on {plan.record.url}")
            return
        # Nobody may read it any more (`| head`): that is no reason to end.
        with contextlib.suppress(OSError):
            print(welcome(plan, show_token=sys.stdout.isatty()), flush=True)

    for notice in plan.configuration.notices:
        console.note(str(notice))
    with stop.on_signals():
        return await supervise(
            children,
            environ={**environ, **_variables(plan)},
            log=console,
            stop=stop,
            on_ready=on_ready,
        )


def _children(plan: StartPlan) -> list[Child]:
    """What is started, in this order; it ends in the opposite one: ingest, worker, Redis."""
    adopt = ("--adopt-stream",) if plan.adopt else ()
    services = [
        Child("worker", python_module("worker", *adopt), watched=True),
        Child("web", python_module("cli.supervision.web"), watched=True),
    ]
    return services if plan.redis is None else [plan.redis.child(), *services]


def _variables(plan: StartPlan) -> dict[str, str]:
    """The settings that were decided here, for the children."""
    variables = {
        "TURNSTREAM_WORKSPACE": str(plan.settings.workspace),
        "TURNSTREAM_REDIS_URL": plan.record.redis_url,
        "TURNSTREAM_HOST": plan.settings.gateway.host,
        "TURNSTREAM_PORT": str(plan.settings.gateway.port),
        "TURNSTREAM_API_URL": plan.record.url,
        ANNOUNCED: "1",
    }
    if plan.configuration.file is not None:
        variables["TURNSTREAM_CONFIG"] = str(plan.configuration.file)
    return variables


def welcome(plan: StartPlan, *, show_token: bool) -> str:
    """What a person is told when all is ready; the last line has `ready` and the URL.

    Without `show_token` it says only where the token is: what is no terminal may be kept.
    """
    record = plan.record
    workspace = shlex.quote(record.workspace)
    token_file = shlex.quote(str(Path(record.workspace, TOKEN_FILE)))
    token_told = f"the administrator's, in {token_file}"
    stream = shlex.quote(plan.settings.stream_key)
    command = own_command()
    return f"""
  sessions   {record.workspace} ({record.backend} backend)
  redis      {_redis_text(plan)}
  web        {record.url} (ingest and api in one process)
  agents     {agents_text(plan.settings)}
  channels   {channels_text(plan.settings)}
  settings   {file_text(plan.configuration)}
  token      {f"{plan.token} (admin; kept in {token_file})" if show_token else token_told}

  Try:
    {command} publish --workspace {workspace} session=telegram_home_42 role=user content=hello
    {command} sessions list --workspace {workspace}
    curl -H "Authorization: Bearer $(cat {token_file})" {record.url}/api/sessions

  Or publish with redis-cli, if you have it:
    {_redis_cli(plan, command)} XADD {stream} '*' v 1 id e1 type append \\
        session telegram_home_42 role user content hello

turnstream is ready on {record.url} (Ctrl-C stops it)"""


def own_command() -> str:
    """The command `turnstream` as a person can type it in this directory."""
    path = Path(sys.executable).with_name("turnstream")
    if not path.exists():
        return f"{shlex.quote(sys.executable)} -m cli"
    found = shutil.which("turnstream")
    if found is not None and path.samefile(found):
        return "turnstream"
    here = Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))


def _redis_cli(plan: StartPlan, command: str) -> str:
    """The redis-cli command; a URL of others is not shown, as it may hold a password."""
    if plan.redis is not None:
        return shlex.join(["redis-cli", *redis_cli_arguments(plan.record.redis_url)])
    workspace = shlex.quote(plan.record.workspace)
    return f"redis-cli $({command} redis-url --cli --workspace {workspace})"


def _redis_text(plan: StartPlan) -> str:
    if plan.redis is None or plan.server is None:
        return redacted(plan.record.redis_url)
    server = f"{Path(plan.server.path).name} {plan.server.version} ({plan.server.origin})"
    return f"{server}, on {plan.redis.socket_path}, data in {plan.redis.directory}"


__all__ = ["StartPlan", "free_port", "own_command", "up", "welcome"]
