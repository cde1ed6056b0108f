"""`export`, `import`, `backup` and `restore`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, Literal

import click

from cli.options import CliCommand, CommandContext, json_option, pass_context
from cli.output import counted
from cli.progress import shown_progress
from cli.stores.transfer import (
    STANDARD,
    bring_in,
    restore_backup,
    write_export,
    write_zeroclaw,
)
from cli.supervision.running import make_workspace
from cli.system import TargetSystem
from cli.tasks import run
from sessions import times
from sessions.process.settings import Settings
from sessions.transfer.records import Filter
from sessions.transfer.report import SourceReport

# Reasons, remarks and rows of a sort that are shown; --json shows all that were kept.
_SHOWN: Final = 10
# Places that are shown for each reason.
_PLACES: Final = 3
# Characters of a place or a remark. A key alone may have 512.
_LONG: Final = 200
_TITLES: Final = ("source", "sessions", "messages", "known", "set aside")


@click.command(cls=CliCommand, example="turnstream export sessions.jsonl.gz --agent main")
@click.argument("target", metavar="FILE|DIR", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "format_",
    type=click.Choice(["turnstream", "zeroclaw"]),
    default="turnstream",
    show_default=True,
    help="A file for `turnstream import`, or a workspace that ZeroClaw opens.",
)
@click.option(
    "--store",
    type=click.Choice(["sqlite", "jsonl"]),
    default="sqlite",
    show_default=True,
    help="Which of its stores a ZeroClaw workspace gets.",
)
@click.option("--session", "sessions", metavar="KEY", multiple=True, help="Only this session.")
@click.option("--agent", metavar="NAME", help="Only sessions of this agent.")
@click.option(
    "--since", metavar="TIME", help="Only messages from this time on (RFC 3339), and sessions."
)
@json_option
@pass_context
def export(
    context: CommandContext,
    target: Path,
    format_: Literal["turnstream", "zeroclaw"],
    store: Literal["sqlite", "jsonl"],
    sessions: Sequence[str],
    agent: str | None,
    since: str | None,
) -> int:
    """Write all sessions to a file, or to a workspace for ZeroClaw.

    The export is one moment of the store; everything may go on meanwhile. A FILE is compressed if
    its name ends with .gz; `-` is standard output. It holds messages, ids, outcomes, owners and
    dead letters. A DIR must hold no sessions yet.
    """
    settings = _settings(context)
    narrowed = _filter(sessions, agent, since)
    if format_ == "zeroclaw" and target == STANDARD:
        raise click.BadParameter("a workspace for ZeroClaw needs a DIR")
    with shown_progress(context.output, "exported", None) as meter:
        if format_ == "zeroclaw":
            written = run(write_zeroclaw(settings, target, store, narrowed, meter.advance))
            told: dict[str, Any] = written._asdict()
        else:
            told = dict(run(write_export(settings, target, narrowed, meter.advance, whole=False)))
    _tell(context, told, f"written to {target}", quiet=target == STANDARD)
    for key, name in told.get("renamed", {}).items():
        context.output.note(f"session {key} is in {name}, as its own name is taken or too long")
    return 0


@click.command(
    "import", cls=CliCommand, example="turnstream import ~/.zeroclaw/workspace --dry-run"
)
@click.argument("path", metavar="PATH", type=click.Path(path_type=Path, exists=True))
@click.option("--dry-run", is_flag=True, help="Only tell what would come in.")
@json_option
@pass_context
def import_(context: CommandContext, path: Path, dry_run: bool) -> int:
    """Bring sessions in: from an export, from another store, or from ZeroClaw.

    PATH is a file that `export` wrote, a turnstream.db or index.db of another store, a ZeroClaw
    workspace, or a sessions.db or session file in it. It is only read.

    Repeating an import brings in what is new. One that was interrupted goes on. A worker that runs
    waits meanwhile and then goes on by itself.
    """
    settings = _settings(context)
    if not dry_run:
        make_workspace(settings.workspace)
    with shown_progress(context.output, "looked at", None) as meter:
        reports = run(bring_in(settings, path, meter.advance, dry_run=dry_run))
    _print_reports(context, reports, dry_run=dry_run)
    return 0


@click.command(cls=CliCommand, example="turnstream backup turnstream-backup.jsonl.gz")
@click.argument("target", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False))
@json_option
@pass_context
def backup(context: CommandContext, target: Path) -> int:
    """Write a backup of the store, while everything runs.

    It is an export with the store's id and its place in the stream. So what the stream still holds
    beyond it is applied again after `restore`. `-` is standard output, for a backup out of a
    container: docker compose exec -T worker turnstream backup - > FILE.
    """
    with shown_progress(context.output, "saved", None) as meter:
        counts = run(write_export(_settings(context), target, None, meter.advance, whole=True))
    _tell(context, dict(counts), f"saved in {target}", quiet=target == STANDARD)
    return 0


@click.command(cls=CliCommand, example="turnstream restore turnstream-backup.jsonl.gz")
@click.argument("source", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False))
@json_option
@pass_context
def restore(context: CommandContext, source: Path) -> int:
    """Restore a backup into a workspace without sessions.

    `-` is standard input. Any backend will do, not only the one that the backup came from. A
    restore that was interrupted goes on if it is started again.
    """
    settings = _settings(context)
    make_workspace(settings.workspace)
    with shown_progress(context.output, "restored", None) as meter:
        report = run(restore_backup(settings, source, meter.advance))
    _print_reports(context, [report], dry_run=False)
    return 0


def _settings(context: CommandContext) -> Settings:
    return TargetSystem.find(context.settings, context.environ).settings


def _filter(sessions: Sequence[str], agent: str | None, since: str | None) -> Filter | None:
    if not sessions and agent is None and since is None:
        return None
    try:
        moment = times.parse(since) if since is not None else None
    except ValueError as error:
        raise click.BadParameter(f"{error}: for example 2026-01-31T00:00:00Z") from error
    keys = list(sessions) or None
    return Filter.model_construct(sessions=keys, agent=agent, since=moment)


def _tell(context: CommandContext, told: dict[str, Any], where: str, *, quiet: bool) -> None:
    """Say what was written; nothing on standard output if that is where it went."""
    numbers = {name: count for name, count in told.items() if isinstance(count, int)}
    text = ", ".join(f"{count:,} {_noun(name, count)}" for name, count in numbers.items() if count)
    if quiet:
        context.output.note(f"{text or 'nothing'} {where}")
    elif context.output.json:
        context.output.data(told)
    else:
        context.output.line(f"{text or 'nothing'} {where}")


def _noun(name: str, count: int) -> str:
    words = name.replace("_", " ")
    return words.removesuffix("s") if count == 1 else words


def _print_reports(
    context: CommandContext, reports: Sequence[SourceReport], *, dry_run: bool
) -> None:
    output = context.output
    if output.json:
        output.data({"dry_run": dry_run, "sources": [asdict(one) for one in reports]})
        return
    output.table(_TITLES, _rows(reports))
    _print_notes(context, reports)
    unchanged = [one.source for one in reports if one.unchanged]
    if unchanged:
        output.note(f"{counted(len(unchanged), 'source')} unchanged since the import before")
    messages = sum(one.messages for one in reports)
    would = "would come in" if dry_run else "came in"
    output.line(f"{counted(messages, 'message')} {would}")


def _rows(reports: Sequence[SourceReport]) -> list[tuple[object, ...]]:
    """A row for each source; many session files of one sort share theirs."""
    rows = [_row(one.source, [one]) for one in reports if one.kind != "jsonl"]
    files = [one for one in reports if one.kind == "jsonl"]
    for name, sort in (
        ("session files", [one for one in files if not one.aside]),
        ("session files with something set aside", [one for one in files if one.aside]),
    ):
        if len(sort) > _SHOWN:
            rows.append(_row(f"{len(sort):,} {name}", sort))
        else:
            rows += [_row(one.source, [one]) for one in sort]
    return rows


def _row(name: str, reports: Sequence[SourceReport]) -> tuple[object, ...]:
    columns = [(one.sessions, one.messages, one.known, one.aside) for one in reports]
    return (name, *map(sum, zip(*columns, strict=True)))


def _print_notes(context: CommandContext, reports: Sequence[SourceReport]) -> None:
    """What was set aside of all sources and why, and what else there is to know."""
    output = context.output
    reasons = Counter[str]()
    for one in reports:
        reasons.update(one.reasons)
    asides = [(one.source, aside) for one in reports for aside in one.examples]
    for reason, count in reasons.most_common(_SHOWN):
        places = dict.fromkeys(
            f"{source}, {_cut(aside.place)}" for source, aside in asides if aside.reason == reason
        )
        output.note(f"set aside {count:,}: {reason}")
        for place in [*places][:_PLACES]:
            output.note(f"  {place}")
        if len(places) > _PLACES:
            output.note("  and more (--json)")
    if len(reasons) > _SHOWN:
        output.note(f"set aside for {len(reasons) - _SHOWN:,} more reasons (--json)")
    kept = [Path(one.kept_in) for one in reports if one.kept_in is not None]
    if kept:
        place = kept[0] if len(kept) == 1 else kept[0].parent
        output.note(f"what could not be read is kept in {place}")
    remarks = [f"{one.source}, {_cut(remark)}" for one in reports for remark in one.remarks]
    for remark in remarks[:_SHOWN]:
        output.note(remark)
    if len(remarks) > _SHOWN:
        output.note(f"{len(remarks) - _SHOWN:,} more remarks (--json)")


def _cut(text: str) -> str:
    """The text, cut in the middle if a key makes it longer than a person reads."""
    return text if len(text) <= _LONG else f"{text[: _LONG // 2]}…{text[-_LONG // 2 :]}"
