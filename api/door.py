"""What every HTTP route of the api has in common: who may in, what errors look like, what is told.

A route of class `Door` is reached with a valid token only. Its handler says by the type of its
`caller` which scope it needs (Reader, Sender, Server, Administrator; AnyCaller needs none).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, Literal

from fastapi import Depends, Header, Query, Security
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from pydantic import BaseModel
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from api.errors import Forbidden, Problem, Unauthorized, problem_of
from api.metrics import Metrics
from api.readiness import Readiness
from api.service import Caller, Service, checked_key
from sessions.access.tokens import AGENT_HEADER, Principal, TokenScope, TokenVerifier
from sessions.models import Position
from sessions.strict_json import parse_json
from sessions.web.asgi import read_body, utf8_header
from sessions.web.edge import Edge

# Bytes of a request's body. A message of 256 KiB fits, also with all of it escaped as \uXXXX.
MAX_BODY: Final = 1024 * 1024
_STANDING_HEADERS: Final = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


@dataclass(frozen=True, slots=True)
class Api:
    """What the doors of one app work with; found in `app.state.api`."""

    service: Service
    tokens: TokenVerifier
    metrics: Metrics
    readiness: Readiness
    edge: Edge


# For the document only; what does not fit is refused with a sentence of its own.
POSITION: Final = {
    "pattern": r"^[0-9]{1,9}\.[0-9]{1,20}-[0-9]{1,20}\.[A-Za-z0-9._:-]{0,128}(@[0-9a-f]{16})?$"
}
_KEY: Final = {"pattern": "^[A-Za-z0-9._:-]{1,128}$"}
_BEARER: Final = HTTPBearer(auto_error=False)


class Json(Response):
    """A JSON answer, rendered without a detour."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The value as JSON text."""
        return to_json(content)


class Door(APIRoute):
    """A route behind the token check. Whatever goes wrong in it is answered in one form."""

    with_token: ClassVar[bool] = True

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler between authentication and the standing headers."""
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            began = time.perf_counter()
            try:
                if self.with_token:
                    request.state.principal = await authenticate(api_of(request).tokens, request)
                response = await handle(request)
            except Exception as error:  # noqa: BLE001 - every error has its answer
                response = answer_problem(problem_of(error))
            response.headers.update(standing_headers(request))
            seconds = time.perf_counter() - began
            metrics = api_of(request).metrics
            metrics.request(self.path_format, request.method, response.status_code, seconds)
            return response

        return guarded


class OpenDoor(Door):
    """A route for everybody."""

    with_token = False


def api_of(request: Request) -> Api:
    """The api that this request came to."""
    return request.app.state.api


async def authenticate(tokens: TokenVerifier, request: Request) -> Principal:
    """Who calls, narrowed to one agent where the caller asks for it.

    Raises Unauthorized without a token that is somebody's, Forbidden with another agent's.
    """
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    principal = await tokens.verify(token.strip()) if scheme.lower() == "bearer" else None
    if principal is None:
        raise Unauthorized("Unauthorized — send Authorization: Bearer <token>")
    agent = request.headers.get(AGENT_HEADER)
    if agent is None:
        return principal
    narrowed = principal.narrowed(utf8_header(agent, "X-Turnstream-Agent"))
    if narrowed is None:
        raise Forbidden("this token may not act for the agent in X-Turnstream-Agent")
    return narrowed


def answer_problem(problem: Problem) -> Response:
    """The answer that an error becomes."""
    return Json(problem.body, problem.status, problem.headers)


def standing_headers(request: Request) -> Mapping[str, str]:
    """What every answer says beside its content; the position where there is one."""
    caller: Caller | None = getattr(request.state, "caller", None)
    if caller is None or caller.position is None:
        return _STANDING_HEADERS
    return {**_STANDING_HEADERS, "x-turnstream-position": str(caller.position)}


async def read_json(request: Request) -> Any:
    """The JSON value of the body, {} where there is none; raises BodyTooLarge and InvalidJson.

    The content type is not looked at: a JSON text is one whatever it is called, and a page of
    another origin cannot send our token with it.
    """
    body = await read_body(request.stream(), MAX_BODY)
    return parse_json(body) if body else {}


def json_body(model: type[BaseModel]) -> dict[str, Any]:
    """The part of the OpenAPI document about a body that a route reads by itself."""
    content = {"application/json": {"schema": model.model_json_schema()}}
    return {"requestBody": {"required": True, "content": content}}


def make_caller(
    principal: Principal,
    *,
    after: str | None,
    any_age: bool = False,
    current: str | None = None,
    key: str | None = None,
) -> Caller:
    """The caller with what it said in headers; raises InvalidRequest for what makes no sense."""
    return Caller(
        principal,
        after=Position.parse(after) if after else None,
        any_age=any_age,
        current=utf8_header(current, "X-Turnstream-Session") if current is not None else None,
        key=checked_key(key),
    )


async def _caller(
    request: Request,
    _: Annotated[object, Security(_BEARER)],
    after: Annotated[
        str | None, Query(description="wait for this position only", json_schema_extra=POSITION)
    ] = None,
    consistency: Annotated[
        Literal["fresh", "any"], Query(description="any: take the store as it is")
    ] = "fresh",
    x_turnstream_after: Annotated[str | None, Header(json_schema_extra=POSITION)] = None,
    x_turnstream_session: Annotated[str | None, Header()] = None,
    idempotency_key: Annotated[str | None, Header(json_schema_extra=_KEY)] = None,
) -> Caller:
    request.state.caller = caller = make_caller(
        request.state.principal,
        after=after or x_turnstream_after,
        any_age=consistency == "any",
        current=x_turnstream_session,
        key=idempotency_key,
    )
    return caller


# For routes that every token may use.
AnyCaller = Annotated[Caller, Depends(_caller)]


async def _reader(caller: AnyCaller) -> Caller:
    caller.require(TokenScope.READ)
    return caller


Reader = Annotated[Caller, Depends(_reader)]


async def _sender(caller: Reader) -> Caller:
    caller.require(TokenScope.SEND)
    return caller


async def _administrator(caller: Reader) -> Caller:
    caller.require(TokenScope.ADMIN)
    return caller


async def _server(caller: AnyCaller) -> Caller:
    caller.require(TokenScope.SERVE)
    return caller


Sender = Annotated[Caller, Depends(_sender)]
Server = Annotated[Caller, Depends(_server)]
Administrator = Annotated[Caller, Depends(_administrator)]


async def _here(request: Request) -> Api:
    # A coroutine, because FastAPI runs every other dependency in a thread, at 0.5 ms each.
    return api_of(request)


Here = Annotated[Api, Depends(_here)]
