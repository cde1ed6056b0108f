"""Commands that do the same to each of some things, or to all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import click

from cli.client import ApiClient, Json
from cli.options import CommandContext
from cli.system import TargetSystem
from sessions.errors import Retryable, SessionError

# Things in a page, the most that the API gives.
_PAGE: Final = 1000


def opened_api(context: CommandContext) -> ApiClient:
    """The API of the system that the command is about."""
    return ApiClient(TargetSystem.find(context.settings, context.environ))


def check_choice(names: Sequence[str], everything: bool, noun: str) -> None:
    """Refuse both names and `--all`, and neither."""
    if bool(names) == everything:
        raise click.UsageError(f"name the {noun}, or give --all")


def change_each(
    context: CommandContext,
    names: Sequence[str],
    change: Callable[[ApiClient, str], Json],
    *,
    every: Callable[[ApiClient], Sequence[str]],
    title: str,
) -> int:
    """Change these, or `every` one, and print what came of it; 1 if one of them refused."""
    with opened_api(context) as api:
        answers = {name: _tried(api, name, change) for name in names or every(api)}
    if context.output.json:
        context.output.data(answers)
    else:
        rows = [(name, answer.get("error") or "done") for name, answer in answers.items()]
        context.output.table([title, "result"], rows)
    return 1 if any("error" in answer for answer in answers.values()) else 0


def names_of_all(api: ApiClient, path: str, items: str, name: str) -> list[str]:
    """The names of everything that a list has, read before any of it is changed."""
    found: list[str] = []
    cursor: str | None = None
    while True:
        page = api.get(path, limit=_PAGE, cursor=cursor)
        found.extend(item[name] for item in page[items])
        cursor = page.get("next_cursor")
        if cursor is None:
            return found


def _tried(api: ApiClient, name: str, change: Callable[[ApiClient, str], Json]) -> Json:
    """The answer for one of them; a refusal of one does not keep the others."""
    try:
        return change(api, name)
    except Retryable:
        raise
    except SessionError as error:
        return {"error": str(error)}
