"""HTTP without a framework: the types of ASGI, bodies that are bounded, answers in JSON."""

from __future__ import annotations

import json
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final

from sessions.errors import InvalidRequest
from sessions.web.rejections import BodyTooLarge

AsgiScope = MutableMapping[str, Any]
AsgiMessage = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[AsgiMessage]]
Send = Callable[[AsgiMessage], Awaitable[None]]
AsgiApp = Callable[[AsgiScope, Receive, Send], Awaitable[None]]

# In `scope["extensions"]`, which only a server or an app can write: no client can send it.
_INSIDE: Final = "turnstream.inside"

# What every answer says beside its content.
STANDING_HEADERS: Final[Mapping[str, str]] = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
}
_NONE: Final[Mapping[str, str]] = {}


def inside(app: AsgiApp) -> AsgiApp:
    """The app for calls from its own process, which the limits for outside callers spare."""

    async def call(scope: AsgiScope, receive: Receive, send: Send) -> None:
        extensions: dict[str, Any] = {**(scope.get("extensions") or {}), _INSIDE: {}}
        await app({**scope, "extensions": extensions}, receive, send)

    return call


def is_inside(scope: AsgiScope) -> bool:
    """Whether this request came through `inside`."""
    return _INSIDE in (scope.get("extensions") or {})


def headers_of(scope: AsgiScope) -> dict[str, str]:
    """The headers of a request by their names in lower case; of repeated ones the first."""
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        found.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))
    return found


async def answer_json(
    send: Send,
    status: int,
    value: Any,
    headers: Mapping[str, str] = _NONE,
    *,
    kind: str = "http",
) -> None:
    """A whole answer with that value as JSON; `websocket.http` is its kind before a handshake."""
    body = json.dumps(value).encode()
    told = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        **STANDING_HEADERS,
        **headers,
    }
    pairs = [(name.encode(), text.encode()) for name, text in told.items()]
    await send({"type": f"{kind}.response.start", "status": status, "headers": pairs})
    await send({"type": f"{kind}.response.body", "body": body})


async def read_body(chunks: AsyncIterable[bytes], limit: int) -> bytes:
    """All of a body; raises BodyTooLarge as soon as more than `limit` bytes have come."""
    received = bytearray()
    async for chunk in chunks:
        received += chunk
        if len(received) > limit:
            raise BodyTooLarge(f"the body is larger than {limit} bytes")
    return bytes(received)


def utf8_header(value: str, name: str) -> str:
    """A header's text, which frameworks decode as if it were Latin-1; raises InvalidRequest."""
    try:
        return value.encode("latin-1").decode("utf-8")
    except ValueError:
        raise InvalidRequest(f"{name} must be UTF-8") from None
