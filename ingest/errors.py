"""What an error becomes in an HTTP answer: `{"error": text, "code": code, …}`.

Texts that could hold an address are replaced by ours; what was replaced goes to the log.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Coroutine
from typing import Any, Final

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from sessions.errors import (
    InvalidEvent,
    InvalidRequest,
    LaneFull,
    RedisRefused,
    Retryable,
    SessionError,
    ShareFull,
    StreamFull,
    StreamUnavailable,
)
from sessions.strict_json import InvalidJson
from sessions.web.asgi import BodyTooLarge

log = logging.getLogger(__name__)


class Unauthorized(SessionError):
    """No token, or one that is nobody's."""


class Forbidden(SessionError):
    """The token does not reach so far."""


class NotFound(SessionError):
    """There is no such channel."""


class WrongSignature(SessionError):
    """The request does not prove that it comes from the channel's platform."""


class OldTimestamp(SessionError):
    """The request was signed too long ago, or its sender's clock is wrong."""


class BrokenPayload(SessionError):
    """The body is not what the channel's platform sends."""


class InvalidBody(SessionError):
    """The body is JSON, but no event and no list of events."""


class ApiUnavailable(Retryable):
    """The api does not answer, so nobody can be let in and no history be read."""


class RefusedEvent(SessionError):
    """One event of a body is refused; `index` counts from 0, `field` is None where it has none.

    `status` is 403 for what is not for this caller to publish.
    """

    def __init__(
        self, index: int, field: str | None, reason: str, detail: str, *, status: int = 422
    ) -> None:
        super().__init__(f"event {index}: {detail}")
        self.index = index
        self.field = field
        self.reason = reason
        self.status = status


# Status, code and, where the error's own text may say too much, the text. The first match counts.
_TABLE: Final[tuple[tuple[type[Exception], int, str, str | None], ...]] = (
    (Unauthorized, 401, "unauthorized", None),
    (Forbidden, 403, "forbidden", None),
    (WrongSignature, 401, "wrong_signature", None),
    (OldTimestamp, 401, "old_timestamp", None),
    (NotFound, 404, "not_found", None),
    (BodyTooLarge, 413, "body_too_large", None),
    (InvalidJson, 400, "invalid_json", None),
    (BrokenPayload, 400, "broken_payload", None),
    (InvalidBody, 422, "invalid_body", None),
    (InvalidRequest, 422, "invalid_argument", None),
    (LaneFull, 429, "session_queue_full", None),
    (ShareFull, 429, "agent_share_full", None),
    (StreamFull, 503, "stream_full", None),
    (StreamUnavailable, 503, "stream_unavailable", "Redis does not answer; try again"),
    (ApiUnavailable, 503, "api_unavailable", "the api does not answer; try again"),
    (RedisRefused, 503, "redis_refused", "Redis refuses what this needs; the log tells what"),
    (Retryable, 503, "unavailable", "this is not possible now; try again"),
)


class GuardedRoute(APIRoute):
    """A route whose errors become answers here, whichever application it is part of."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, guarded."""
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            try:
                response = await handle(request)
            except HTTPException:
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets an answer
                response = answer_to(error)
            metrics = request.app.state.ingest.metrics
            metrics.request(self.path_format, request.method, response.status_code)
            return response

        return guarded


def answer_to(error: Exception) -> Response:
    """The answer to a request that failed; an unforeseen error is logged and is a bare 500."""
    if isinstance(error, RefusedEvent):
        return _answer(error.status, str(error), error.reason, index=error.index, field=error.field)
    if isinstance(error, InvalidEvent):
        return _answer(422, error.detail, error.reason)
    if isinstance(error, ClientDisconnect):
        return _answer(400, "the connection ended before the body did", "incomplete_body")
    for kind, status, code, text in _TABLE:
        if isinstance(error, kind):
            return _known(error, status, code, text)
    log.error("a request failed", exc_info=error)
    return _answer(500, "an error inside; the log of ingest tells more", "internal")


def _known(error: Exception, status: int, code: str, text: str | None) -> Response:
    if text is not None:
        log.warning("answered %s: %s", code, error)
    answer = _answer(status, text or str(error), code)
    if isinstance(error, Retryable):
        answer.headers["retry-after"] = str(math.ceil(error.retry_after))
    if isinstance(error, Unauthorized):
        answer.headers["www-authenticate"] = "Bearer"
    return answer


def _answer(status: int, text: str, code: str, **extra: Any) -> JSONResponse:
    return JSONResponse({"error": text, "code": code, **extra}, status)
