"""What a tool says: done, found nothing, not known yet, or its own refusal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import regex

from api.service import Caller, Change
from sessions.models import Session

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
class ToolResult:
    """A tool's result: `output` for the model to read, `data` the same as structure.

    `error` is its refusal, None if it did what was asked. `pending` says that a change was accepted
    and is not applied yet.
    """

    output: str = ""
    data: dict[str, Any] | None = None
    error: str | None = None
    pending: bool = False

    def body(self, caller: Caller) -> dict[str, Any]:
        """The answer as every entry point gives it."""
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


def checked_id(session_id: str) -> str:
    """The id without blanks around it; raises ToolFailure for one that cannot be meant."""
    asked = session_id.strip()
    if not _ALPHANUMERIC.search(asked):
        raise ToolFailure(_INVALID_ID)
    return asked


def changed(
    change: Change, session: Session, done: str, failed: str, **data: str | int
) -> ToolResult:
    """The answer to a change: done, or not known yet; raises ToolFailure where it failed."""
    if change.pending:
        return ToolResult(_PENDING.format(key=session.key), {"session": session.key}, pending=True)
    if not change.applied:
        raise ToolFailure(f"{failed}: {change.reason}")
    return ToolResult(done, {"session": session.key, **data})


def not_found(asked: str) -> ToolFailure:
    """The refusal of a session that there is not, or not for this caller."""
    return ToolFailure(
        f"Session '{asked}' not found. Use sessions_list or sessions_current to choose an "
        "existing session. Gateway dashboard sessions are stored as 'gw_<session_id>'."
    )
