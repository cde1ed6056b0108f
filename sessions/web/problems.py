"""One table for every entry point: which status, code and text an error is answered with.

The body is `{"error": text, "code": code}` with what else a program can use. A text that could
hold a path, SQL or an address is replaced by ours; what was replaced goes to the log.

    raise Busy(...)            in an entry point, or below it
    problem_of(error)          503 `busy`, with Retry-After

docs/http-api.md lists the codes, which programs rely on.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from pydantic import ValidationError

from sessions.errors import (
    AccessRefused,
    InvalidEvent,
    InvalidRequest,
    LaneFull,
    PositionLost,
    RedisRefused,
    RepliesFull,
    Retryable,
    SearchInterrupted,
    ShareFull,
    StoreBehind,
    StoreMismatch,
    StoreMoved,
    StoreUnavailable,
    StreamFull,
    StreamUnavailable,
)
from sessions.strict_json import InvalidJson
from sessions.web.asgi import Send, answer_json
from sessions.web.rejections import (
    ApiUnavailable,
    BodyTooLarge,
    BrokenPayload,
    Busy,
    IncompleteBody,
    InvalidBody,
    NotConfirmed,
    NotFound,
    OldTimestamp,
    Refused,
    TooManySearches,
    TooManyWaiting,
    Unauthorized,
    UnknownTool,
    WrongSignature,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Problem:
    """An error as an entry point shows it."""

    status: int
    text: str
    code: str
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])
    headers: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def body(self) -> dict[str, Any]:
        """The JSON object of the answer."""
        return {"error": self.text, "code": self.code, **self.details}


@dataclass(frozen=True, slots=True)
class ProblemRow:
    """How one class of errors is answered.

    `text` replaces the error's own text if that may say too much. `retry_after` is in seconds, for
    an error that does not bring it along.
    """

    error: type[Exception]
    status: int
    code: str
    text: str | None = None
    retry_after: float | None = None


# The caller has to change something: sent again as it is, it would be refused again.
_WRONG: Final = (
    ProblemRow(Unauthorized, 401, "unauthorized"),
    ProblemRow(WrongSignature, 401, "wrong_signature"),
    ProblemRow(OldTimestamp, 401, "old_timestamp"),
    ProblemRow(UnknownTool, 404, "unknown_tool"),
    ProblemRow(NotFound, 404, "not_found"),
    ProblemRow(PositionLost, 410, "position_lost"),
    ProblemRow(BodyTooLarge, 413, "body_too_large"),
    ProblemRow(IncompleteBody, 400, "incomplete_body"),
    ProblemRow(InvalidJson, 400, "invalid_json"),
    ProblemRow(BrokenPayload, 400, "broken_payload"),
    ProblemRow(InvalidBody, 422, "invalid_body"),
    ProblemRow(InvalidRequest, 422, "invalid_argument"),
    ProblemRow(SearchInterrupted, 422, "search_too_slow"),
)
# Full: there is room again when the worker has caught up, or when what waits has had its turn.
_FULL: Final = (
    ProblemRow(ShareFull, 429, "agent_share_full"),
    ProblemRow(LaneFull, 429, "session_queue_full"),
    ProblemRow(RepliesFull, 429, "replies_full"),
    ProblemRow(StreamFull, 503, "stream_full"),
)
# Broken: a person has to act, as the log says.
_BROKEN: Final = (
    ProblemRow(StoreMismatch, 503, "store_mismatch"),
    ProblemRow(
        StoreMoved, 503, "store_moved", "the store was moved to another backend; the log names it"
    ),
    ProblemRow(
        RedisRefused,
        503,
        "redis_refused",
        "Redis refuses a command that this needs; the log names it",
        retry_after=10,
    ),
)
# Busy: others are at work, or something does not answer for now.
_BUSY: Final = (
    ProblemRow(TooManySearches, 429, "too_many_searches"),
    ProblemRow(TooManyWaiting, 429, "too_many_waiting"),
    ProblemRow(Busy, 503, "busy"),
    ProblemRow(StoreBehind, 503, "store_behind"),
    ProblemRow(NotConfirmed, 503, "not_confirmed"),
    ProblemRow(StreamUnavailable, 503, "stream_unavailable", "Redis does not answer; try again"),
    ProblemRow(
        StoreUnavailable, 503, "store_unavailable", "the store cannot be read now; try again"
    ),
    ProblemRow(ApiUnavailable, 503, "api_unavailable", "the api does not answer; try again"),
    ProblemRow(Retryable, 503, "unavailable", "this is not possible now; try again"),
)
# The first match counts, so that a class stands before the one that it is derived from.
TABLE: Final = (*_WRONG, *_FULL, *_BROKEN, *_BUSY)

# What is refused before a route is looked for.
HOST_NOT_ALLOWED: Final = Problem(421, "this host name is not in allowed_hosts", "host_not_allowed")
ORIGIN_NOT_ALLOWED: Final = Problem(
    403, "this origin is not in allowed_hosts", "origin_not_allowed"
)
REQUEST_TIMEOUT: Final = Problem(
    408, "the request did not come in time; send it again", "request_timeout"
)
HEADERS_TOO_LARGE: Final = Problem(
    431, "the request line and headers are too large", "headers_too_large"
)
TOO_MANY_CONNECTIONS: Final = Problem(
    429,
    "this address has too many connections open; close some, or use them again",
    "too_many_connections",
    headers={"retry-after": "1"},
)
_INTERNAL: Final = Problem(500, "an error inside; the log tells more", "internal")


def too_many_requests(wait: float) -> Problem:
    """A caller has none left: for `wait` seconds or, with 0, until its others are answered."""
    text = (
        "too many requests a second; wait as long as Retry-After says"
        if wait
        else "too many requests at a time; wait for the answers to the others"
    )
    seconds = str(max(1, math.ceil(wait)))
    return Problem(429, text, "too_many_requests", headers={"retry-after": seconds})


def problem_of(error: Exception) -> Problem:
    """How an entry point shows the error; an unforeseen one is logged and shown as a bare 500."""
    match error:
        case Refused():
            return Problem(error.status, str(error), error.code, error.details)
        case AccessRefused():
            return Problem(403, str(error), error.code)
        case InvalidEvent():
            return Problem(422, error.detail, error.reason)
        case ValidationError():
            return problem_of(InvalidRequest(first_fault(error.errors())))
        case _:
            return _listed(error)


def _listed(error: Exception) -> Problem:
    for row in TABLE:
        if isinstance(error, row.error):
            return _shown(error, row)
    log.error("a request failed", exc_info=error)
    return _INTERNAL


def _shown(error: Exception, row: ProblemRow) -> Problem:
    if row.text is not None:
        log.warning("answered %s: %s", row.code, error)
    return Problem(
        row.status, row.text or str(error), row.code, _details(error), _headers(error, row)
    )


def _details(error: Exception) -> dict[str, Any]:
    if isinstance(error, StoreBehind):
        return {"lag": error.lag}
    return {"id": error.event_id} if isinstance(error, NotConfirmed) else {}


def _headers(error: Exception, row: ProblemRow) -> dict[str, str]:
    if isinstance(error, Unauthorized):
        return {"www-authenticate": "Bearer"}
    wait = error.retry_after if isinstance(error, Retryable) else row.retry_after
    return {} if wait is None else {"retry-after": str(math.ceil(wait))}


def first_fault(faults: Sequence[Mapping[str, Any]]) -> str:
    """One sentence on the first of pydantic's errors."""
    first = faults[0]
    place = [str(part) for part in first["loc"] if part not in ("body", "query", "path")]
    name = ".".join(place)
    if first["type"] == "missing":
        return f"Missing '{name}' parameter"
    return f"Invalid '{name}': {first['msg']}" if name else str(first["msg"])


def closing(problem: Problem) -> Problem:
    """The problem, after whose answer the connection is closed."""
    return replace(problem, headers={**problem.headers, "connection": "close"})


async def send_problem(send: Send, problem: Problem, *, kind: str = "http") -> None:
    """Answer with the problem; `kind` as for `answer_json`."""
    await answer_json(send, problem.status, problem.body, problem.headers, kind=kind)
