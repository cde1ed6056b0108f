"""What `sessions owner` takes, and what it prints."""

from __future__ import annotations

import click

from cli.client import Json
from cli.options import CommandContext


def check_owner_usage(
    session: str | None, agent: str | None, *, nobody: bool, old: str | None, new: str | None
) -> None:
    """Raise UsageError unless the arguments say whose sessions go to whom."""
    if session is not None and old is not None:
        raise click.UsageError("name one session, or give --from, not both")
    if new is not None and old is None:
        raise click.UsageError("--to says who gets the sessions of --from: give both")
    heirs = [agent is not None, new is not None, nobody]
    changing = session is not None or old is not None
    if sum(heirs) != int(changing):
        what = "--to AGENT or --nobody" if old is not None else "SESSION with AGENT or --nobody"
        raise click.UsageError(f"give {what}, exactly one of the two")


def print_owners(context: CommandContext, found: Json) -> None:
    """Who owns how many sessions."""
    if context.output.json:
        context.output.data(found)
    elif found["owners"]:
        rows = [(row["agent"] or "(nobody)", row["sessions"]) for row in found["owners"]]
        context.output.table(["owner", "sessions"], rows)
    else:
        context.output.note("no sessions")


def print_owner_change(context: CommandContext, answer: Json, what: str, heir: str | None) -> None:
    """Whose the sessions are now."""
    if heir is not None and heir not in context.settings.agents:
        context.output.note(f"the settings that were read here have no [agents.{heir}]")
    if context.output.json:
        context.output.data(answer)
    elif answer["outcome"] == "pending":
        context.output.line("accepted; the worker has not applied it yet")
    else:
        context.output.line(f"{what}: now of {heir or 'nobody'}")
