"""The sessions as people look at them and change them; every command is a call of the API."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any, Final, NoReturn
from urllib.parse import quote

import click

from cli.client import TIMEOUT, ApiClient, Json, NotFoundByApi
from cli.commands.owners import check_owner_usage, print_owner_change, print_owners
from cli.commands.woken import print_woken
from cli.options import CliGroup, CommandContext, json_option, pass_context
from cli.output import Moment, Output
from cli.progress import RemarkFilter
from cli.system import TargetSystem
from ingest.ids import new_id
from sessions import times
from sessions.errors import Retryable
from sessions.stream.lanes.waking import MOST_AWAITED

# Seconds between two looks for new messages.
_TAIL_PAUSE: Final = 1.0
# Characters of a waiting message in the table; all of it comes with --json.
_TEXT_SHOWN: Final = 60
_COLUMNS: Final = {
    "session": "session_key",
    "name": "name",
    "agent": "agent_alias",
    "channel": "channel_id",
    "state": "state",
    "messages": "message_count",
    "last activity": "last_activity",
}

_limit_option = click.option(
    "-n", "--limit", default=50, show_default=True, help="How many at most.", type=click.IntRange(1)
)
_yes_option = click.option("--yes", is_flag=True, help="Do not ask.")
_session_argument = click.argument("session")


@click.group(cls=CliGroup)
def sessions() -> None:
    """Look at sessions, send to, reset, delete or rename them, and set their owners.

    SESSION is the key that `list` shows; the leading gw_ of a gateway session may be left out.
    """


@sessions.command("list", example="turnstream sessions list --channel telegram --limit 20")
@_limit_option
@click.option("--all", "everything", is_flag=True, help="All of them, however many.")
@click.option("--agent", help="Only those of this agent.")
@click.option("--channel", help="Only those of this channel.")
@click.option(
    "--state", type=click.Choice(["idle", "running", "error"]), help="Only in this state."
)
@click.option("--since", metavar="TIME", help="Only those active since this RFC 3339 time.")
@click.option("-q", "--query", help="Only those whose messages hold these words.")
@json_option
@pass_context
def list_sessions(
    context: CommandContext, limit: int, everything: bool, query: str | None, **where: Any
) -> None:
    """List sessions, the latest activity first."""
    with _api(context) as api:
        pages = _pages(api, None if everything else limit, q=query, **where)
        # A search lists a session again with each page that has a match in it.
        found = list({row["session_key"]: row for row in pages}.values())
    if context.output.json:
        context.output.data({"sessions": found})
    elif found:
        for row in found:
            row["last_activity"] = Moment(row["last_activity"])
        rows = ([row.get(field) for field in _COLUMNS.values()] for row in found)
        context.output.table(list(_COLUMNS), rows)
    else:
        context.output.note("no sessions")


def _pages(api: ApiClient, limit: int | None, **query: Any) -> Iterator[Json]:
    """The sessions of as many pages as are needed."""
    cursor: str | None = None
    left = limit
    while left is None or left > 0:
        page = api.get("/api/sessions", limit=min(left or 1000, 1000), cursor=cursor, **query)
        yield from page["sessions"]
        left = None if left is None else left - len(page["sessions"])
        cursor = page.get("next_cursor")
        if cursor is None:
            return


@sessions.command("show", example="turnstream sessions show telegram_home_42 -n 20")
@_session_argument
@_limit_option
@json_option
@pass_context
def show(context: CommandContext, session: str, limit: int) -> None:
    """Show the last messages of a session, the oldest of them first."""
    with _api(context) as api:
        data = _existing_history(api, session, limit)
    if context.output.json:
        context.output.data(data)
        return
    for message in data["messages"]:
        print_message(context.output, message)
    shown = len(data["messages"])
    context.output.note(f"{data['session']}: {shown:,} of {data['total']:,} messages")


@sessions.command("tail", example="turnstream sessions tail telegram_home_42")
@_session_argument
@click.option("-n", "--lines", default=10, show_default=True, help="How many to begin with.")
@click.option("--no-follow", is_flag=True, help="Do not wait for more.")
@json_option
@pass_context
def tail(context: CommandContext, session: str, lines: int, no_follow: bool) -> None:
    """Follow a session: its last messages, then new ones.

    Ctrl-C ends it. With --json each message is a line of its own.
    """
    with _api(context) as api:
        seen = 0
        for message in _existing_history(api, session, max(1, lines))["messages"]:
            seen = _tell(context.output, message)
        if not no_follow:
            _follow(api, session, seen, context.output)


def _follow(api: ApiClient, session: str, seen: int, output: Output) -> NoReturn:
    """Print what comes, for ever; what is away for a while is waited for."""
    remarks = RemarkFilter(output)
    while True:
        sys.stdout.flush()
        time.sleep(_TAIL_PAUSE)
        try:
            for message in _newer(api, session, seen):
                seen = _tell(output, message)
        except Retryable as error:
            remarks.say(f"waiting: {error}")


def _newer(api: ApiClient, session: str, seen: int) -> list[Json]:
    """The messages behind that number, oldest first; further pages are read as they are needed."""
    pages: list[list[Json]] = []
    cursor: str | None = None
    while True:
        data = _history(api, session, 50, cursor)
        page = [message for message in data["messages"] if message["seq"] > seen]
        pages.append(page)
        cursor = data.get("next_cursor")
        if cursor is None or len(page) < len(data["messages"]) or not page:
            return [message for page in reversed(pages) for message in page]


def _tell(output: Output, message: Json) -> int:
    """Print a message as it comes; gives its number."""
    if output.json:
        output.row(message)
    else:
        print_message(output, message)
    return message["seq"]


@sessions.command("queue", example="turnstream sessions queue telegram_home_42")
@_session_argument
@click.option("--remove", metavar="MESSAGE", help="Take this message out; it is never answered.")
@json_option
@pass_context
def queue(context: CommandContext, session: str, remove: str | None) -> None:
    """Show what is being answered and what waits in a session, first come first.

    MESSAGE is the id that it shows. A message that is being answered cannot be removed.
    """
    path = f"/api/sessions/{quote(session, safe='')}/queue"
    message = quote(remove or "", safe="")
    with _api(context) as api:
        answer = api.get(path) if remove is None else api.delete(f"{path}/{message}")
    if context.output.json:
        context.output.data(answer)
    elif remove is not None:
        context.output.line(f"{remove}: removed; it is not answered")
    elif answer["queue"]:
        rows = map(_queued, answer["queue"])
        context.output.table(["state", "message", "for", "from", "text"], rows)
    else:
        context.output.note("nothing runs or waits")


def _queued(row: Json) -> list[str]:
    """A message of a queue as a line of the table."""
    who = row["sender"] if row["from_agent"] is None else row["from_agent"]
    source = " ".join(filter(None, [row["channel"], who]))
    seconds = max(0, times.now() - times.parse(row["since"])) // times.SECOND
    text = " ".join(row["content"].split())
    shown = text if len(text) <= _TEXT_SHOWN else f"{text[: _TEXT_SHOWN - 1]}…"
    return [row["state"], row["id"], f"{seconds:,} s", source or "-", shown]


@sessions.command("search", example="turnstream sessions search 'blue umbrella'")
@click.argument("words", nargs=-1, required=True)
@click.option("--session", help="Only in this session.")
@_limit_option
@json_option
@pass_context
def search(
    context: CommandContext, words: tuple[str, ...], session: str | None, limit: int
) -> None:
    """Find messages that hold all of the words, the newest first."""
    with _api(context) as api:
        answer = api.tool("sessions_search", query=" ".join(words), session_id=session, limit=limit)
    if context.output.json:
        context.output.data(answer["data"])
    else:
        context.output.line(answer["output"].rstrip("\n"))


@sessions.command("send", example="turnstream sessions send telegram_home_42 'The kettle is on.'")
@_session_argument
@click.argument("message")
@click.option("--wake", is_flag=True, help="Have the session's agent answer, by its channel.")
@click.option(
    "--await-reply",
    metavar="SECONDS",
    default=0,
    type=click.IntRange(0, MOST_AWAITED),
    help=f"Wait so long for that answer, {MOST_AWAITED} at most, and print it. Wakes the session.",
)
@click.option("--key", metavar="KEY", help="The key of an earlier send, to wait for it again.")
@json_option
@pass_context
def send(
    context: CommandContext,
    session: str,
    message: str,
    wake: bool,
    await_reply: int,
    key: str | None,
) -> None:
    """Append a user message to a session that exists.

    With --wake the session's agent runs and answers, as if somebody had written to it.
    """
    if not (wake or await_reply):
        _change(context, "sessions_send", event_id=key, session_id=session, message=message)
        return
    with _api(context) as api:
        answer = api.tool(
            "sessions_send",
            event_id=key or new_id(),
            within=TIMEOUT + await_reply,
            session_id=session,
            message=message,
            wake=True,
            await_reply=await_reply,
        )
    if context.output.json:
        context.output.data(answer)
    else:
        print_woken(context.output, answer["data"])


@sessions.command("reset", example="turnstream sessions reset telegram_home_42 --yes")
@_session_argument
@_yes_option
@json_option
@pass_context
def reset(context: CommandContext, session: str, yes: bool) -> None:
    """Remove all messages of a session; the session stays."""
    confirm(yes, f"Remove all messages of {session}?")
    _change(context, "sessions_reset", session_id=session)


@sessions.command("delete", example="turnstream sessions delete telegram_home_42 --yes")
@_session_argument
@_yes_option
@json_option
@pass_context
def delete(context: CommandContext, session: str, yes: bool) -> None:
    """Delete a session with all of its messages."""
    confirm(yes, f"Delete {session} with all of its messages?")
    _change(context, "sessions_delete", session_id=session)


@sessions.command("rename", example="turnstream sessions rename telegram_home_42 'Kitchen'")
@_session_argument
@click.argument("name")
@json_option
@pass_context
def rename(context: CommandContext, session: str, name: str) -> None:
    """Give a session a name; an empty one clears it."""
    _change(context, "sessions_rename", session_id=session, name=name)


@sessions.command("owner", example="turnstream sessions owner telegram_home_42 kitchen")
@click.argument("session", required=False)
@click.argument("agent", required=False)
@click.option("--nobody", is_flag=True, help="Leave the session, or the sessions, without one.")
@click.option("--from", "old", metavar="AGENT", help="All sessions of this agent.")
@click.option("--to", "new", metavar="AGENT", help="With --from: the agent that gets them.")
@_yes_option
@json_option
@pass_context
def owner(
    context: CommandContext,
    session: str | None,
    agent: str | None,
    nobody: bool,
    old: str | None,
    new: str | None,
    yes: bool,
) -> None:
    """List how many sessions each agent owns, or give sessions to another agent.

    Without arguments it lists. SESSION AGENT gives one session to that agent. --from OLD --to NEW
    gives all sessions of an agent to another, for example after its name has changed in the
    settings. With --nobody, the sessions belong to the agent of their channel.
    """
    heir = new if old is not None else agent
    check_owner_usage(session, agent, nobody=nobody, old=old, new=new)
    if old is not None:
        confirm(yes, f"Give all sessions of {old} to {heir or 'nobody'}?")
    with _api(context) as api:
        if session is None and old is None:
            print_owners(context, api.get("/api/owners"))
            return
        if old is not None:
            answer = api.post("/api/owners", {"from": old, "to": heir}, event_id=new_id())
        else:
            path = f"/api/sessions/{quote(session or '', safe='')}/owner"
            answer = api.put(path, {"agent": heir}, event_id=new_id())
    print_owner_change(
        context, answer, f"all sessions of {old}" if old is not None else str(session), heir
    )


def print_message(output: Output, message: Json) -> None:
    """A message as people read it: a line about it, then its text."""
    output.line(f"{message['role']}  {message['created_at']}  #{message['seq']}", style="bold")
    output.line(f"{message['content']}\n")


def confirm(yes: bool, question: str) -> None:
    """Ask before something is lost; without a terminal --yes must be given."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("give --yes if no terminal can ask you: this cannot be undone")
    click.confirm(question, abort=True, err=True)


def _change(
    context: CommandContext, tool: str, *, event_id: str | None = None, **arguments: Any
) -> None:
    """Call a changing tool under that id or one of its own, and print what it says."""
    with _api(context) as api:
        answer = api.tool(tool, event_id=event_id or new_id(), **arguments)
    if context.output.json:
        context.output.data(answer)
    elif answer.get("outcome") == "pending":
        context.output.line("accepted; the worker has not applied it yet")
    else:
        context.output.line(answer["output"].rstrip("\n"))


def _existing_history(api: ApiClient, session: str, limit: int) -> Json:
    """The last messages of a session; raises NotFoundByApi if there is no such session."""
    data = _history(api, session, limit)
    # The tool shows a session that does not exist like one without messages.
    if not data["messages"] and not _exists(api, session):
        raise NotFoundByApi(f"there is no session {session}; `turnstream sessions list` shows all")
    return data


def _exists(api: ApiClient, session: str) -> bool:
    try:
        api.get(f"/api/sessions/{quote(session, safe='')}/state")
    except NotFoundByApi:
        return False
    return True


def _history(api: ApiClient, session: str, limit: int, cursor: str | None = None) -> Json:
    answer = api.tool("sessions_history", session_id=session, limit=min(limit, 1000), cursor=cursor)
    return answer["data"]


def _api(context: CommandContext) -> ApiClient:
    return ApiClient(TargetSystem.find(context.settings, context.environ))
