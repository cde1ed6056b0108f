"""The session tools: each defined once, for every door.

A tool is a name, a description and a schema for the model, and a function that answers. Names,
descriptions and texts are upstream's, which agents know; search and rename follow their manner.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Generic, TypeVar

import regex
from pydantic import BaseModel, ConfigDict, Field

from api.arguments import read_arguments
from api.render import hit_row, message_row, session_row
from api.service import Caller, Change, Service
from api.view import MAX_LIMIT
from sessions import times
from sessions.access.tokens import TokenScope
from sessions.models import EventType, Page, SearchHit, Session
from sessions.web.rejections import IdConflict, UnknownTool

A = TypeVar("A", bound=BaseModel)

# Characters of a found message in a tool's text; the whole of it is in the data.
EXCERPT: Final = 200
_ALPHANUMERIC: Final = regex.compile(r"[\p{Alphabetic}\p{N}]")
_INVALID_ID: Final = (
    "Invalid 'session_id': must be non-empty and contain at least one alphanumeric character."
)
_PENDING: Final = (
    "Accepted but not applied yet: the change to session '{key}' takes effect shortly. Do not send "
    "it again."
)


class ToolFailure(Exception):
    """A tool's own refusal, in the words that the model reads."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A tool's result: `output` for the model to read, `data` the same as structure."""

    output: str = ""
    data: dict[str, Any] | None = None
    error: str | None = None
    pending: bool = False

    def body(self, caller: Caller) -> dict[str, Any]:
        """The answer as every door gives it."""
        body: dict[str, Any] = {
            "success": self.error is None,
            "output": self.output,
            "error": self.error,
            "data": self.data,
            "position": str(caller.position) if caller.position is not None else None,
        }
        if self.pending:
            body["outcome"] = "pending"
        return body


class Arguments(BaseModel):
    """The arguments of a tool: nothing else, and nothing of another type."""

    model_config = ConfigDict(extra="forbid", strict=True)


class NoArguments(Arguments):
    """For a tool that takes none."""


class ListArguments(Arguments):
    """Which sessions."""

    limit: int = Field(
        default=50, ge=1, le=MAX_LIMIT, description="Max sessions to return (default: 50)"
    )
    cursor: str | None = Field(default=None, description="next_cursor of the page before")


class HistoryArguments(Arguments):
    """Which messages of a session."""

    session_id: str = Field(
        description="The session ID to read history from (e.g. telegram__user123)"
    )
    limit: int = Field(
        default=20,
        ge=1,
        le=MAX_LIMIT,
        description="Max messages to return, from most recent (default: 20)",
    )
    cursor: str | None = Field(
        default=None, description="next_cursor of the page before, for older messages"
    )


class SendArguments(Arguments):
    """A message to a session."""

    session_id: str = Field(
        description="The target session ID (e.g. telegram__user123). Gateway dashboard sessions "
        "may be addressed by their dashboard ID or by gw_<id>."
    )
    message: str = Field(description="The message content to send")


class ResetArguments(Arguments):
    """The session to empty."""

    session_id: str = Field(description="The session ID to reset (e.g. telegram__user123)")


class DeleteArguments(Arguments):
    """The session to delete."""

    session_id: str = Field(description="The session ID to delete (e.g. telegram__user123)")


class SearchArguments(Arguments):
    """What to look for, and where."""

    query: str = Field(description="Words that the messages must all contain")
    session_id: str | None = Field(
        default=None, description="Search only this session (default: all sessions)"
    )
    limit: int = Field(
        default=20, ge=1, le=MAX_LIMIT, description="Max messages to return (default: 20)"
    )
    cursor: str | None = Field(
        default=None, description="next_cursor of the page before, for older messages"
    )


class RenameArguments(Arguments):
    """A session and its name."""

    session_id: str = Field(description="The session ID to rename (e.g. telegram__user123)")
    name: str = Field(description="The new name; an empty one removes the name")


async def list_sessions(service: Service, caller: Caller, wanted: ListArguments) -> Answer:
    """Answer `sessions_list`."""
    view = await service.look(caller)
    page = await view.sessions(limit=wanted.limit, cursor=wanted.cursor)
    lines = [_session_line(session) for session in page.items]
    found = f"Found {len(lines)} session(s):\n" + "".join(lines)
    return Answer(
        found if lines else "No active sessions found.",
        {
            "sessions": [session_row(session, service.access) for session in page.items],
            "next_cursor": page.next_cursor,
        },
    )


async def read_history(service: Service, caller: Caller, wanted: HistoryArguments) -> Answer:
    """Answer `sessions_history`."""
    asked = _checked_id(wanted.session_id)
    view = await service.look(caller)
    session = await view.find(asked)
    page = await view.history(session, limit=wanted.limit, cursor=wanted.cursor)
    if session is None or not page.items:
        return Answer(
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
    return Answer(
        f"Session '{asked}': showing {len(lines)}/{total} messages\n{''.join(lines)}",
        {
            "session": session.key,
            "messages": [*map(message_row, page.items)],
            "total": total,
            "next_cursor": page.next_cursor,
        },
    )


async def send_message(service: Service, caller: Caller, wanted: SendArguments) -> Answer:
    """Answer `sessions_send`."""
    asked = _checked_id(wanted.session_id)
    if not wanted.message.strip():
        raise ToolFailure("Message content must not be empty.")
    view = await service.look(caller)
    session = await view.find_to_send(asked)
    if session is None:
        raise _not_found(asked)
    change = await service.change(
        caller, EventType.APPEND, session, role="user", content=wanted.message
    )
    if change.found_nothing:
        raise _not_found(asked)
    requested = "" if asked == session.key else f" (requested '{asked}')"
    return _changed(
        change,
        session,
        f"Message sent to session '{session.key}'{requested}.",
        "Failed to send message",
    )


async def show_current(service: Service, caller: Caller, wanted: NoArguments) -> Answer:
    """Answer `sessions_current`."""
    if not caller.current:
        raise ToolFailure(
            "No active session context. This tool is only available during a gateway session."
        )
    view = await service.look(caller)
    session = await view.find(caller.current)
    if session is None:
        return Answer(
            f"Current session: {caller.current}\n",
            {"session": caller.current, "name": None, "messages": 0},
        )
    name = f"Name: {session.name}\n" if session.name else ""
    count = f"Messages: {session.message_count}\n" if session.message_count else ""
    return Answer(
        f"Current session: {session.key}\n{name}{count}",
        {"session": session.key, "name": session.name, "messages": session.message_count},
    )


async def reset_session(service: Service, caller: Caller, wanted: ResetArguments) -> Answer:
    """Answer `sessions_reset`."""
    asked = _checked_id(wanted.session_id)
    view = await service.look(caller)
    session = await view.find(asked)
    if session is None:
        return _already_empty(asked)
    change = await service.change(caller, EventType.RESET, session)
    if change.found_nothing or (change.applied and not session.message_count):
        return _already_empty(session.key)
    return _changed(
        change,
        session,
        f"Session '{session.key}' reset ({session.message_count} messages cleared).",
        "Failed to reset session",
        cleared=session.message_count,
    )


async def delete_session(service: Service, caller: Caller, wanted: DeleteArguments) -> Answer:
    """Answer `sessions_delete`."""
    asked = _checked_id(wanted.session_id)
    view = await service.look(caller)
    session = await view.find(asked)
    if session is None:
        return _already_deleted(asked)
    await service.abort(session)
    change = await service.change(caller, EventType.DELETE, session)
    if change.found_nothing:
        return _already_deleted(session.key)
    return _changed(
        change,
        session,
        f"Session '{session.key}' deleted.",
        "Failed to delete session",
    )


async def search_messages(service: Service, caller: Caller, wanted: SearchArguments) -> Answer:
    """Answer `sessions_search`."""
    asked = _checked_id(wanted.session_id) if wanted.session_id is not None else None
    service.searches.check(wanted.query)
    view = await service.look(caller)
    session = await view.find(asked) if asked is not None else None
    if asked is not None and session is None:
        return _found(wanted.query, Page([], None))
    key = session.key if session is not None else None
    page = await view.search(wanted.query, key=key, limit=wanted.limit, cursor=wanted.cursor)
    return _found(wanted.query, page)


async def rename_session(service: Service, caller: Caller, wanted: RenameArguments) -> Answer:
    """Answer `sessions_rename`."""
    asked = _checked_id(wanted.session_id)
    view = await service.look(caller)
    session = await view.find(asked)
    if session is None:
        raise _not_found(asked)
    name = wanted.name.strip()
    change = await service.change(caller, EventType.RENAME, session, name=name)
    if change.found_nothing:
        raise _not_found(asked)
    done = f"renamed to '{name}'" if name else "has no name any more"
    return _changed(
        change,
        session,
        f"Session '{session.key}' {done}.",
        "Failed to rename session",
        name=name,
    )


def _checked_id(session_id: str) -> str:
    """The id without blanks around it; raises ToolFailure for one that cannot be meant."""
    asked = session_id.strip()
    if not _ALPHANUMERIC.search(asked):
        raise ToolFailure(_INVALID_ID)
    return asked


def _changed(change: Change, session: Session, done: str, failed: str, **data: str | int) -> Answer:
    """The answer to a change: done, or not known yet; raises ToolFailure where it failed."""
    if change.pending:
        return Answer(_PENDING.format(key=session.key), {"session": session.key}, pending=True)
    if not change.applied:
        raise ToolFailure(f"{failed}: {change.reason}")
    return Answer(done, {"session": session.key, **data})


def _session_line(session: Session) -> str:
    channel = session.key.partition("__")[0]
    return (
        f"- {session.key}: channel={channel}, messages={session.message_count}, "
        f"last_activity={times.display(session.last_activity)}\n"
    )


def _not_found(asked: str) -> ToolFailure:
    return ToolFailure(
        f"Session '{asked}' not found. Use sessions_list or sessions_current to choose an "
        "existing session. Gateway dashboard sessions are stored as 'gw_<session_id>'."
    )


def _already_empty(key: str) -> Answer:
    return Answer(f"Session '{key}' is already empty.", {"session": key, "cleared": 0})


def _already_deleted(key: str) -> Answer:
    return Answer(f"Session '{key}' not found (may have already been deleted).", {"session": key})


def _found(query: str, page: Page[SearchHit]) -> Answer:
    lines = [
        f"- {hit.session} [{hit.message.role}] {times.display(hit.message.created_at)}: "
        f"{_excerpt(hit.message.content)}\n"
        for hit in page.items
    ]
    found = f"Found {len(lines)} message(s):\n" + "".join(lines)
    return Answer(
        found if lines else f"No messages found for '{query}'.",
        {"messages": [*map(hit_row, page.items)], "next_cursor": page.next_cursor},
    )


def _excerpt(content: str) -> str:
    return content if len(content) <= EXCERPT else f"{content[:EXCERPT]}…"


@dataclass(frozen=True)
class Tool(Generic[A]):
    """One tool, and the scope that its caller needs."""

    name: str
    description: str
    arguments: type[A]
    scope: TokenScope
    answer: Callable[[Service, Caller, A], Awaitable[Answer]]

    @cached_property
    def schema(self) -> dict[str, Any]:
        """The JSON schema of the arguments, for function calling."""
        schema = self.arguments.model_json_schema()
        for noise in ("title", "description"):
            schema.pop(noise, None)
        for parameter in schema["properties"].values():
            parameter.pop("title", None)
        return schema

    async def call(self, service: Service, caller: Caller, arguments: object) -> Answer:
        """Answer these arguments, as they came in.

        Raises AccessRefused where the caller's scope is too small, what `read_arguments` raises for
        arguments that do not fit, and what `Service.look` and `Service.change` raise.
        """
        caller.require(self.scope)
        wanted = read_arguments(self.arguments, arguments)
        try:
            return await self.answer(service, caller, wanted)
        except (ToolFailure, IdConflict) as failure:
            return Answer(error=str(failure))


TOOLS: Final[tuple[Tool[Any], ...]] = (
    Tool(
        "sessions_list",
        "List all active conversation sessions with their channel, last activity time, and message "
        "count.",
        ListArguments,
        TokenScope.READ,
        list_sessions,
    ),
    Tool(
        "sessions_history",
        "Read the message history of a specific session by its session ID. Returns the last N "
        "messages.",
        HistoryArguments,
        TokenScope.READ,
        read_history,
    ),
    Tool(
        "sessions_send",
        "Send a message to a specific session by its session ID. The message is appended to the "
        "session's conversation history as a 'user' message, enabling inter-agent communication.",
        SendArguments,
        TokenScope.SEND,
        send_message,
    ),
    Tool(
        "sessions_current",
        "Return the session key and metadata for the session this agent is currently running in.",
        NoArguments,
        TokenScope.READ,
        show_current,
    ),
    Tool(
        "sessions_reset",
        "Reset a session by clearing all its messages. The session can still receive new messages "
        "after reset.",
        ResetArguments,
        TokenScope.SEND,
        reset_session,
    ),
    Tool(
        "sessions_delete",
        "Permanently delete a session and all its messages. This cannot be undone.",
        DeleteArguments,
        TokenScope.SEND,
        delete_session,
    ),
    Tool(
        "sessions_search",
        "Search the messages of all sessions, or of one, for words. Returns the newest matches "
        "first.",
        SearchArguments,
        TokenScope.READ,
        search_messages,
    ),
    Tool(
        "sessions_rename",
        "Give a session a name that people recognise, or remove its name.",
        RenameArguments,
        TokenScope.SEND,
        rename_session,
    ),
)


def tool_named(name: str) -> Tool[Any]:
    """The tool of that name; raises UnknownTool."""
    for tool in TOOLS:
        if tool.name == name:
            return tool
    raise UnknownTool(f"there is no tool {name[:80]!r}; GET /api/tools lists them")
