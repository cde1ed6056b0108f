"""Dead letters: the entries of the stream that could not be applied."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

import click

from cli.client import ApiClient, Json
from cli.commands.batches import change_each, check_choice, names_of_all, opened_api
from cli.commands.sessions import confirm
from cli.options import CliGroup, CommandContext, json_option, pass_context
from cli.output import Moment
from ingest.ids import new_id

_COLUMNS: Final = ("id", "reason", "session", "event_id", "size", "at")

_letters_argument = click.argument("letters", nargs=-1, metavar="[ID]...")
_all_option = click.option("--all", "everything", is_flag=True, help="Every dead letter.")


@click.group(cls=CliGroup)
def dead() -> None:
    """Look at dead letters, and replay or purge them.

    A dead letter is an entry of the stream that could not be applied: it cannot be read, breaks a
    bound, or has the id of another event. It is kept until it is replayed or purged.
    """


@dead.command("list", example="turnstream dead list")
@click.option("-n", "--limit", default=50, show_default=True, help="How many at most.")
@json_option
@pass_context
def list_letters(context: CommandContext, limit: int) -> None:
    """List the dead letters, the newest first."""
    with opened_api(context) as api:
        page = api.get("/api/dead-letters", limit=limit)
    letters = page["dead_letters"]
    if context.output.json:
        context.output.data(page)
    elif letters:
        for letter in letters:
            letter["at"] = Moment(letter["at"])
        context.output.table(
            _COLUMNS, ([letter.get(name) for name in _COLUMNS] for letter in letters)
        )
    else:
        context.output.note("no dead letters")


@dead.command("show", example="turnstream dead show 1763822905123-0-9f86d081884c")
@click.argument("letter", metavar="ID")
@json_option
@pass_context
def show(context: CommandContext, letter: str) -> None:
    """Show a dead letter and its fields."""
    with opened_api(context) as api:
        found = api.get(_path(letter))
    if context.output.json:
        context.output.data(found)
        return
    fields: list[str] = found.pop("fields", [])
    # The payload is what the fields were read from; where it cannot be read it is all there is.
    shown = {name: value for name, value in found.items() if not (fields and name == "payload")}
    context.output.facts(shown)
    for name, value in zip(fields[::2], fields[1::2], strict=False):
        context.output.line(f"  {name} = {value}")


@dead.command("replay", example="turnstream dead replay 1763822905123-0-9f86d081884c")
@_letters_argument
@_all_option
@json_option
@pass_context
def replay(context: CommandContext, letters: tuple[str, ...], everything: bool) -> int:
    """Apply dead letters as if they had just arrived, for example after an upgrade."""
    check_choice(letters, everything, "dead letters")
    return change_each(context, letters, _replay, every=_every, title="id")


@dead.command("purge", example="turnstream dead purge --all --yes")
@_letters_argument
@_all_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@pass_context
def purge(context: CommandContext, letters: tuple[str, ...], everything: bool, yes: bool) -> int:
    """Delete dead letters for good."""
    check_choice(letters, everything, "dead letters")
    confirm(
        yes, "Delete all dead letters?" if everything else "Delete these dead letters for good?"
    )
    return change_each(context, letters, _purge, every=_every, title="id")


def _every(api: ApiClient) -> list[str]:
    return names_of_all(api, "/api/dead-letters", "dead_letters", "id")


def _replay(api: ApiClient, letter: str) -> Json:
    return api.post(f"{_path(letter)}/replay", event_id=new_id())


def _purge(api: ApiClient, letter: str) -> Json:
    return api.delete(_path(letter), event_id=new_id())


def _path(letter: str) -> str:
    return f"/api/dead-letters/{quote(letter, safe='')}"
