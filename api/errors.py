"""One table: what an error becomes in an HTTP answer, and so in an MCP one.

The body is `{"error": text, "code": code}` with what else a program can use. Texts that could
hold a path, SQL or an address are replaced by ours; what was replaced goes to the log.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field
from typing import Any, Final

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from sessions.errors import (
    InvalidEvent,
    InvalidRequest,
    PositionLost,
    RedisRefused,
    Retryable,
    SearchInterrupted,
    SessionError,
    ShareFull,
    StoreBehind,
    StoreMismatch,
    StoreUnavailable,
    StreamFull,
    StreamUnavailable,
)
from sessions.strict_json import InvalidJson
from sessions.web.asgi import BodyTooLarge

log = logging.getLogger(__name__)


class Unauthorized(SessionError):
    """No token, or one that is nobody's."""


class Forbidden(SessionError):
    """The token's scope does not reach so far."""


class NotFound(SessionError):
    """There is no such thing, as far as the caller may know."""


class UnknownTool(NotFound):
    """No tool has this name."""


class Refused(SessionError):
    """An upstream route's own refusal, with its status and its text."""

    def __init__(self, status: int, text: str, code: str) -> None:
        super().__init__(text)
        self.status = status
        self.code = code


class IdConflict(Refused):
    """The id of a change belongs to an earlier event that says something else."""

    def __init__(self) -> None:
        super().__init__(
            422,
            "id_conflict: this Idempotency-Key was used before, for something else; choose another",
            "id_conflict",
        )


class Busy(Retryable):
    """Too many readers wait already."""


class TooManySearches(Retryable):
    """Other searches were at work for as long as this one could wait."""


class TooManyWaiting(Retryable):
    """Too many of the caller's own reads wait already."""


class NotConfirmed(Retryable):
    """Redis went away while a change was published: it may take effect, or not."""

    def __init__(self, event_id: str) -> None:
        super().__init__(
            "Redis did not confirm the change, which may take effect all the same; send it again "
            f"with Idempotency-Key: {event_id}"
        )
        self.event_id = event_id


@dataclass(frozen=True, slots=True)
class Problem:
    """An error as a door shows it."""

    status: int
    text: str
    code: str
    extra: dict[str, Any] = field(default_factory=dict[str, Any])
    headers: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def body(self) -> dict[str, Any]:
        """The JSON object that both doors answer with."""
        return {"error": self.text, "code": self.code, **self.extra}


# Status, code and, where the error's own text may say too much, the text. The first match counts.
_TABLE: Final[tuple[tuple[type[Exception], int, str, str | None], ...]] = (
    (Unauthorized, 401, "unauthorized", None),
    (Forbidden, 403, "forbidden", None),
    (UnknownTool, 404, "unknown_tool", None),
    (NotFound, 404, "not_found", None),
    (PositionLost, 410, "position_lost", None),
    (BodyTooLarge, 413, "body_too_large", None),
    (InvalidJson, 400, "invalid_json", None),
    (InvalidRequest, 422, "invalid_argument", None),
    (SearchInterrupted, 422, "search_too_slow", None),
    (TooManySearches, 429, "too_many_searches", None),
    (StoreBehind, 503, "store_behind", None),
    (Busy, 503, "busy", None),
    (TooManyWaiting, 429, "too_many_waiting", None),
    (NotConfirmed, 503, "not_confirmed", None),
    (StoreMismatch, 503, "store_mismatch", None),
    (ShareFull, 429, "agent_share_full", None),
    (RedisRefused, 503, "redis_refused", "Redis refuses what this needs; the log tells what"),
    (StreamFull, 503, "stream_full", None),
    (StreamUnavailable, 503, "stream_unavailable", "Redis does not answer; try again"),
    (StoreUnavailable, 503, "store_unavailable", "the store cannot be read now; try again"),
    (Retryable, 503, "unavailable", "this is not possible now; try again"),
)


def problem_of(error: Exception) -> Problem:
    """How a door shows the error; an unforeseen one is logged and shown as a bare 500."""
    if isinstance(error, Refused):
        return Problem(error.status, str(error), error.code)
    if isinstance(error, InvalidEvent):
        return Problem(422, error.detail, error.reason)
    if isinstance(error, RequestValidationError | ValidationError):
        return Problem(422, invalid_argument(error), "invalid_argument")
    if isinstance(error, HTTPException):
        headers = dict(error.headers or {})
        return Problem(error.status_code, error.detail, "http_error", headers=headers)
    if isinstance(error, ClientDisconnect):
        return Problem(400, "the connection ended before the body did", "incomplete_body")
    for kind, status, code, text in _TABLE:
        if isinstance(error, kind):
            return _known(error, status, code, text)
    log.error("a request failed", exc_info=error)
    return Problem(500, "an error inside; the log of the api tells more", "internal")


def _known(error: Exception, status: int, code: str, text: str | None) -> Problem:
    if text is not None:
        log.warning("answered %s: %s", code, error)
    extra: dict[str, Any] = {}
    headers: dict[str, str] = {}
    if isinstance(error, Retryable):
        headers["retry-after"] = str(math.ceil(error.retry_after))
    if isinstance(error, StoreBehind):
        extra["lag"] = error.lag
    if isinstance(error, NotConfirmed):
        extra["id"] = error.event_id
    if isinstance(error, Unauthorized):
        headers["www-authenticate"] = "Bearer"
    return Problem(status, text or str(error), code, extra, headers)


def invalid_argument(error: RequestValidationError | ValidationError) -> str:
    """One sentence on the first thing that is wrong with the arguments."""
    first = error.errors()[0]
    place = [str(part) for part in first["loc"] if part not in ("body", "query", "path")]
    name = ".".join(place)
    if first["type"] == "missing":
        return f"Missing '{name}' parameter"
    return f"Invalid '{name}': {first['msg']}" if name else str(first["msg"])
