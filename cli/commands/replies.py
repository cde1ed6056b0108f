"""Replies that their platform has not taken."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

import click

from cli.client import ApiClient, Json
from cli.commands.batches import change_each, check_choice, names_of_all, opened_api
from cli.commands.sessions import confirm
from cli.options import CliGroup, CommandContext, json_option, pass_context
from cli.output import Moment

_COLUMNS: Final = ("turn", "state", "channel", "since", "last_error")

_turns_argument = click.argument("turns", nargs=-1, metavar="[TURN]...")
_all_option = click.option("--all", "everything", is_flag=True, help="Every reply.")


@click.group(cls=CliGroup)
def replies() -> None:
    """Look at replies that were not taken, and retry or drop them.

    A parked reply is tried again by itself. An undelivered one is not: its platform refused it, or
    did not take it within a day. It is kept until it is retried or dropped.
    """


@replies.command("list", example="turnstream replies list --state undelivered")
@click.option("-n", "--limit", default=50, show_default=True, help="How many at most.")
@click.option("--state", type=click.Choice(["parked", "undelivered"]), help="Only in this state.")
@click.option("--channel", help="Only those of this channel.")
@click.option("--session", help="Only those of this session.")
@json_option
@pass_context
def list_replies(
    context: CommandContext, limit: int, state: str | None, channel: str | None, session: str | None
) -> None:
    """List replies that were not taken, the oldest first."""
    with opened_api(context) as api:
        page = api.get("/api/replies", limit=limit, state=state, channel=channel, session=session)
    found = page["replies"]
    if context.output.json:
        context.output.data(page)
    elif found:
        for reply in found:
            reply["since"] = Moment(reply["since"])
        context.output.table(_COLUMNS, ([reply[name] for name in _COLUMNS] for reply in found))
    else:
        context.output.note("no replies wait, and none is undelivered")


@replies.command("retry", example="turnstream replies retry --all")
@_turns_argument
@_all_option
@json_option
@pass_context
def retry(context: CommandContext, turns: tuple[str, ...], everything: bool) -> int:
    """Have replies sent as soon as possible, in their order."""
    check_choice(turns, everything, "turns")
    return change_each(context, turns, _retry, every=_every, title="turn")


@replies.command("drop", example="turnstream replies drop tg:2a3be5f0b5cd62f87b3b08d4a1c9e2f7")
@_turns_argument
@_all_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@pass_context
def drop(context: CommandContext, turns: tuple[str, ...], everything: bool, yes: bool) -> int:
    """Send replies no more; their texts stay in their sessions."""
    check_choice(turns, everything, "turns")
    confirm(yes, "Drop all replies?" if everything else "Drop these replies for good?")
    return change_each(context, turns, _drop, every=_every, title="turn")


def _every(api: ApiClient) -> list[str]:
    return names_of_all(api, "/api/replies", "replies", "turn")


def _retry(api: ApiClient, turn: str) -> Json:
    return api.post(f"{_path(turn)}/retry")


def _drop(api: ApiClient, turn: str) -> Json:
    return api.delete(_path(turn))


def _path(turn: str) -> str:
    return f"/api/replies/{quote(turn, safe='')}"
