"""What every HTTP door needs before its framework: names checked, bodies bounded, answers in JSON.

Plain ASGI, so that ingest and api can share it and the kernel still knows no framework.
"""

from __future__ import annotations

import json
import re
from collections.abc import (
    AsyncIterable,
    Awaitable,
    Callable,
    Iterable,
    MutableMapping,
    Sequence,
)
from typing import Any, Final

from sessions.errors import ConfigError, InvalidRequest, SessionError
from sessions.process.settings import Settings

AsgiScope = MutableMapping[str, Any]
AsgiMessage = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[AsgiMessage]]
Send = Callable[[AsgiMessage], Awaitable[None]]
AsgiApp = Callable[[AsgiScope, Receive, Send], Awaitable[None]]

# In `scope["extensions"]`, which only a server or an app can write: no client can send it.
_INSIDE: Final = "turnstream.inside"

LOOPBACK_NAMES: Final = ("localhost", "127.0.0.1", "[::1]")
# Listening there means "on every address", which is no name to be called by.
_WILDCARDS: Final = frozenset({"0.0.0.0", "::", ""})
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}

_AUTHORITY: Final = r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?"
_HOST: Final = re.compile(_AUTHORITY)
_ORIGIN: Final = re.compile(rf"(https?)://{_AUTHORITY}")


class BodyTooLarge(SessionError):
    """More bytes came than a request may have."""


def inside(app: AsgiApp) -> AsgiApp:
    """The app for calls from its own process, which the limits for outside callers spare."""

    async def call(scope: AsgiScope, receive: Receive, send: Send) -> None:
        extensions: dict[str, Any] = {**(scope.get("extensions") or {}), _INSIDE: {}}
        await app({**scope, "extensions": extensions}, receive, send)

    return call


def is_inside(scope: AsgiScope) -> bool:
    """Whether this request came through `inside`."""
    return _INSIDE in (scope.get("extensions") or {})


def allowed_names(settings: Settings) -> tuple[str, ...]:
    """The names under which a process of these settings may be called.

    Raises ConfigError where `allowed_hosts` has an entry that is no name.
    """
    host = settings.gateway.host
    bound = () if host in _WILDCARDS else (f"[{host}]" if ":" in host else host,)
    names = (*LOOPBACK_NAMES, *bound, *settings.turnstream.allowed_hosts)
    for name in names:
        _configured(name)
    return names


class HostGuard:
    """Answers only requests, WebSockets included, that are made under a name of ours.

    It keeps a web page from reaching a local service under the page's own name (DNS rebinding),
    and pages of other origins from using it at all. Names are `name` (any port) or `name:port`;
    a request without `Origin` comes from no page. Raises ConfigError for a name that is none.
    """

    def __init__(self, app: AsgiApp, names: Iterable[str]) -> None:
        self._app = app
        self._names = frozenset(map(_configured, names))

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it with 421 (its Host) or 403 (its Origin)."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers: Sequence[tuple[bytes, bytes]] = scope["headers"]
        hosts = [value.decode("latin-1") for name, value in headers if name == b"host"]
        origins = [value.decode("latin-1") for name, value in headers if name == b"origin"]
        if len(hosts) != 1 or not self._is_ours(_HOST.fullmatch(hosts[0]), "http"):
            await _refuse(scope, send, 421, "this host name is not in allowed_hosts", "host")
        elif origins and not (len(origins) == 1 and self._is_our_origin(origins[0])):
            await _refuse(scope, send, 403, "this origin is not in allowed_hosts", "origin")
        else:
            await self._app(scope, receive, send)

    def _is_our_origin(self, origin: str) -> bool:
        match = _ORIGIN.fullmatch(origin)
        return match is not None and self._is_ours(
            _HOST.fullmatch(origin.partition("://")[2]), match[1]
        )

    def _is_ours(self, match: re.Match[str] | None, scheme: str) -> bool:
        if match is None:
            return False
        port = int(match[2]) if match[2] else _DEFAULT_PORTS[scheme]
        return not self._names.isdisjoint({(match[1].lower(), None), (match[1].lower(), port)})


def _configured(name: str) -> tuple[str, int | None]:
    match = _HOST.fullmatch(name.strip())
    if match is None:
        raise ConfigError(f"allowed_hosts: {name!r} is not a host name, nor a name with a port")
    return match[1].lower(), int(match[2]) if match[2] else None


async def _refuse(scope: AsgiScope, send: Send, status: int, text: str, code: str) -> None:
    if scope["type"] == "websocket":
        # Before the handshake was accepted this becomes a 403.
        await send({"type": "websocket.close", "code": 1008, "reason": text})
        return
    await answer_json(send, status, {"error": text, "code": f"{code}_not_allowed"})


async def answer_json(send: Send, status: int, value: Any) -> None:
    """A whole answer with that value as JSON."""
    body = json.dumps(value).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


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
