"""What became of a turn that failed: whether it is taken back, and how it is called."""

from __future__ import annotations

import re
from typing import Final

# The closing markers. Existing histories and clients know these very texts.
FAILED: Final = "[Task failed — not continuing this request]"
TIMED_OUT: Final = "[Task timed out — not continuing this request]"
INTERRUPTED: Final = "[Session interrupted — not continuing this request]"
ABORTED: Final = "[interrupted by user]"
# What is said to whoever began a session anew.
CLEARED: Final = "Conversation history cleared. Starting fresh."

# Statuses of the 400s that pass by themselves.
_PASSING: Final = frozenset({408, 429})
_STATUS: Final = re.compile(r"\b4\d\d\b")
_AUTH_HINTS: Final = (
    *("invalid api key", "incorrect api key", "missing api key", "api key not set"),
    *("authentication failed", "auth failed", "unauthorized", "forbidden"),
    *("permission denied", "access denied", "invalid token"),
)
_MODEL_HINTS: Final = ("not found", "unknown", "unsupported", "does not exist", "invalid")
_WINDOW_HINTS: Final = (
    *("context_length_exceeded", "context length", "context window", "maximum context"),
    *("too many tokens", "token limit exceeded", "prompt is too long"),
)
_SCHEMA_HINTS: Final = ("tool schema", "invalid schema for function", "tools.function.parameters")


class AgentError(Exception):
    """The agent could not answer. `status` is the provider's HTTP status where there was one.

    `capability` names what the provider lacks, such as `vision`.
    """

    def __init__(
        self, message: str, *, status: int | None = None, capability: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.capability = capability


def is_context_overflow(error: AgentError) -> bool:
    """Whether the prompt was longer than the model's window."""
    return _has(str(error).lower(), _WINDOW_HINTS)


def should_roll_back(error: AgentError) -> bool:
    """Whether the user's turn would fail again whatever follows, so that it must not stay.

    So it is for a model without vision, and for errors that no repetition mends; a prompt that
    is too long or a tool's bad schema are not the message's fault.
    """
    if (error.capability or "").lower() == "vision":
        return True
    text = str(error).lower()
    if is_context_overflow(error) or _has(text, _SCHEMA_HINTS):
        return False
    if _is_refusal(error.status, text):
        return True
    return _has(text, _AUTH_HINTS) or ("model" in text and _has(text, _MODEL_HINTS))


def _is_refusal(status: int | None, text: str) -> bool:
    if status is None:
        found = _STATUS.search(text)
        status = int(found[0]) if found else 0
    return 400 <= status < 500 and status not in _PASSING


def code_of(error: AgentError) -> str:
    """The gateway's code for the failed turn."""
    text = str(error).lower()
    if error.status in (401, 403) or _has(text, _AUTH_HINTS):
        return "AUTH_ERROR"
    return "PROVIDER_ERROR" if error.status is not None or "provider" in text else "AGENT_ERROR"


def _has(text: str, hints: tuple[str, ...]) -> bool:
    return any(hint in text for hint in hints)
