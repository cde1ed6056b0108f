"""What every route of the api has in common: its token, its body, its headers, what is counted.

A route of class `TokenRoute` is reached with a valid token only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Depends
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from api.callers import CALLER_PARAMETERS
from api.metrics import Metrics
from api.readiness import Readiness
from api.service import Caller, Service
from api.unanswered import Unanswered
from routing.routes import GuardedRoute
from sessions.access.tokens import TokenVerifier
from sessions.stream.replies.replies import Replies
from sessions.strict_json import parse_json
from sessions.web.asgi import read_body
from sessions.web.authentication import authenticate
from sessions.web.edge import Edge

# Bytes of a request's body. A message of 256 KiB fits, also with all of it escaped as \uXXXX.
MAX_BODY: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Api:
    """What the routes of one app work with; found in `app.state.api`."""

    service: Service
    replies: Replies
    tokens: TokenVerifier
    metrics: Metrics
    readiness: Readiness
    edge: Edge
    unanswered: Unanswered


class OpenRoute(GuardedRoute):
    """A route for everybody."""

    def complete(self, request: Request, response: Response, seconds: float) -> None:
        """Count the answer, and give it the headers of every answer."""
        super().complete(request, response, seconds)
        response.headers.update(position_header(request))
        metrics = api_of(request).metrics
        metrics.request(self.path_format, request.method, response.status_code, seconds)


class TokenRoute(OpenRoute):
    """A route for those who show a token that is somebody's."""

    def __init__(
        self, *args: Any, openapi_extra: dict[str, Any] | None = None, **options: Any
    ) -> None:
        extra = dict(openapi_extra or {})
        extra["parameters"] = [*CALLER_PARAMETERS, *extra.get("parameters", ())]
        super().__init__(*args, openapi_extra=extra, **options)

    async def admit(self, request: Request) -> None:
        """Keep who calls for the handler; raises what `authenticate` raises."""
        request.state.principal = await authenticate(api_of(request).tokens, request.headers)


def api_of(request: Request) -> Api:
    """The api that this request came to."""
    return request.app.state.api


def position_header(request: Request) -> dict[str, str]:
    """The position that the answer stands on; nothing if there is none."""
    caller: Caller | None = getattr(request.state, "caller", None)
    if caller is None or caller.position is None:
        return {}
    return {"x-turnstream-position": str(caller.position)}


async def read_json(request: Request) -> Any:
    """The JSON value of the body, {} if there is none; raises BodyTooLarge and InvalidJson.

    The content type is not looked at: a JSON text is one whatever it is called, and a page of
    another origin cannot send our token with it.
    """
    body = await read_body(request.stream(), MAX_BODY)
    return parse_json(body) if body else {}


def json_body(model: type[BaseModel]) -> dict[str, Any]:
    """The part of the OpenAPI document about a body that a route reads by itself."""
    content = {"application/json": {"schema": model.model_json_schema()}}
    return {"requestBody": {"required": True, "content": content}}


async def _here(request: Request) -> Api:
    # A coroutine, because FastAPI runs every other dependency in a thread, at 0.5 ms each.
    return api_of(request)


Here = Annotated[Api, Depends(_here)]
