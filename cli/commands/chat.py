"""`chat`: talk with an agent."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Final

import click

from cli.chat import Conversation, SentMessage
from cli.client import ApiClient
from cli.options import CliCommand, CommandContext, json_option, pass_context
from cli.output import Output
from cli.system import TargetSystem
from sessions.errors import SessionError

_LEAVING: Final = frozenset({"/quit", "/exit"})
# Seconds that a stopped answer may take to end; one that had not begun leaves nothing to wait for.
_AFTER_STOP: Final = 20.0


@click.command(cls=CliCommand, example="turnstream chat 'Is the kettle on?'")
@click.argument("message", required=False)
@click.option("--agent", help="The agent that answers.  [default: the only agent, else main]")
@click.option("--room", default="user", show_default=True, help="Which of your conversations.")
@click.option("--ingest", metavar="URL", help="The address of ingest.  [default: that of the api]")
@json_option
@pass_context
def chat(
    context: CommandContext, message: str | None, agent: str | None, room: str, ingest: str | None
) -> None:
    """Talk with an agent: one MESSAGE, or a line each from the terminal or a pipe.

    /new starts again, Ctrl-C stops an answer, /quit or Ctrl-D ends. The session is kept: the next
    chat goes on with it. If an agent could not answer, the exit code is 1.
    """
    system = TargetSystem.find(context.settings, context.environ)
    with ExitStack() as stack:
        api = stack.enter_context(ApiClient(system))
        there = api
        if ingest is not None:
            # An ingest process by itself cannot tell which store its api serves.
            named = replace(system, api_url=ingest.rstrip("/"), is_strict=False)
            there = stack.enter_context(ApiClient(named))
        conversation = Conversation(there, api, agent=agent or _only(system), room=room)
        lines = _lines(context.output) if message is None else [message]
        failed = [
            taken for line in lines if (taken := _exchange(conversation, line, context.output))
        ]
    if failed:
        last = failed[-1].id
        raise SessionError(
            "the agent could not answer; look in the log of ingest (or of `turnstream up`) for "
            f"the line on turn {last}"
        )


def _only(system: TargetSystem) -> str:
    if system.only_agent is not None:
        return system.only_agent
    raise click.UsageError(f"name one with --agent: {', '.join(system.settings.agents)}")


def _lines(output: Output) -> Iterator[str]:
    """What is typed or piped in, without blank lines."""
    asks = sys.stdin.isatty() and output.on_terminal
    while True:
        try:
            line = input("> " if asks else "").strip()
        except EOFError:
            return
        if line in _LEAVING:
            return
        if line:
            yield line


def _exchange(conversation: Conversation, line: str, output: Output) -> SentMessage | None:
    """Send a line and print the answer; gives the message back if its turn failed."""
    taken = conversation.send(line)
    try:
        reply = conversation.reply_to(taken)
    except KeyboardInterrupt:
        conversation.send("/stop")
        reply = conversation.reply_to(taken, patience=_AFTER_STOP)
    if output.json:
        text = reply.text if reply is not None else None
        output.row({"id": taken.id, "session": taken.session, "reply": text})
    elif reply is not None:
        output.line(reply.text)
    return taken if reply is not None and reply.failed else None
