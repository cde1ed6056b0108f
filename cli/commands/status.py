"""`status`: how far the system is."""

from __future__ import annotations

import os

import click

from cli.options import CliCommand, CommandContext, json_option, pass_context
from cli.output import counted
from cli.status import Status, StoreStatus, StreamStatus, look_at
from cli.system import TargetSystem
from cli.tasks import run


@click.command(cls=CliCommand, example="turnstream status --json")
@json_option
@pass_context
def status(context: CommandContext) -> int:
    """Show whether all is well, and how far the worker is.

    The exit code is 0 if the system is ready, otherwise 75.
    """
    found = run(look_at(TargetSystem.find(context.settings, context.environ)))
    if context.output.json:
        context.output.data(found.as_json())
    else:
        context.output.facts(_lines(found))
    return 0 if found.web.ready else os.EX_TEMPFAIL


def _lines(found: Status) -> dict[str, str]:
    web = found.web
    lines = {"web": f"ready on {web.url}" if web.ready else f"not ready: {web.problem}"}
    if found.store is not None:
        lines |= _store_lines(found.store)
    if found.stream is not None:
        lines |= _stream_lines(found.stream)
    lines |= {f"other store {number}": text for number, text in enumerate(found.others, start=1)}
    return lines | {name: f"unknown: {problem}" for name, problem in found.problems.items()}


def _store_lines(store: StoreStatus) -> dict[str, str]:
    holds = {
        "session": store.sessions,
        "message": store.messages,
        "dead letter": store.dead_letters,
    }
    return {
        "leader": f"{store.leader or 'nobody leads'} (epoch {store.lease_epoch})",
        "store": f"{store.backend} {store.store_id or 'not made yet'}",
        "holds": ", ".join(counted(number, noun) for noun, number in holds.items()),
        "position": store.position,
    }


def _stream_lines(stream: StreamStatus) -> dict[str, str]:
    limit = f" of {_mebibytes(stream.memory_limit)}" if stream.memory_limit else ""
    return {
        "backlog": _backlog_text(stream),
        "stream": f"{counted(stream.length, 'entry')} kept, the last is {stream.last_id}",
        "redis": f"{_mebibytes(stream.memory_used)}{limit} of memory used",
        "replies": f"{stream.parked:,} parked, {stream.undelivered:,} undelivered",
        "standby": ", ".join(stream.standbys) or "nobody stands by",
    } | {f"accident {number}": text for number, text in enumerate(stream.accidents, start=1)}


def _backlog_text(stream: StreamStatus) -> str:
    if stream.backlog is None:
        return "unknown"
    age = "" if stream.backlog_age is None else f", the oldest {stream.backlog_age:.1f} s ago"
    return f"{counted(stream.backlog, 'entry')}{age}"


def _mebibytes(size: int) -> str:
    return f"{size / 1024 / 1024:,.1f} MiB"
