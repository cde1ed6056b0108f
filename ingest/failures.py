"""What became of a turn that failed: whether it is taken back, and how it is called."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final, NamedTuple, Self

from sessions.stream.lanes.closing import Closing

# The closing markers. Existing histories and clients know these very texts.
FAILED: Final = "[Task failed — not continuing this request]"
TIMED_OUT: Final = "[Task timed out — not continuing this request]"
INTERRUPTED: Final = "[Session interrupted — not continuing this request]"
ABORTED: Final = "[interrupted by user]"
# What stands below an answer that is kept although the model did not finish it.
CUT_SHORT: Final = "[The answer reached its length limit and ends here]"
WITHHELD: Final = "[The provider's content filter withheld the rest of this answer]"
# What is said to a user who started a session again.
CLEARED: Final = "Conversation history cleared. Starting fresh."

# Bytes that the longest of these takes below a text, with the blank line between them.
MARKER_ROOM: Final = 128

# A provider answers so to what it was sent, and would again: what is wrong lies in the request.
# Every other 4xx is about access, the address, the moment or the pace.
_REFUSALS: Final = frozenset({400, 413, 422})
_WINDOW_HINTS: Final = (
    *("context_length_exceeded", "context length", "context window", "maximum context"),
    *("too many tokens", "token limit exceeded", "prompt is too long"),
)
# Words of refusals that name the set-up instead of the message. They only ever keep a message.
_SETUP_HINTS: Final = (
    *("tool", "function", "schema", "stream", "unsupported parameter", "unknown parameter"),
    *("unrecognized request argument", "extra inputs", "max_tokens", "max_completion_tokens"),
    *("model", "api key", "api_key", "unauthorized", "authentication", "permission", "credential"),
    *("quota", "billing", "credit balance"),
)
# Names of errors that providers share. What is not here is not logged: it may quote the user.
_NAMES: Final = frozenset(
    {
        *("context_length_exceeded", "insufficient_quota", "rate_limit_exceeded", "server_error"),
        *("invalid_api_key", "model_not_found", "content_filter", "content_policy_violation"),
        *("invalid_request_error", "authentication_error", "permission_error", "not_found_error"),
        *("rate_limit_error", "overloaded_error", "api_error", "unsupported_parameter"),
        *("billing_hard_limit_reached", "invalid_prompt", "string_above_max_length"),
        *("BadRequestError", "NotFoundError", "InternalServerError", "insufficient_quota_error"),
        *("requests", "tokens", "timeout_error", "billing_error", "request_too_large"),
    }
)
# Some servers write a status into `code`.
_STATUSES: Final = frozenset(status.value for status in HTTPStatus)


_MARKERS: Final = {
    Closing.FAILED: FAILED,
    Closing.TIMED_OUT: TIMED_OUT,
    Closing.INTERRUPTED: INTERRUPTED,
    Closing.ABORTED: ABORTED,
}


def marker_of(closing: Closing) -> str:
    """What stands below the text that was shown."""
    return _MARKERS[closing]


def state_of(closing: Closing) -> str:
    """The state that the session is in then."""
    return "error" if closing in (Closing.FAILED, Closing.TIMED_OUT) else "idle"


class ErrorNames(NamedTuple):
    """What a provider calls its error, as far as these are names that providers share."""

    code: str | None = None
    type: str | None = None

    @classmethod
    def told(cls, code: object, type: object) -> Self:
        """Of an error object's `code` and `type`, which may be anything."""
        return cls(_known(code), _known(type))


def _known(name: object) -> str | None:
    if isinstance(name, int) and name in _STATUSES:
        return str(name)
    return name if isinstance(name, str) and name in _NAMES else None


class AgentError(Exception):
    """The agent could not answer. `status` is the provider's HTTP status where there was one.

    `capability` names what the provider lacks, such as `vision`, and `parameter` the part of the
    request that it does not take. `names` is what it calls its error. `reason` is a short text of
    ours for the log: the message may quote the user or the model. `began` says that the provider
    had answered a part of the turn.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        capability: str | None = None,
        parameter: str | None = None,
        names: ErrorNames | None = None,
        reason: str | None = None,
        began: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.capability = capability
        self.parameter = parameter
        self.began = began
        self.names = names or ErrorNames()
        self.reason = reason or self.names.code or self.names.type or _reason_of(status)


class ProviderError(AgentError):
    """The provider could not be reached, or did not answer as it should."""


def _reason_of(status: int | None) -> str:
    if status is None:
        return "the agent could not answer"
    known = {each.value: each.phrase for each in HTTPStatus}
    return known.get(status, "an unknown status")


def is_context_overflow(error: AgentError) -> bool:
    """Whether the prompt was longer than the model's window, or than its server takes."""
    return error.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE or _has(
        str(error).lower(), _WINDOW_HINTS
    )


def should_roll_back(error: AgentError) -> bool:
    """Whether the user's message can never be answered, so that it must not stay.

    Only the status of the provider's own answer says so, and a model without vision. The words of
    an error can keep a message: those that name the window, the tools, the model or access.
    """
    if (error.capability or "").lower() == "vision":
        return True
    if error.began or error.status not in _REFUSALS or not _is_about_messages(error.parameter):
        return False
    return not _has(str(error).lower(), (*_WINDOW_HINTS, *_SETUP_HINTS))


def _is_about_messages(parameter: str | None) -> bool:
    return parameter is None or parameter.startswith(("messages", "input", "prompt"))


def code_of(error: AgentError) -> str:
    """The gateway's code for the failed turn."""
    if error.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return "AUTH_ERROR"
    of_provider = error.status is not None or isinstance(error, ProviderError)
    return "PROVIDER_ERROR" if of_provider else "AGENT_ERROR"


def closed_with(said: str, marker: str, *, most: int) -> str:
    """What is stored of a turn that ends early: what was shown, a blank line and the marker.

    Not more than `most` bytes; the marker stays whole as long as it fits at all.
    """
    if not said.strip():
        return _cut(marker, most)
    ending = f"\n\n{marker}"
    return _cut(_cut(said, most - len(ending.encode())) + ending, most)


def _cut(text: str, most: int) -> str:
    return text.encode()[: max(0, most)].decode("utf-8", "ignore")


def _has(text: str, hints: tuple[str, ...]) -> bool:
    return any(hint in text for hint in hints)
