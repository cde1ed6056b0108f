"""`move`: the store of one backend becomes that of another."""

from __future__ import annotations

from typing import Any

import click

from cli.commands.backend_setting import chosen_backend
from cli.options import CliCommand, CommandContext, json_option, pass_context
from cli.progress import shown_progress
from cli.system import TargetSystem
from cli.tasks import run
from sessions.errors import ConfigError
from sessions.process.settings import BACKENDS
from sessions.store.factory import local_store
from sessions.transfer.moving import MovedStore, abandon_move, move_store


@click.command(cls=CliCommand, example="turnstream move --to jsonl")
@click.option(
    "--to",
    "target",
    type=click.Choice(BACKENDS),
    required=True,
    help="The backend that has the sessions afterwards.",
)
@click.option(
    "--abandon", is_flag=True, help="Remove what an interrupted move to it has copied, instead."
)
@json_option
@pass_context
def move(context: CommandContext, target: str, abandon: bool) -> int:
    """Move the store to another backend.

    The system may go on meanwhile: the store is copied, then the copy follows the stream. At the
    end the worker is stopped, and the old store gives up its place. Ids, positions and outcomes
    stay valid. Then start the system again with the new backend.

    If it is interrupted, start it again: it goes on.
    """
    system = TargetSystem.find(context.settings, context.environ)
    if not system.is_local:
        raise ConfigError("TURNSTREAM_API_URL names a system elsewhere: move its store there")
    workspace = system.settings.workspace
    source = _source(system, target)
    if abandon:
        done = abandon_move(workspace, source, target)
        context.output.line("removed" if done else f"there is no interrupted move to {target}")
        return 0
    with shown_progress(context.output, "copying messages", None) as meter:
        moved = run(
            move_store(
                workspace,
                source,
                target,
                stream=system.stream,
                meter=meter,
                max_content=system.settings.turnstream.max_content_bytes,
            )
        )
    _print(context, moved, chosen_backend(context, workspace, target))
    return 0


def _source(system: TargetSystem, target: str) -> str:
    """The backend to move from: the one in use or, if that is the target, one with a store."""
    configured = system.settings.channels.session_backend
    if configured != target:
        return configured
    for backend in BACKENDS:
        store = local_store(system.settings.workspace, backend)
        if backend != target and store is not None and store.path.exists():
            return backend
    raise ConfigError(f"the store of {system.settings.workspace} is {target} already")


def _print(context: CommandContext, moved: MovedStore, advice: str) -> None:
    output = context.output
    if output.json:
        data: dict[str, Any] = {
            "source": moved.source,
            "target": moved.target,
            "kept": str(moved.kept),
            "counts": {
                name: {moved.source: old, moved.target: new}
                for name, (old, new) in moved.counts.items()
            },
            "next": advice,
        }
        output.data(data)
        return
    if moved.counts:
        named = {"events": "outcomes"}
        rows = [
            (named.get(name, name.replace("_", " ")), *numbers)
            for name, numbers in moved.counts.items()
        ]
        output.table(["what", moved.source, moved.target], rows)
    output.line(f"the store is {moved.target} now; the old one's files are in {moved.kept}")
    output.line(advice)
