"""Who calls a route of the api, and what it said in headers.

A handler says by the type of its `caller` which scope it needs (Reader, Sender, Server,
Administrator; AnyCaller needs none).
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from fastapi import Depends, Header, Query, Security
from fastapi.security import HTTPBearer
from starlette.requests import Request

from api.service import Caller, checked_key
from sessions.access.tokens import Principal, TokenScope
from sessions.models import Position
from sessions.web.asgi import utf8_header

# For the document only; what does not fit is refused with a sentence of its own.
POSITION: Final = {
    "pattern": r"^[0-9]{1,9}\.[0-9]{1,20}-[0-9]{1,20}\.[A-Za-z0-9._:-]{0,128}(@[0-9a-f]{16})?$"
}
_KEY: Final = {"pattern": "^[A-Za-z0-9._:-]{1,128}$"}
_BEARER: Final = HTTPBearer(auto_error=False)


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
