"""Under which names a process may be called: Host and Origin, checked before every entry point."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from sessions.errors import ConfigError
from sessions.process.settings import Settings
from sessions.web.asgi import AsgiApp, AsgiScope, Receive, Send
from sessions.web.problems import HOST_NOT_ALLOWED, ORIGIN_NOT_ALLOWED, Problem, send_problem

LOOPBACK_NAMES: Final = ("localhost", "127.0.0.1", "[::1]")
# Listening there means "on every address", which is no name to be called by.
_WILDCARDS: Final = frozenset({"0.0.0.0", "::", ""})
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}

_AUTHORITY: Final = r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?"
_HOST: Final = re.compile(_AUTHORITY)
_ORIGIN: Final = re.compile(rf"(https?)://{_AUTHORITY}")


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
            await _refuse(scope, send, HOST_NOT_ALLOWED)
        elif origins and not (len(origins) == 1 and self._is_our_origin(origins[0])):
            await _refuse(scope, send, ORIGIN_NOT_ALLOWED)
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


async def _refuse(scope: AsgiScope, send: Send, problem: Problem) -> None:
    if scope["type"] == "websocket":
        # Before the handshake was accepted this becomes a 403.
        await send({"type": "websocket.close", "code": 1008, "reason": problem.text})
        return
    await send_problem(send, problem)
