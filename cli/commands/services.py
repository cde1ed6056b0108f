"""`up`, and the services one by one."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from cli.client import ApiClient
from cli.options import CliCommand, CommandContext, pass_context
from cli.supervision.child import Child, python_module
from cli.supervision.console import console_of
from cli.supervision.running import make_workspace
from cli.supervision.stack_secrets import make_stack_secrets
from cli.supervision.supervisor import StopRequest, supervise
from cli.supervision.up import up as run_up
from cli.system import TargetSystem
from cli.tasks import run
from sessions.process.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])

_adopt_option = click.option(
    "--adopt-stream", is_flag=True, help="Take over a stream that belongs to another store."
)
_redis_option = click.option(
    "--redis-url", metavar="URL", help="Use this Redis.  [default: REDIS_URL]"
)


def _listening(function: F) -> F:
    """The options of a service that listens."""
    host = click.option("--host", metavar="HOST", help="The address to use.  [default: 127.0.0.1]")
    port = click.option(
        "--port", metavar="PORT", type=click.IntRange(0, 65535), help="[default: 42617]"
    )
    return host(port(function))


@click.command(cls=CliCommand, example="turnstream up --workspace ~/agent --port 8080")
@_listening
@_redis_option
@_adopt_option
@pass_context
def up(
    context: CommandContext,
    host: str | None,
    port: int | None,
    redis_url: str | None,
    adopt_stream: bool,
) -> int:
    """Start everything on this machine, behind one port.

    That is a worker, ingest and api in one web process, and, without REDIS_URL, a Redis of its own:
    redis-server or valkey-server from PATH, else the one that came with the package. Prints what it
    started and what to try. Ctrl-C ends all of it in order.
    """
    settings = _with(context.settings, host=host, port=port, redis_url=redis_url)
    configuration = context.configuration._replace(settings=settings)
    return run_up(configuration, context.environ, adopt=adopt_stream)


@click.command(cls=CliCommand, example="REDIS_URL=redis://redis:6379/0 turnstream worker")
@_redis_option
@_adopt_option
@click.option(
    "--make-secrets",
    metavar="DIRECTORY",
    type=click.Path(path_type=Path, file_okay=False),
    help="Make Redis' users and ingest's token there first, as the compose file needs them.",
)
@pass_context
def worker(
    context: CommandContext, redis_url: str | None, adopt_stream: bool, make_secrets: Path | None
) -> int:
    """Run one worker, and start it again when it dies or hangs.

    The first one on a store leads, any further one is a hot standby. Without --redis-url it joins
    the `up` of its workspace, else it takes REDIS_URL.
    """
    if make_secrets is not None:
        run(make_stack_secrets(make_secrets, context.settings))
    system = TargetSystem.find(_with(context.settings, redis_url=redis_url), context.environ)
    url = redis_url or system.required_redis_url()
    make_workspace(system.settings.workspace)
    arguments = ["--adopt-stream"] if adopt_stream else []
    child = Child("worker", python_module("worker", *arguments), watched=True)
    environ = {**context.environ, **_variables(context, system.settings, url)}
    return run(_supervise(child, environ, form=system.settings.turnstream.log_format))


async def _supervise(child: Child, environ: dict[str, str], *, form: str) -> int:
    stop = StopRequest()
    with stop.on_signals():
        log = console_of(form, sys.stdout, [child.name], title="turnstream")
        return await supervise([child], environ=environ, log=log, stop=stop)


@click.command(cls=CliCommand, example="turnstream api --host 0.0.0.0 --port 42617")
@_listening
@_redis_option
@pass_context
def api(
    context: CommandContext, host: str | None, port: int | None, redis_url: str | None
) -> NoReturn:
    """Run the api, which answers the session tools.

    It reads the store in the workspace, and publishes the changes of its callers.
    """
    _become("api", context, _with(context.settings, host=host, port=port, redis_url=redis_url))


@click.command(cls=CliCommand, example="TURNSTREAM_API_URL=http://api:42617 turnstream ingest")
@_listening
@_redis_option
@pass_context
def ingest(
    context: CommandContext, host: str | None, port: int | None, redis_url: str | None
) -> NoReturn:
    """Run ingest, which takes messages in and publishes turns.

    Any number of them may run. It needs Redis (REDIS_URL) and an api (TURNSTREAM_API_URL). Without
    TURNSTREAM_TOKEN the api must run already: the workspace's own token is shown only to an api
    that serves the workspace's store.
    """
    _become("ingest", context, _with(context.settings, host=host, port=port, redis_url=redis_url))


def _with(settings: Settings, **given: object) -> Settings:
    return settings.replace(**{name: value for name, value in given.items() if value is not None})


def _become(module: str, context: CommandContext, settings: Settings) -> NoReturn:
    """Turn this process into the service, which reads its settings by itself."""
    system = TargetSystem.find(settings, context.environ)
    variables = _variables(context, system.settings, settings.redis_url or system.redis_url)
    if system.running is not None:
        variables["TURNSTREAM_API_URL"] = system.running.url
    if module == "ingest" and system.token is not None and system.api_url is not None:
        with ApiClient(system) as api:
            api.make_sure()
        if not context.environ.get("TURNSTREAM_TOKEN_FILE"):  # which is read again later
            variables["TURNSTREAM_TOKEN"] = system.token
    argv = python_module(module)
    os.execve(argv[0], argv, {**context.environ, **variables})


def _variables(
    context: CommandContext, settings: Settings, redis_url: str | None
) -> dict[str, str]:
    """The options of this command as the variables that a service reads."""
    named: dict[str, str | int | Path | None] = {
        "TURNSTREAM_WORKSPACE": settings.workspace,
        "TURNSTREAM_HOST": settings.gateway.host,
        "TURNSTREAM_PORT": settings.gateway.port,
        "TURNSTREAM_REDIS_URL": redis_url,
        "TURNSTREAM_SESSION_BACKEND": settings.channels.session_backend,
        "TURNSTREAM_PREFIX": settings.turnstream.prefix,
        "TURNSTREAM_CONFIG": context.settings_file,
    }
    return {name: str(value) for name, value in named.items() if value is not None}
