"""Who calls: the token that a request shows, whose it is, and whether it reaches far enough.

    principal = await authenticate(tokens, request.headers)     # 401, or 403 for another agent
    require(principal, TokenScope.SEND)                         # 403

The same for every entry point. What knows tokens is a `TokenVerifier`: the file of the workspace
or, for an ingest process of its own, the api.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl

from sessions.access.tokens import AGENT_HEADER, Principal, TokenScope, TokenVerifier
from sessions.errors import AccessRefused
from sessions.web.asgi import AsgiScope, utf8_header
from sessions.web.rejections import Unauthorized


async def authenticate(tokens: TokenVerifier | None, headers: Mapping[str, str]) -> Principal:
    """Who calls, narrowed to one agent if the caller asks for that.

    `headers` have lower-case names. Raises Unauthorized without a token that is somebody's,
    AccessRefused with another agent's, and Retryable if whose it is cannot be told now. Without
    `tokens` every token is nobody's.
    """
    token = bearer(headers.get("authorization"))
    principal = await tokens.verify(token) if tokens is not None and token is not None else None
    if principal is None:
        raise Unauthorized("Unauthorized — send Authorization: Bearer <token>")
    agent = headers.get(AGENT_HEADER)
    if agent is None:
        return principal
    narrowed = principal.narrowed(utf8_header(agent, "X-Turnstream-Agent"))
    if narrowed is None:
        raise AccessRefused("this token may not act for the agent in X-Turnstream-Agent")
    return narrowed


def require(principal: Principal, scope: TokenScope) -> None:
    """Raise AccessRefused unless the caller has that scope."""
    if not principal.may(scope):
        raise AccessRefused(f"this needs the scope {scope}; the token has {principal.scope}")


def bearer(header: str | None) -> str | None:
    """The token in an Authorization header; None if there is none."""
    scheme, _, token = (header or "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def token_of(scope: AsgiScope) -> str | None:
    """The token that a request or a WebSocket shows; None if it shows none.

    Browsers cannot set headers on a WebSocket: it may be in a subprotocol or in the query there.
    """
    token = bearer(_authorization(scope))
    return _chat_token(scope) if token is None and scope["type"] == "websocket" else token


def _authorization(scope: AsgiScope) -> str | None:
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    for name, value in headers:
        if name.lower() == b"authorization":
            return value.decode("latin-1")
    return None


def _chat_token(scope: AsgiScope) -> str | None:
    """The token of the first subprotocol `bearer.<token>`, else of `?token=`."""
    offered: list[str] = scope.get("subprotocols", [])
    shown = next((offer for offer in offered if offer.startswith("bearer.")), "")
    return shown.removeprefix("bearer.") or _queried(scope).get("token") or None


def _queried(scope: AsgiScope) -> dict[str, str]:
    query: bytes = scope.get("query_string", b"")
    return dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True))
