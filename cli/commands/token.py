"""Bearer tokens of the workspace; the API reads their file again when it has changed."""

from __future__ import annotations

import click

from cli.options import Edge, Group, json_option, pass_edge
from sessions.errors import SessionError
from sessions.tokens import TokenScope, create_token, list_tokens, revoke_token

_COLUMNS = ("id", "scope", "agent", "created_at", "note")


@click.group(cls=Group)
def token() -> None:
    """Make, list and revoke tokens for the API.

    The tokens are those of the workspace; what is changed here takes effect with the next call.
    """


@token.command("list", example="turnstream token list")
@json_option
@pass_edge
def list_all(edge: Edge) -> None:
    """List the tokens; of a token itself only a hash is kept."""
    entries = list_tokens(edge.settings.workspace)
    if edge.output.json:
        edge.output.data({"tokens": [entry.model_dump(exclude={"sha256"}) for entry in entries]})
    elif entries:
        rows = ([getattr(entry, name) for name in _COLUMNS] for entry in entries)
        edge.output.table(_COLUMNS, rows)
    else:
        edge.output.note("no tokens")


@token.command("create", example="turnstream token create --agent main --scope send")
@click.option("--agent", help="The agent that the token belongs to; none for the scope admin.")
@click.option(
    "--scope",
    type=click.Choice([scope.value for scope in TokenScope]),
    default=TokenScope.SEND.value,
    show_default=True,
    help="What it may do; each scope holds those before it.",
)
@click.option("--note", default="", help="What it is for.")
@json_option
@pass_edge
def create(edge: Edge, agent: str | None, scope: str, note: str) -> None:
    """Make a token and print it, the only time that it can be seen."""
    text, entry = create_token(
        edge.settings.workspace, scope=TokenScope(scope), agent=agent, note=note
    )
    if edge.output.json:
        edge.output.data({"id": entry.id, "scope": entry.scope, "agent": agent, "token": text})
    else:
        edge.output.line(text)


@token.command("revoke", example="turnstream token revoke 1f0c93ab")
@click.argument("token_id", metavar="ID")
@json_option
@pass_edge
def revoke(edge: Edge, token_id: str) -> None:
    """Make a token worthless at once; the ID is the one that `list` shows."""
    if not revoke_token(edge.settings.workspace, token_id):
        raise SessionError(f"there is no token {token_id}; `turnstream token list` shows them")
    if edge.output.json:
        edge.output.data({"id": token_id, "revoked": True})
    else:
        edge.output.line(f"{token_id} is revoked")
