"""Dead letters: the entries of the stream that could not be applied."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import quote

import click

from cli.client import ApiClient, Json
from cli.commands.sessions import confirm
from cli.options import CliGroup, CommandContext, json_option, pass_context
from cli.output import Moment
from cli.system import TargetSystem
from ingest.ids import new_id
from sessions.errors import Retryable, SessionError

_COLUMNS: Final = ("id", "reason", "session", "event_id", "size", "at")
# Letters in a page, the most that the API gives.
_PAGE: Final = 1000

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
    with _api(context) as api:
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
    with _api(context) as api:
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
    _check_choice(letters, everything)
    return _for_each(context, letters, _replay)


@dead.command("purge", example="turnstream dead purge --all --yes")
@_letters_argument
@_all_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@pass_context
def purge(context: CommandContext, letters: tuple[str, ...], everything: bool, yes: bool) -> int:
    """Delete dead letters for good."""
    _check_choice(letters, everything)
    confirm(
        yes, "Delete all dead letters?" if everything else "Delete these dead letters for good?"
    )
    return _for_each(context, letters, _purge)


def _check_choice(letters: Sequence[str], everything: bool) -> None:
    if bool(letters) == everything:
        raise click.UsageError("name the dead letters, or give --all")


def _for_each(
    context: CommandContext,
    letters: Sequence[str],
    change: Callable[[ApiClient, str], Json],
) -> int:
    """Change these letters, or all, and print what came of it; 1 where one refused."""
    with _api(context) as api:
        answers = {letter: _tried(api, letter, change) for letter in letters or _every(api)}
    if context.output.json:
        context.output.data(answers)
    else:
        rows = [(letter, answer.get("error") or "done") for letter, answer in answers.items()]
        context.output.table(["id", "result"], rows)
    return 1 if any("error" in answer for answer in answers.values()) else 0


def _every(api: ApiClient) -> list[str]:
    """The ids of all dead letters, read before any of them is changed."""
    found: list[str] = []
    cursor: str | None = None
    while True:
        page = api.get("/api/dead-letters", limit=_PAGE, cursor=cursor)
        found.extend(letter["id"] for letter in page["dead_letters"])
        cursor = page.get("next_cursor")
        if cursor is None:
            return found


def _tried(api: ApiClient, letter: str, change: Callable[[ApiClient, str], Json]) -> Json:
    """The answer for one letter; a refusal of one does not keep the others."""
    try:
        return change(api, letter)
    except Retryable:
        raise
    except SessionError as error:
        return {"error": str(error)}


def _replay(api: ApiClient, letter: str) -> Json:
    return api.post(f"{_path(letter)}/replay", event_id=new_id())


def _purge(api: ApiClient, letter: str) -> Json:
    return api.delete(_path(letter), event_id=new_id())


def _path(letter: str) -> str:
    return f"/api/dead-letters/{quote(letter, safe='')}"


def _api(context: CommandContext) -> ApiClient:
    return ApiClient(TargetSystem.find(context.settings, context.environ))
