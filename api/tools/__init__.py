"""The session tools: each defined once, for every entry point.

A tool is a name, a description and a schema for the model, and a function that answers. Names,
descriptions and texts are upstream's, which agents know; search and rename follow their manner.
A new one is a function in `reading` or `changing`, its arguments, and a row of the table here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Generic, TypeVar

from pydantic import BaseModel

from api.arguments import read_arguments
from api.service import Caller, Service
from api.tools.changing import delete_session, rename_session, reset_session, send_message
from api.tools.reading import list_sessions, read_history, search_messages, show_current
from api.tools.results import ToolFailure, ToolResult
from api.tools.schemas import (
    DeleteArguments,
    HistoryArguments,
    ListArguments,
    NoArguments,
    RenameArguments,
    ResetArguments,
    SearchArguments,
    SendArguments,
)
from sessions.access.tokens import TokenScope
from sessions.web.rejections import IdConflict, UnknownTool, WakeRefused

A = TypeVar("A", bound=BaseModel)


@dataclass(frozen=True)
class Tool(Generic[A]):
    """One tool, and the scope that its caller needs.

    `description` and the descriptions in `arguments` are what a language model reads. `answer` may
    raise ToolFailure, whose text the model is told. A tool that changes something publishes its
    event under `Caller.key`, so that a call which comes again has no second effect.
    """

    name: str
    description: str
    arguments: type[A]
    scope: TokenScope
    answer: Callable[[Service, Caller, A], Awaitable[ToolResult]]

    @cached_property
    def schema(self) -> dict[str, Any]:
        """The JSON schema of the arguments, for function calling."""
        schema = self.arguments.model_json_schema()
        for noise in ("title", "description"):
            schema.pop(noise, None)
        for parameter in schema["properties"].values():
            parameter.pop("title", None)
        return schema

    async def call(self, service: Service, caller: Caller, arguments: object) -> ToolResult:
        """Answer these arguments, as they came in.

        Raises AccessRefused if the caller's scope is too small, what `read_arguments` raises for
        arguments that do not fit, and what `Service.view_for` and `Service.change` raise.
        """
        caller.require(self.scope)
        wanted = read_arguments(self.arguments, arguments)
        try:
            return await self.answer(service, caller, wanted)
        except (ToolFailure, IdConflict) as failure:
            return ToolResult(error=str(failure))
        except WakeRefused as refusal:
            return ToolResult(error=str(refusal), data={"code": refusal.code})


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
        "session's conversation history as a 'user' message, enabling inter-agent communication. "
        "With wake the session's agent runs and answers in its own channel; with await_reply its "
        "answer is returned.",
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
