"""Publishing by hand, and where to publish to."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from contextlib import ExitStack

import click

from cli.addresses import redis_cli_arguments
from cli.client import ApiClient
from cli.options import CliCommand, CommandContext, json_option, pass_context
from cli.system import TargetSystem
from cli.tasks import run
from ingest.ids import new_id
from sessions import wire
from sessions.errors import InvalidEvent, SessionError
from sessions.models import Event, Position

_FIELDS = ("v", *Event._fields)


@click.command(
    cls=CliCommand, example="turnstream publish session=telegram_home_42 role=user content='hello'"
)
@click.argument("fields", nargs=-1, required=True, metavar="FIELD=VALUE...")
@click.option("--wait", is_flag=True, help="Wait until the event has its outcome.")
@click.option("--timeout", default=10.0, show_default=True, help="Seconds to wait with --wait.")
@json_option
@pass_context
def publish(context: CommandContext, fields: tuple[str, ...], wait: bool, timeout: float) -> int:
    """Publish one event to the stream.

    Prints its id and its position. The fields are those of the stream contract. Left out, v is 1,
    type is append, and id is a new one; publishing an id again has no second effect. With --wait
    an event that becomes a dead letter is an error, also one whose id was used for another event.
    """
    system = TargetSystem.find(context.settings, context.environ)
    event = _event(fields, context.settings.turnstream.max_content_bytes)
    with ExitStack() as stack:
        api = stack.enter_context(ApiClient(system)) if wait else None
        if api is not None:
            api.make_sure()  # before anything is published whose outcome nobody could tell
        position = run(_publish(system, event))
        answer: dict[str, object] = {"id": event.id, "position": str(position)}
        if api is not None:
            outcome = api.outcome(event.id, patience=timeout, entry=str(position), by=event.by)
            answer |= {"outcome": outcome.get("outcome"), "reason": outcome.get("reason")}
    if context.output.json:
        context.output.data(answer)
    else:
        context.output.line(" ".join(str(value) for value in answer.values() if value is not None))
    return 1 if answer.get("outcome") == "dead" else 0


@click.command(
    cls=CliCommand, example="redis-cli $(turnstream redis-url --cli) XLEN turnstream:turns"
)
@click.option("--cli", is_flag=True, help="Print the arguments by which redis-cli connects.")
@pass_context
def redis_url(context: CommandContext, cli: bool) -> None:
    """Print the URL of the Redis in use, and nothing else."""
    url = TargetSystem.find(context.settings, context.environ).required_redis_url()
    context.output.line(shlex.join(redis_cli_arguments(url)) if cli else url)


async def _publish(system: TargetSystem, event: Event) -> Position:
    async with system.stream() as stream:
        [position] = await stream.publish([event])
    return position


def _event(pairs: Iterable[str], max_content: int) -> Event:
    """The event that the arguments describe; raises SessionError that names the bad one."""
    fields = {"v": wire.VERSION, "id": new_id(), "type": "append"}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or name not in _FIELDS:
            raise SessionError(f"{pair!r} is not FIELD=VALUE with a field of {', '.join(_FIELDS)}")
        fields[name] = value
    try:
        return wire.parse(fields, max_content=max_content)
    except InvalidEvent as error:
        raise SessionError(f"nothing was published: {error.detail}") from None
