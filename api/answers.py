"""What the routes answer, for the OpenAPI document. `render` makes the values.

The bodies are not checked against these models at work, which would cost time; tests do that.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import BaseModel, Field

from routing.described import Body, Responses, errors


class SessionBody(Body):
    """A session in a list."""

    session_id: str
    session_key: str
    created_at: str
    last_activity: str
    message_count: int
    agent_alias: str | None
    channel_id: str | None
    room_id: str | None
    sender_id: str | None
    state: Literal["idle", "running", "error"]
    name: str = ""


class SessionsBody(Body):
    """A page of sessions."""

    sessions: list[SessionBody]
    next_cursor: str | None


class RunningBody(Body):
    """A session in which a turn runs."""

    session_id: str
    created_at: str
    last_activity: str
    message_count: int


class RunningsBody(Body):
    """A page of running sessions."""

    sessions: list[RunningBody]
    next_cursor: str | None


class MessageBody(Body):
    """A message of a history."""

    seq: int
    id: str
    role: str
    content: str
    created_at: str
    by: str = Field(default="", description="the agent whose token published it")


class MessagesBody(Body):
    """A page of a history, oldest message first."""

    session_id: str
    messages: list[MessageBody]
    session_persistence: Literal[True]
    next_cursor: str | None


class NewMessageBody(Body):
    """The text of a message that was added."""

    role: Literal["assistant", "user"]
    content: str


class WokenBody(Body):
    """A session that was woken; `text` is its answer."""

    session: str
    turn: str
    idempotency_key: str
    status: Literal["pending", "replied", "failed", "aborted", "removed"]
    text: str | None
    undelivered: str | None = Field(description="why the answer is sent nowhere, null if it is")


class AddedBody(Body):
    """A message was added, or its session was woken."""

    status: Literal["ok"]
    session_id: str
    message: NewMessageBody
    session_persistence: Literal[True]
    woken: WokenBody | None = Field(default=None, description="only if it was woken")


class PendingWakeBody(AddedBody):
    """A session was woken whose turn has not ended; `position` is null until it began."""

    outcome: Literal["pending"]
    position: str | None


class RenamedBody(Body):
    """A session was renamed."""

    session_id: str
    name: str


class DeletedBody(Body):
    """A session was deleted."""

    deleted: Literal[True]
    session_id: str


class PendingBody(BaseModel):
    """A change that was published and is not applied yet, beside what a 200 would tell."""

    outcome: Literal["pending"]
    position: str


class StateBody(Body):
    """Whether a turn runs in a session."""

    session_id: str
    state: Literal["idle", "running", "error"]
    turn_id: str = ""
    turn_started_at: str = ""


class AbortedBody(Body):
    """Whether a turn was stopped."""

    status: Literal["aborted", "no_active_response"]


class QueuedBody(Body):
    """A message that runs or waits. `from_agent` is set if an agent's tool put it there."""

    id: str
    state: Literal["running", "waiting"]
    place: int
    since: str
    agent: str
    channel: str | None
    room: str | None
    sender: str | None
    from_agent: str | None
    content: str


class QueueBody(Body):
    """The messages that run or wait in a session, first come first."""

    session_id: str
    queue: list[QueuedBody]


class RemovedBody(Body):
    """A message was taken out of the queue."""

    removed: Literal[True]
    session_id: str
    id: str


class FunctionBody(Body):
    """A tool as chat completions take it."""

    name: str
    description: str
    parameters: dict[str, Any]


class FunctionToolBody(Body):
    """An entry of `tools`."""

    type: Literal["function"]
    function: FunctionBody


class ToolsBody(Body):
    """All tools."""

    tools: list[FunctionToolBody]


class ToolBody(Body):
    """What a tool answers."""

    success: bool
    output: str
    error: str | None
    data: dict[str, Any] | None
    position: str | None


class PendingToolBody(ToolBody):
    """What a tool answers when its change is not applied yet."""

    outcome: Literal["pending"]


class TokenBody(Body):
    """Whose a token is."""

    agent: str | None
    scope: Literal["read", "send", "admin", "metrics", "serve"]


class OutcomeBody(Body):
    """The outcome of an event."""

    id: str
    outcome: Literal["applied", "noop", "dead"]
    reason: str | None
    session: str | None
    position: str
    duplicates: int
    detail: str | None


class LetterBody(Body):
    """A dead letter in a list."""

    id: str
    reason: str
    session: str | None
    event_id: str | None
    size: int
    at: str
    by: str = Field(default="", description="the agent whose token published it")


class LettersBody(Body):
    """A page of dead letters."""

    dead_letters: list[LetterBody]
    next_cursor: str | None


class WholeLetterBody(LetterBody):
    """A dead letter with its payload."""

    detail: str
    stream_id: str
    sha256: str
    fields: list[str]
    payload: str


class LetterChangeBody(Body):
    """What became of a replay or a purge."""

    id: str
    action: Literal["replay", "purge"]
    outcome: Literal["applied", "pending"]
    position: str


class ReplyBody(Body):
    """A reply that its platform has not taken; `help` says what can be done."""

    turn: str
    state: Literal["parked", "undelivered"]
    channel: str
    session: str
    agent: str
    since: str
    until: str | None
    tries: int
    pieces_sent: int
    last_error: str
    help: str


class RepliesBody(Body):
    """A page of replies, in the order in which they came."""

    replies: list[ReplyBody]
    next_cursor: str | None


class DroppedReplyBody(Body):
    """A reply was dropped."""

    turn: str
    dropped: Literal[True]


class OwnerBody(Body):
    """An owner and how many sessions it has; null has those without an owner."""

    agent: str | None
    sessions: int


class OwnersBody(Body):
    """All owners, most sessions first."""

    owners: list[OwnerBody]


class NewOwnerBody(Body):
    """Who owns a session now."""

    session: str
    agent: str | None
    outcome: Literal["applied", "pending"]
    position: str


class HandoverBody(Body):
    """Whose sessions belong to whom now."""

    from_: str = Field(alias="from")
    to: str | None
    outcome: Literal["applied", "pending"]
    position: str


class TurnHistoryBody(Body):
    """What a turn starts from."""

    available: bool
    name: str | None
    messages: list[MessageBody]
    total: int
    position: str


class TurnMessageBody(Body):
    """A message, if it is there."""

    message: MessageBody | None


class KeyBody(Body):
    """Whether a session keeps its former key."""

    keep: bool


class AliveBody(Body):
    """The process answers."""

    status: Literal["ok"]


class ReportBody(Body):
    """Whether the system works."""

    ready: bool
    backend: str
    store_id: str | None
    epoch: int | None
    lag: int | None


class ProblemReportBody(ReportBody):
    """What keeps it from working."""

    error: str
    code: str


def ok(model: type[BaseModel], description: str = "Done") -> Responses:
    """The part about a 200."""
    return {200: {"model": model, "description": description}}


def pending(model: type[BaseModel]) -> Responses:
    """The part about a 202."""
    return {202: {"model": model, "description": "Published, and not applied yet"}}


# What every route may answer, what one with a token may, and what one with a body may.
OPEN_ERRORS: Final = errors(403, 421, 429, 500)
TOKEN_ERRORS: Final = errors(401, 403, 410, 421, 422, 429, 500, 503)
BODY_ERRORS: Final = errors(400, 413)
