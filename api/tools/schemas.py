"""What each tool takes, as models are told it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from api.view import MAX_LIMIT
from sessions.stream.lanes.waking import MOST_AWAITED


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
    wake: bool = Field(
        default=False,
        description="Have the session's agent run and answer the message there (default: false, "
        "the message is only stored)",
    )
    await_reply: int = Field(
        default=0,
        ge=0,
        le=MOST_AWAITED,
        description="Seconds to wait for that answer and return it, 0 to 60 (default: 0); wakes "
        "the session",
    )
    idempotency_key: str | None = Field(
        default=None,
        description="The key that an earlier answer named: waits for the reply to the same message "
        "again, and sends nothing twice",
    )


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
