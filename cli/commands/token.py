"""Bearer tokens of the workspace; the API reads their file again when it has changed."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import click

from cli.options import CliGroup, CommandContext, json_option, pass_context
from sessions.access.tokens import TokenScope, create_token, list_tokens, revoke_token
from sessions.errors import ConfigError, SessionError

_COLUMNS = ("id", "scope", "agent", "created_at", "note")


@click.group(cls=CliGroup)
def token() -> None:
    """Make, list and revoke tokens for the API.

    The tokens are those of the workspace; a change takes effect with the next call.
    """


def _required(context: CommandContext) -> None:
    workspace = context.settings.workspace
    if not workspace.is_dir():
        raise ConfigError(
            f"there is no workspace {workspace}: name another with --workspace; `turnstream up` "
            "makes one"
        )


@token.command("list", example="turnstream token list")
@json_option
@pass_context
def list_all(context: CommandContext) -> None:
    """List the tokens; of a token itself only a hash is kept."""
    _required(context)
    entries = list_tokens(context.settings.workspace)
    if context.output.json:
        context.output.data({"tokens": [entry.model_dump(exclude={"sha256"}) for entry in entries]})
    elif entries:
        rows = ([getattr(entry, name) for name in _COLUMNS] for entry in entries)
        context.output.table(_COLUMNS, rows)
    else:
        context.output.note("no tokens")


@token.command("create", example="turnstream token create --agent main --scope send")
@click.option("--agent", help="The agent that the token belongs to; for read and send only.")
@click.option(
    "--scope",
    type=click.Choice([scope.value for scope in TokenScope]),
    default=TokenScope.SEND.value,
    show_default=True,
    help="The rights of the token: send includes read, admin includes all.",
)
@click.option("--note", default="", help="The purpose of the token.")
@click.option(
    "--print", "printed", is_flag=True, help="Print the token although the output is no terminal."
)
@click.option(
    "--out",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the token to this new file, for you alone, instead of printing it.",
)
@json_option
@pass_context
def create(
    context: CommandContext,
    agent: str | None,
    scope: str,
    note: str,
    printed: bool,
    out: Path | None,
) -> None:
    """Make a token and print it, the only time that it can be seen.

    Give --print or --out if the output is no terminal: a log keeps all that it is shown.
    """
    if not (printed or out or context.output.may_show_secrets):
        raise click.UsageError(
            "the output is no terminal, so a log may keep the token: say --print to print it all "
            "the same, or --out FILE to have it in a new file"
        )
    with _new_file(out) as file:
        text, entry = create_token(
            context.settings.workspace, scope=TokenScope(scope), agent=agent, note=note
        )
        if file is not None:
            file.write(f"{text}\n")
    place = {"token": text} if out is None else {"file": str(out)}
    if context.output.json:
        context.output.data({"id": entry.id, "scope": entry.scope, "agent": agent, **place})
    else:
        context.output.line(text if out is None else f"{entry.id} is in {out}")


@contextmanager
def _new_file(path: Path | None) -> Generator[TextIO | None]:
    """The file, made for this user alone, and removed again where no token came to be."""
    if path is None:
        yield None
        return
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        raise SessionError(f"no token was made: cannot make {path}: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "w") as file:
            yield file
    except BaseException:
        # Ctrl-C too: half a token must not stay behind, nor keep its name from the next try.
        path.unlink(missing_ok=True)
        raise


@token.command("revoke", example="turnstream token revoke 1f0c93ab")
@click.argument("token_id", metavar="ID")
@json_option
@pass_context
def revoke(context: CommandContext, token_id: str) -> None:
    """Make a token worthless at once; the ID is the one that `list` shows."""
    _required(context)
    if not revoke_token(context.settings.workspace, token_id):
        raise SessionError(f"there is no token {token_id}; `turnstream token list` shows them")
    if context.output.json:
        context.output.data({"id": token_id, "revoked": True})
    else:
        context.output.line(f"{token_id} is revoked")
