"""The tools that read: list, history, current, search."""

from __future__ import annotations

from typing import Final

from api.render import hit_row, message_row, session_row
from api.service import Caller, Service
from api.tools.results import ToolFailure, ToolResult, checked_id
from api.tools.schemas import HistoryArguments, ListArguments, NoArguments, SearchArguments
from sessions import times
from sessions.models import SearchHit, Session
from sessions.reading import Page

# Characters of a found message in a tool's text; the whole of it is in the data.
EXCERPT: Final = 200


async def list_sessions(service: Service, caller: Caller, wanted: ListArguments) -> ToolResult:
    """Answer `sessions_list`."""
    view = await service.view_for(caller)
    page = await view.sessions(limit=wanted.limit, cursor=wanted.cursor)
    lines = [_session_line(session) for session in page.items]
    found = f"Found {len(lines)} session(s):\n" + "".join(lines)
    return ToolResult(
        found if lines else "No active sessions found.",
        {
            "sessions": [session_row(session, service.access) for session in page.items],
            "next_cursor": page.next_cursor,
        },
    )


async def read_history(service: Service, caller: Caller, wanted: HistoryArguments) -> ToolResult:
    """Answer `sessions_history`."""
    asked = checked_id(wanted.session_id)
    view = await service.view_for(caller)
    session = await view.find(asked)
    page = await view.history(session, limit=wanted.limit, cursor=wanted.cursor)
    if session is None or not page.items:
        return ToolResult(
            f"No messages found for session '{asked}'.",
            {
                "session": asked if session is None else session.key,
                "messages": [],
                "total": 0 if session is None else session.message_count,
                "next_cursor": None,
            },
        )
    # Messages may have come between the two reads.
    total = max(session.message_count, len(page.items))
    lines = [f"[{message.role}] {message.content}\n" for message in page.items]
    return ToolResult(
        f"Session '{asked}': showing {len(lines)}/{total} messages\n{''.join(lines)}",
        {
            "session": session.key,
            "messages": [*map(message_row, page.items)],
            "total": total,
            "next_cursor": page.next_cursor,
        },
    )


async def show_current(service: Service, caller: Caller, wanted: NoArguments) -> ToolResult:
    """Answer `sessions_current`."""
    if not caller.current:
        raise ToolFailure(
            "No active session context. This tool is only available during a gateway session."
        )
    view = await service.view_for(caller)
    session = await view.find(caller.current)
    if session is None:
        return ToolResult(
            f"Current session: {caller.current}\n",
            {"session": caller.current, "name": None, "messages": 0},
        )
    name = f"Name: {session.name}\n" if session.name else ""
    count = f"Messages: {session.message_count}\n" if session.message_count else ""
    return ToolResult(
        f"Current session: {session.key}\n{name}{count}",
        {"session": session.key, "name": session.name, "messages": session.message_count},
    )


async def search_messages(service: Service, caller: Caller, wanted: SearchArguments) -> ToolResult:
    """Answer `sessions_search`."""
    asked = checked_id(wanted.session_id) if wanted.session_id is not None else None
    service.searches.check(wanted.query)
    view = await service.view_for(caller)
    session = await view.find(asked) if asked is not None else None
    if asked is not None and session is None:
        return _found(wanted.query, Page([], None))
    key = session.key if session is not None else None
    page = await view.search(wanted.query, key=key, limit=wanted.limit, cursor=wanted.cursor)
    return _found(wanted.query, page)


def _session_line(session: Session) -> str:
    channel = session.channel or session.key.partition("__")[0]
    return (
        f"- {session.key}: channel={channel}, messages={session.message_count}, "
        f"last_activity={times.display(session.last_activity)}\n"
    )


def _found(query: str, page: Page[SearchHit]) -> ToolResult:
    lines = [
        f"- {hit.session} [{hit.message.role}] {times.display(hit.message.created_at)}: "
        f"{_excerpt(hit.message.content)}\n"
        for hit in page.items
    ]
    found = f"Found {len(lines)} message(s):\n" + "".join(lines)
    return ToolResult(
        found if lines else f"No messages found for '{query}'.",
        {"messages": [*map(hit_row, page.items)], "next_cursor": page.next_cursor},
    )


def _excerpt(content: str) -> str:
    return content if len(content) <= EXCERPT else f"{content[:EXCERPT]}…"
