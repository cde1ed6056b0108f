"""`replay`: publish a file of turns."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import click

from cli.client import ApiClient
from cli.options import CliCommand, CommandContext, json_option, pass_context
from cli.output import counted
from cli.progress import shown_progress
from cli.stores.replay import Pace
from cli.stores.replay import replay as publish_all
from cli.stores.turnfile import TurnFile
from cli.system import TargetSystem
from cli.tasks import run
from sessions.errors import SessionError
from sessions.models import Position


@click.command(cls=CliCommand, example="turnstream replay dialogues.jsonl.gz --rate 1000 --wait")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--publishers",
    default=8,
    show_default=True,
    help="How many publish at a time.",
    type=click.IntRange(1, 256),
)
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="Turns a second in all.")
@click.option(
    "--interleave/--no-interleave",
    default=True,
    help="Publish many sessions at a time (the default), or one after another.",
)
@click.option("--wait", is_flag=True, help="Wait until the worker has applied all of it.")
@click.option("--timeout", default=600.0, show_default=True, help="Seconds to wait with --wait.")
@json_option
@pass_context
def replay(
    context: CommandContext,
    file: Path,
    publishers: int,
    rate: float | None,
    interleave: bool,
    wait: bool,
    timeout: float,
) -> None:
    """Publish a file of turns.

    The file is .jsonl or .jsonl.gz, each line an object with session, role and content. It is
    checked as a whole before anything is published. The ids are made of its content and the line
    numbers, so that a replay that is repeated, or was interrupted, has no second effect. A
    session's turns are published in the file's order.
    """
    system = TargetSystem.find(context.settings, context.environ)
    system.required_redis_url()
    if wait:
        with ApiClient(system) as api:
            api.make_sure()  # before anything is published whose outcome nobody could tell
    pace = Pace(publishers, rate, Pace.open_sessions if interleave else publishers)
    with checked_file(context, file) as turns:
        began = time.monotonic()
        last = _publish_all(context, system, turns, pace)
        summary = _summary(file, turns, time.monotonic() - began)
    if wait and last is not None:
        with ApiClient(system) as api:
            api.outcome(last.event_id, patience=timeout)
        summary["applied_after"] = round(time.monotonic() - began, 3)
    _print(context, summary)


@contextlib.contextmanager
def checked_file(context: CommandContext, path: Path) -> Generator[TurnFile]:
    """The file of turns, checked; on a terminal one sees how far that is."""
    with contextlib.ExitStack() as stack:
        with shown_progress(context.output, "checking", None) as meter:
            file = stack.enter_context(
                TurnFile.opened(
                    path,
                    max_content=context.settings.turnstream.max_content_bytes,
                    on_progress=meter.reach,
                )
            )
        yield file


def _publish_all(
    context: CommandContext, system: TargetSystem, file: TurnFile, pace: Pace
) -> Position | None:
    try:
        return run(_publish(context, system, file, pace))
    except (KeyboardInterrupt, SessionError):
        context.output.note("not finished: the same command goes on, and repeats nothing")
        raise


async def _publish(
    context: CommandContext, system: TargetSystem, file: TurnFile, pace: Pace
) -> Position | None:
    async with system.stream() as stream:
        with shown_progress(context.output, "publishing", file.turns) as meter:
            return await publish_all(file, stream, pace, meter)


def _summary(path: Path, file: TurnFile, seconds: float) -> dict[str, Any]:
    return {
        "file": str(path),
        "sha256": file.digest,
        "sessions": len(file.sessions),
        "turns": file.turns,
        "seconds": round(seconds, 3),
        "per_second": round(file.turns / max(seconds, 0.001)),
    }


def _print(context: CommandContext, summary: dict[str, Any]) -> None:
    if context.output.json:
        context.output.data(summary)
        return
    context.output.line(
        f"published {counted(summary['turns'], 'turn')} of "
        f"{counted(summary['sessions'], 'session')} "
        f"in {summary['seconds']:.1f} s ({summary['per_second']:,} a second)"
    )
    if "applied_after" in summary:
        context.output.line(f"all of it was applied after {summary['applied_after']:.1f} s")
