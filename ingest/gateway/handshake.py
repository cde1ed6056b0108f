"""The WebSocket's handshake: who comes, for which agent and session, and how it is refused."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from fastapi import WebSocket
from starlette.datastructures import QueryParams

from ingest.services import Services
from sessions.access.tokens import Principal, TokenScope, TokenVerifier
from sessions.errors import Retryable
from sessions.web.authentication import token_of
from sessions.web.problems import problem_of
from sessions.wire import MAX_LABEL, MAX_SESSION

# Clients at the same time in one process. 500 idle ones cost some 40 MB.
MOST_CLIENTS: Final = 2000

_UNAUTHORIZED: Final = (
    "Unauthorized: provide Authorization header, Sec-WebSocket-Protocol bearer, "
    "or ?token= query param"
)
_NO_AGENT: Final = (
    "Missing required `agent` query parameter — pass `?agent=<alias>` matching a configured "
    "[agents.<alias>] entry."
)
_AGENT_NAMES: Final = ("agent", "agentAlias", "agent_alias")
_WORKSPACE_NAMES: Final = ("workspace_dir", "workspaceDir")


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who was let in, and what for."""

    agent: str
    session_id: str
    name: str | None


@dataclass(frozen=True)
class HandshakeRefused(Exception):
    """The handshake is refused: the text is upstream's, and is answered as it is."""

    status: int
    text: str
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


async def let_in(socket: WebSocket, services: Services) -> Visitor:
    """Who comes, and what for; raises HandshakeRefused."""
    principal = await _principal(socket, services.tokens)
    if principal is None or not principal.may(TokenScope.SEND):
        raise HandshakeRefused(401, _UNAUTHORIZED)
    if len(services.clients) >= MOST_CLIENTS:
        raise HandshakeRefused(503, "Too many connections: try again later", {"retry-after": "1"})
    return _visitor(principal, services, socket.query_params)


async def _principal(socket: WebSocket, tokens: TokenVerifier) -> Principal | None:
    token = token_of(socket.scope)
    try:
        return await tokens.verify(token) if token is not None else None
    except Retryable as error:
        problem = problem_of(error)
        text = "Service unavailable: try again"
        raise HandshakeRefused(problem.status, text, problem.headers) from None


def _visitor(principal: Principal, services: Services, query: QueryParams) -> Visitor:
    agent = (_one_of(query, _AGENT_NAMES) or "").strip()
    _one_of(query, _WORKSPACE_NAMES)
    if not agent:
        raise HandshakeRefused(400, _NO_AGENT)
    if agent not in services.settings.agents:
        raise HandshakeRefused(
            400, f"Unknown agent `{agent}` — no [agents.{agent}] entry configured."
        )
    if principal.agent not in (None, agent):
        raise HandshakeRefused(403, f"This token is not agent `{agent}`'s.")
    session_id = query.get("session_id")
    if session_id is None:
        session_id = str(uuid.uuid4())
    if not session_id.isprintable() or len(f"gw_{session_id}".encode()) > MAX_SESSION:
        raise HandshakeRefused(400, "Invalid session_id.")
    name = query.get("name") or None
    if name is not None and len(name.encode()) > MAX_LABEL:
        raise HandshakeRefused(400, "Invalid name.")
    return Visitor(agent, session_id, name)


def _one_of(query: QueryParams, names: tuple[str, ...]) -> str | None:
    given = [name for name in names if name in query]
    if len(given) > 1:
        raise HandshakeRefused(
            400, f"{given[0]} and {given[1]} are the same field; give one of them"
        )
    return query[given[0]] if given else None
