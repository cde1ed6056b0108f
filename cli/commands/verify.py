"""`verify`: compare the store with a file, or with itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import click

from cli.client import ApiClient, Json
from cli.commands.replay import checked_file
from cli.options import CliCommand, CommandContext, json_option, pass_context
from cli.output import counted
from cli.progress import shown_progress
from cli.stores.turnfile import TurnFile
from cli.stores.upkeep import check_store, rebuild_index
from cli.stores.verify import FAULTS, PAGE, Comparison, MessageSource, StoredMessages, compare
from cli.system import TargetSystem
from cli.tasks import run
from sessions import make_session_backend, times
from sessions.errors import Retryable, SessionError, StoreBehind
from sessions.models import Message
from sessions.store.backend import SessionReader
from sessions.store.capabilities import Health, Rebuilt

# Seconds between two looks at how far the store is.
_PAUSE: Final = 0.05


@click.command(cls=CliCommand, example="turnstream verify --against dialogues.jsonl.gz")
@click.option(
    "--against",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file of turns, as `replay` takes it.",
)
@click.option("--timeout", default=60.0, show_default=True, help="Seconds to wait for the worker.")
@click.option(
    "--rebuild-index", "rebuild", is_flag=True, help="Make the index of a jsonl store again."
)
@json_option
@pass_context
def verify(context: CommandContext, against: Path | None, timeout: float, rebuild: bool) -> int:
    """Check the store, against a file of turns or against itself.

    With --against every session of the file is compared with the store, turn by turn and in order,
    once the worker has applied the whole stream. Further turns in the store are counted and are no
    fault. The exit code is 0 only if nothing is lost, duplicated, reordered or changed.

    With --rebuild-index the files of a jsonl store are taken as they are, and the old index is set
    aside.
    """
    system = TargetSystem.find(context.settings, context.environ)
    if rebuild:
        _print_rebuilt(context, run(rebuild_index(system.settings)))
        return 0
    if against is None:
        health = check_store(system.settings)
        _print_health(context, health)
        return 0 if health.sound else 1
    with checked_file(context, against) as file:
        report = run(_compare(context, system, file, timeout))
    _print_report(context, report)
    return 0 if report.agrees else 1


def _print_rebuilt(context: CommandContext, rebuilt: Rebuilt) -> None:
    output = context.output
    if output.json:
        output.data(asdict(rebuilt))
        return
    output.line(
        f"indexed {counted(rebuilt.messages, 'message')} of {counted(rebuilt.sessions, 'session')}"
    )
    if not rebuilt.remembered:
        output.note(
            "the old index could not be read: outcomes and dead letters are lost, and the worker "
            "has to be started once with --adopt-stream"
        )
    for place in rebuilt.skipped:
        output.note(f"no message: {place}")
    for file in rebuilt.left:
        output.note(f"left as it is: {file}")
    for key in rebuilt.unowned:
        output.note(f"nobody's now, as its meta files name two owners: {key}")


async def _compare(
    context: CommandContext, system: TargetSystem, file: TurnFile, patience: float
) -> Comparison:
    async with _messages(context, system, patience) as messages:
        with shown_progress(context.output, "comparing", file.turns) as meter:
            return await compare(file, messages, meter.reach)


@asynccontextmanager
async def _messages(
    context: CommandContext, system: TargetSystem, patience: float
) -> AsyncGenerator[MessageSource]:
    """The stored messages: from the store where it is here, else from the API."""
    if not system.is_local:
        with ApiClient(system) as api:
            api.catch_up(patience=patience)
            yield _ApiMessages(api)
        return
    settings = system.settings
    async with make_session_backend(
        settings.workspace, settings.channels.session_backend
    ) as backend:
        await _catch_up(context, system, backend, patience)
        if await backend.store_id() is None:
            raise SessionError(f"there is no store in {settings.workspace} yet")
        yield StoredMessages(backend)


async def _catch_up(
    context: CommandContext, system: TargetSystem, reader: SessionReader, patience: float
) -> None:
    """Wait until the store has applied what is on the stream now; only told where Redis is away."""
    if system.redis_url is None:
        context.output.note("no Redis is known: comparing with the store as it is")
        return
    async with system.stream() as stream:
        try:
            goal = (await stream.facts()).newest_id
        except Retryable as error:
            context.output.note(f"comparing with the store as it is: {error}")
            return
    deadline = time.monotonic() + patience
    while (await reader.cursor()).applied < goal:
        if time.monotonic() > deadline:
            raise StoreBehind(
                f"the worker has not applied {goal} of the stream within {patience:g} s; "
                "`turnstream status` tells how far it is",
                lag=None,
            )
        await asyncio.sleep(_PAUSE)


class _ApiMessages:
    """The messages as the API gives them."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api

    async def of(self, session: str) -> list[Message]:
        """All messages of a session, read page by page from the newest."""
        pages: list[list[Json]] = []
        cursor: str | None = None
        while True:
            data = await asyncio.to_thread(self._page, session, cursor)
            pages.append(data["messages"])
            cursor = data.get("next_cursor")
            if cursor is None:
                return [_message(row) for page in reversed(pages) for row in page]

    def _page(self, session: str, cursor: str | None) -> Json:
        answer = self._api.tool(
            "sessions_history", session_id=session, limit=PAGE, cursor=cursor, fresh=False
        )
        return answer["data"]


def _message(row: Json) -> Message:
    moment = times.parse(row["created_at"])
    return Message(row["seq"], row["id"], row["role"], row["content"], None, moment)


def _print_report(context: CommandContext, report: Comparison) -> None:
    counts = {kind: report.counts[kind] for kind in (*FAULTS, "added")}
    if context.output.json:
        examples = [finding._asdict() for finding in report.examples]
        whole: dict[str, Any] = {"sessions": report.sessions, "turns": report.turns, **counts}
        context.output.data({"agrees": report.agrees, **whole, "examples": examples})
        return
    turns, sessions = counted(report.turns, "turn"), counted(report.sessions, "session")
    context.output.line(f"compared {turns} of {sessions}")
    context.output.facts(counts)
    if report.examples:
        rows = [[*finding] for finding in report.examples]
        context.output.table(["what", "session", "line", "seq", "event id"], rows)


def _print_health(context: CommandContext, health: Health) -> None:
    if context.output.json:
        context.output.data({"sound": health.sound, **asdict(health)})
        return
    messages, sessions = counted(health.messages, "message"), counted(health.sessions, "session")
    context.output.line(f"checked {messages} of {sessions} and {counted(health.events, 'event')}")
    context.output.facts(health.faults)
    for kind, examples in health.examples.items():
        context.output.line(f"{kind}:", style="bold")
        context.output.table(["where", *[""] * (len(examples[0]) - 1)], examples)
