"""Who calls a route of the api, and what it said in headers.

A handler says by the type of its `caller` which scope it needs (Reader, Sender, Server,
Administrator; AnyCaller needs none).
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import Depends, Security
from fastapi.security import HTTPBearer
from starlette.requests import Request

from api.service import Caller, checked_key
from sessions.access.tokens import Principal, TokenScope
from sessions.errors import InvalidRequest
from sessions.models import Position
from sessions.web.asgi import utf8_header

# For the document only; what does not fit is refused with a sentence of its own.
POSITION: Final = {
    "pattern": r"^[0-9]{1,9}\.[0-9]{1,20}-[0-9]{1,20}\.[A-Za-z0-9._:-]{0,128}(@[0-9a-f]{16})?$"
}
_KEY: Final = {"pattern": "^[A-Za-z0-9._:-]{1,128}$"}
_TEXT: Final = {"anyOf": [{"type": "string"}, {"type": "null"}]}
_BEARER: Final = HTTPBearer(auto_error=False)


def _parameter(place: str, name: str, **schema: Any) -> dict[str, Any]:
    described = {key: schema[key] for key in ("description",) if key in schema}
    title = "-".join(part.capitalize() for part in name.split("-"))
    shown = {**schema, "title": title}
    return {"name": name, "in": place, "required": False, "schema": shown, **described}


# What a caller may say beside the arguments, for the document; `_said` reads it.
CALLER_PARAMETERS: Final = [
    _parameter("query", "after", **_TEXT, **POSITION, description="wait for this position only"),
    _parameter(
        "query",
        "consistency",
        type="string",
        enum=["fresh", "any"],
        default="fresh",
        description="any: take the store as it is",
    ),
    _parameter("header", "x-turnstream-after", **_TEXT, **POSITION),
    _parameter("header", "x-turnstream-session", **_TEXT),
    _parameter("header", "idempotency-key", **_TEXT, **_KEY),
]


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


def _caller_with(*scopes: TokenScope) -> Any:
    """The dependency that reads who calls; raises AccessRefused without one of the scopes."""

    async def read(request: Request, _: Annotated[object, Security(_BEARER)]) -> Caller:
        return called(request, *scopes)

    return Depends(read)


def called(request: Request, *scopes: TokenScope) -> Caller:
    """Who calls; raises AccessRefused without one of the scopes."""
    request.state.caller = caller = _said(request)
    for scope in scopes:
        caller.require(scope)
    return caller


def _said(request: Request) -> Caller:
    # Read by hand: FastAPI takes some 0.1 ms for these five, of each request.
    query, headers = request.query_params, request.headers
    consistency = query.get("consistency", "fresh")
    if consistency not in ("fresh", "any"):
        raise InvalidRequest("Invalid 'consistency': Input should be 'fresh' or 'any'")
    return make_caller(
        request.state.principal,
        after=query.get("after") or headers.get("x-turnstream-after"),
        any_age=consistency == "any",
        current=headers.get("x-turnstream-session"),
        key=headers.get("idempotency-key"),
    )


# AnyCaller is for routes that every token may use.
AnyCaller = Annotated[Caller, _caller_with()]
Reader = Annotated[Caller, _caller_with(TokenScope.READ)]
Sender = Annotated[Caller, _caller_with(TokenScope.READ, TokenScope.SEND)]
Server = Annotated[Caller, _caller_with(TokenScope.SERVE)]
Administrator = Annotated[Caller, _caller_with(TokenScope.READ, TokenScope.ADMIN)]
