"""The WebSocket's handshake: who comes, for which agent and session, and how it is refused."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Final, cast

from fastapi import APIRouter, WebSocket
from starlette.datastructures import QueryParams
from starlette.responses import PlainTextResponse
from starlette.websockets import WebSocketDisconnect

from ingest.gateway.chat import Chat, Known
from ingest.gateway.outbox import SlowReader
from ingest.reads import SessionReads
from ingest.services import Services
from ingest.tasks import end_all
from sessions.access.tokens import Principal, TokenScope
from sessions.errors import PositionLost, Retryable, SessionError
from sessions.ids import new_id
from sessions.models import Event, EventType
from sessions.wire import MAX_LABEL, MAX_SESSION

log = logging.getLogger(__name__)
router = APIRouter()

SUBPROTOCOL: Final = "zeroclaw.v1"
# Clients at the same time in one process. 500 idle ones cost some 40 MB.
MOST_CLIENTS: Final = 2000
# Seconds for the frame that says that we close: behind what a slow reader did not take, it waits.
_FAREWELL: Final = 1.0

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
class Refusal(Exception):
    """The handshake is refused, with an HTTP status."""

    status: int
    text: str


@router.websocket("/ws/chat")
async def chat(socket: WebSocket) -> None:
    """Serve one client from its handshake to its end."""
    services = cast("Services", socket.app.state.ingest)
    try:
        visitor = await _let_in(socket, services)
    except Refusal as refusal:
        await socket.send_denial_response(PlainTextResponse(refusal.text, refusal.status))
        return
    offered = cast("list[str]", socket.scope.get("subprotocols", []))
    await socket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
    conversation = Chat(
        visitor.session_id,
        visitor.agent,
        desk=services.desk,
        reads=services.reads,
        agents=services.agents,
    )
    services.clients.add(conversation)
    try:
        await _serve(socket, services, visitor, conversation)
    finally:
        services.clients.discard(conversation)


async def _let_in(socket: WebSocket, services: Services) -> Visitor:
    token = find_token(socket)
    try:
        principal = await services.tokens.verify(token) if token else None
    except Retryable as error:
        log.warning("a client cannot be let in: %s", error)
        raise Refusal(503, "Service unavailable: try again") from None
    if token is None or principal is None or not principal.may(TokenScope.SEND):
        raise Refusal(401, _UNAUTHORIZED)
    if len(services.clients) >= MOST_CLIENTS:
        raise Refusal(503, "Too many connections: try again later")
    return _visitor(principal, services, socket.query_params)


def find_token(socket: WebSocket) -> str | None:
    """The token: of the header, else of the subprotocols, else of the query."""
    header = socket.headers.get("authorization", "")
    if header.startswith("Bearer ") and header[7:].strip():
        return header[7:].strip()
    for offer in socket.headers.get("sec-websocket-protocol", "").split(","):
        if offer.strip().startswith("bearer."):
            token = offer.strip().removeprefix("bearer.")
            if token:
                return token
            break
    return socket.query_params.get("token") or None


def _visitor(principal: Principal, services: Services, query: QueryParams) -> Visitor:
    agent = (_one_of(query, _AGENT_NAMES) or "").strip()
    _one_of(query, _WORKSPACE_NAMES)
    if not agent:
        raise Refusal(400, _NO_AGENT)
    if agent not in services.settings.agents:
        raise Refusal(400, f"Unknown agent `{agent}` — no [agents.{agent}] entry configured.")
    if principal.agent not in (None, agent):
        raise Refusal(403, f"This token is not agent `{agent}`'s.")
    session_id = query.get("session_id")
    if session_id is None:
        session_id = str(uuid.uuid4())
    if not session_id.isprintable() or len(f"gw_{session_id}".encode()) > MAX_SESSION:
        raise Refusal(400, "Invalid session_id.")
    name = query.get("name") or None
    if name is not None and len(name.encode()) > MAX_LABEL:
        raise Refusal(400, "Invalid name.")
    return Visitor(agent, session_id, name)


def _one_of(query: QueryParams, names: tuple[str, ...]) -> str | None:
    given = [name for name in names if name in query]
    if len(given) > 1:
        raise Refusal(400, f"{given[0]} and {given[1]} are the same field; give one of them")
    return query[given[0]] if given else None


async def _serve(
    socket: WebSocket, services: Services, visitor: Visitor, conversation: Chat
) -> None:
    outbox = conversation.outbox
    talking = asyncio.create_task(_talk(socket, services, visitor, conversation))
    sending = asyncio.create_task(outbox.drain(socket.send_text))
    overflown = asyncio.create_task(outbox.overflown())
    slow = False
    try:
        await asyncio.wait({talking, sending, overflown}, return_when=asyncio.FIRST_COMPLETED)
        if talking.done() and not overflown.done() and not sending.done():
            # The conversation is over: refused, left by the client, or failed.
            await outbox.flushed()
            talking.result()
        slow = overflown.done() or (sending.done() and isinstance(sending.exception(), SlowReader))
    finally:
        await end_all({talking, sending, overflown})
        await _close(socket, 1013 if slow else 1000)


async def _talk(socket: WebSocket, services: Services, visitor: Visitor, chat: Chat) -> None:
    known = await _known(services.reads, chat.key, visitor)
    # A session without owner would become the agent's with it, though it be another's channel's.
    if known.available and visitor.name is not None and known.name != visitor.name:
        await _name(services, chat.key, visitor)
    await chat.run(_texts(socket), replace(known, name=visitor.name or known.name))


async def _close(socket: WebSocket, code: int) -> None:
    try:
        async with asyncio.timeout(_FAREWELL):
            await socket.close(code)
    except (RuntimeError, WebSocketDisconnect, TimeoutError):
        return  # it was the client that left, or it takes nothing more


async def _texts(socket: WebSocket) -> AsyncIterator[str]:
    """The client's text frames; others are not served."""
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return
        if message.get("text") is not None:
            yield message["text"]


async def _name(services: Services, key: str, visitor: Visitor) -> None:
    """Name the session, and make it where there is none yet, so that the name is not lost."""
    agent = visitor.agent
    events = [
        Event(new_id(), EventType.CONTEXT, session=key, agent=agent),
        Event(new_id(), EventType.RENAME, session=key, agent=agent, name=visitor.name),
    ]
    try:
        await services.stream.publish(events)
    except SessionError as error:
        log.warning("a session was not named: %s", error)


async def _known(reads: SessionReads, key: str, visitor: Visitor) -> Known:
    """What the store has of the agent's session; nothing of another's, nor where it cannot say."""
    for fresh in (True, False):
        try:
            found = await reads.history(key, visitor.agent, limit=1, fresh=fresh)
        except (Retryable, PositionLost) as error:
            log.warning("what the store has of a session is not known now: %s", error)
            continue
        return Known(found.total, found.name, found.available)
    return Known(0, None, available=False)
