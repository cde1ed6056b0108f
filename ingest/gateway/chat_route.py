"""`WS /ws/chat`: serves one client from its handshake to its end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Final, cast

from fastapi import APIRouter, WebSocket
from starlette.responses import PlainTextResponse
from starlette.websockets import WebSocketDisconnect

from ingest.gateway.chat import Chat, SessionSnapshot
from ingest.gateway.handshake import HandshakeRefused, Visitor, let_in
from ingest.gateway.outbox import SlowReader
from ingest.reads import TurnReads
from ingest.services import Services
from sessions.errors import PositionLost, Retryable, SessionError
from sessions.ids import new_id
from sessions.models import Event, EventType
from sessions.process.tasks import end_all, log_failure

log = logging.getLogger(__name__)
router = APIRouter()

SUBPROTOCOL: Final = "zeroclaw.v1"
# Seconds for the frame that says that we close: behind what a slow reader did not take, it waits.
_FAREWELL: Final = 1.0


@router.websocket("/ws/chat")
async def chat(socket: WebSocket) -> None:
    """Serve one client from its handshake to its end."""
    services = cast("Services", socket.app.state.ingest)
    try:
        visitor = await let_in(socket, services)
    except HandshakeRefused as refusal:
        answer = PlainTextResponse(refusal.text, refusal.status, dict(refusal.headers))
        await socket.send_denial_response(answer)
        return
    offered = cast("list[str]", socket.scope.get("subprotocols", []))
    await socket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
    conversation = Chat(
        visitor.session_id,
        visitor.agent,
        queue=services.queue,
        place=services.chats,
        agents=services.agents,
    )
    services.clients.add(conversation)
    try:
        await _serve(socket, services, visitor, conversation)
    finally:
        services.clients.discard(conversation)


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
        if sending.done() and not slow:
            _tell_of(sending)
        await end_all({talking, sending, overflown})
        await _close(socket, 1013 if slow else 1000)


def _tell_of(sending: asyncio.Task[None]) -> None:
    """Say why frames could not be sent, unless the client has left."""
    error = None if sending.cancelled() else sending.exception()
    if error is not None and not isinstance(error, (RuntimeError, WebSocketDisconnect)):
        log_failure("sending to a chat", error)


async def _talk(socket: WebSocket, services: Services, visitor: Visitor, chat: Chat) -> None:
    known = await _known(services.chats.reads, chat.key, visitor)
    stored = services.chats.stored
    # A session without owner would become the agent's with it, though it be another's channel's.
    if stored and known.available and visitor.name is not None and known.name != visitor.name:
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


async def _known(reads: TurnReads, key: str, visitor: Visitor) -> SessionSnapshot:
    """What the store has of the agent's session; nothing of another's, nor where it cannot say."""
    for fresh in (True, False):
        try:
            found = await reads.history(key, visitor.agent, limit=1, fresh=fresh)
        except (Retryable, PositionLost) as error:
            log.warning("cannot read the messages of a session now: %s", error)
            continue
        return SessionSnapshot(found.total, found.name, found.available)
    return SessionSnapshot(0, None, available=False)
