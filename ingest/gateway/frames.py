"""The frames of the protocol: what a client may send, and what it is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from ingest.agents.base import Agent, Reply
from ingest.turns.runner import refusal_code
from sessions import times
from sessions.errors import LaneFull, RedisRefused, Retryable
from sessions.stream.notices import Notice
from sessions.strict_json import InvalidJson, parse_json

HINT: Final = 'Send {"type":"message","content":"your text"}'
INVALID_JSON: Final = f"Invalid JSON. {HINT}"
EMPTY: Final = "Message content cannot be empty"
INVALID_APPROVAL: Final = (
    "approval_response requires request_id and decision in {approve,deny,always}"
)
_REFUSED: Final = "Redis refuses a command that this needs; the log of ingest names it"
_DECISIONS: Final = frozenset({"approve", "deny", "always"})

Frame = dict[str, Any]


@dataclass(frozen=True, slots=True)
class MessageFrame:
    """A `message` frame. `id` is the client's own name for it, so that it may be sent again."""

    content: str
    id: str | None


@dataclass(frozen=True, slots=True)
class Connect:
    """A `connect` frame; what it says beside that changes nothing here."""


@dataclass(frozen=True, slots=True)
class Approval:
    """An answer to a question; nothing here asks any, so it is only checked."""

    valid: bool
    sop: bool


@dataclass(frozen=True, slots=True)
class QueueFrame:
    """A `queue` frame: what runs and waits in the session?"""


@dataclass(frozen=True, slots=True)
class RemoveFrame:
    """A `queue_remove` frame. `id` is empty if it names no message."""

    id: str


@dataclass(frozen=True, slots=True)
class UnknownFrame:
    """A frame of another type."""

    type: str


@dataclass(frozen=True, slots=True)
class InvalidFrame:
    """No JSON object; `problem` is what the parser says."""

    problem: str


Heard = MessageFrame | Connect | Approval | QueueFrame | RemoveFrame | UnknownFrame | InvalidFrame


def read(text: str) -> Heard:
    """What a client's text frame says."""
    try:
        found = parse_json(text.encode(errors="surrogatepass"))
    except InvalidJson as error:
        return InvalidFrame(error.problem)
    if not isinstance(found, dict):
        return UnknownFrame("")
    fields = cast("dict[str, Any]", found)
    kind = fields.get("type")
    if kind == "message":
        return _message_frame(fields)
    if kind == "connect":
        return Connect()
    if kind == "approval_response":
        return _approval(fields)
    if kind == "queue":
        return QueueFrame()
    if kind == "queue_remove":
        return RemoveFrame(_text(fields.get("id")))
    return UnknownFrame(kind if isinstance(kind, str) else "")


def _message_frame(fields: Mapping[str, Any]) -> MessageFrame:
    return MessageFrame(_text(fields.get("content")), _text(fields.get("id")) or None)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _approval(fields: Mapping[str, Any]) -> Approval:
    sop = fields.get("kind") == "sop"
    named = isinstance(fields.get("run_id" if sop else "request_id"), str)
    allowed = _DECISIONS - {"always"} if sop else _DECISIONS
    return Approval(named and fields.get("decision") in allowed, sop)


def error(message: str, code: str | None = None) -> Frame:
    """An `error` frame."""
    frame: Frame = {"type": "error", "message": message}
    return frame if code is None else {**frame, "code": code}


def refusal(problem: Retryable | RedisRefused) -> Frame:
    """The error for what is not possible now, or until a person acts."""
    if isinstance(problem, RedisRefused):
        return error(_REFUSED, "UNAVAILABLE")
    full = isinstance(problem, LaneFull)
    return error(str(problem), "SESSION_QUEUE_FULL" if full else refusal_code(problem))


def unknown_type(kind: str, code: str | None = None) -> Frame:
    """The error for a frame of a type that is not served."""
    return error(f'Unsupported message type "{kind}". {HINT}', code)


def message(session_id: str, notice: Notice) -> Frame:
    """The `message` frame: something was added to the session from outside of its turns."""
    return {
        "type": "message",
        "session_id": session_id,
        "role": notice.role,
        "content": notice.content,
        "source": "api",
        "timestamp": times.render(notice.at),
    }


def done(text: str, reply: Reply | None, agent: Agent | None) -> Frame:
    """The `done` frame. Numbers that nobody knows are null."""
    usage = reply.usage if reply is not None else None
    known = [n for n in (usage.input_tokens, usage.output_tokens) if n is not None] if usage else []
    return {
        "type": "done",
        "full_response": text,
        "input_tokens": usage.input_tokens if usage else None,
        "output_tokens": usage.output_tokens if usage else None,
        "tokens_used": sum(known) if known else None,
        "cost_usd": None,
        "model": agent.model if agent is not None else None,
        "provider": agent.provider if agent is not None else None,
        "max_context_tokens": None,
        "last_input_tokens": usage.last_input_tokens if usage else None,
    }
