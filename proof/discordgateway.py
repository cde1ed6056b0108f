"""Discord's gateway as a server: sessions that are resumed by their sequence numbers.

https://docs.discord.com/developers/events/gateway says what is sent when.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final, Protocol

from fastapi import WebSocket, WebSocketDisconnect

_GUILD_MESSAGES: Final = 1 << 9
_DIRECT_MESSAGES: Final = 1 << 12
_CONTENT: Final = 1 << 15
# What a message does not show without the right to its content.
_HIDDEN: Final[Mapping[str, Any]] = {"content": "", "attachments": [], "embeds": []}


class Op(IntEnum):
    """What a frame is."""

    DISPATCH = 0
    HEARTBEAT = 1
    IDENTIFY = 2
    RESUME = 6
    RECONNECT = 7
    INVALID_SESSION = 9
    HELLO = 10
    HEARTBEAT_ACK = 11


class CloseCode(IntEnum):
    """How the gateway closes a connection."""

    NOT_AUTHENTICATED = 4003
    AUTHENTICATION_FAILED = 4004
    INVALID_SEQUENCE = 4007
    SESSION_TIMED_OUT = 4009
    DISALLOWED_INTENTS = 4014


class BotAccount(Protocol):
    """The bot, as far as its gateway needs to know it."""

    number: int
    reads_content: bool

    @property
    def user(self) -> dict[str, Any]:
        """The bot as a user."""
        ...

    def guild(self) -> dict[str, Any]:
        """Its guild as GUILD_CREATE shows it."""
        ...


@dataclass
class GatewaySession:
    """What one session was sent, so that it can be sent again."""

    id: str
    intents: int
    sent: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    connection: GatewayLink | None = None


class GatewayLink:
    """One WebSocket, compressed as a whole."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._deflated = zlib.compressobj()
        self._is_compressed = socket.query_params.get("compress") == "zlib-stream"

    async def send(self, frame: Mapping[str, Any]) -> None:
        """Send a frame; a connection that is gone does not matter."""
        text = json.dumps(frame)
        with contextlib.suppress(RuntimeError, WebSocketDisconnect):
            if self._is_compressed:
                flushed = self._deflated.compress(text.encode())
                await self._socket.send_bytes(flushed + self._deflated.flush(zlib.Z_SYNC_FLUSH))
            else:
                await self._socket.send_text(text)

    async def receive(self) -> dict[str, Any]:
        """The next frame; raises WebSocketDisconnect."""
        found = await self._socket.receive()
        if found["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(found.get("code") or 1005)
        return json.loads(found.get("text") or found["bytes"])

    async def close(self, code: int) -> None:
        """Close it."""
        with contextlib.suppress(RuntimeError, WebSocketDisconnect):
            await self._socket.close(code)


class GatewayServer:
    """The gateway of one bot. `interval` is in seconds. With `is_silent` it answers no beat."""

    def __init__(self, account: BotAccount) -> None:
        self.interval = 41.25
        self.is_silent = False
        self.identified = 0
        self.resumed = 0
        self._account = account
        self._sessions: dict[str, GatewaySession] = {}

    @property
    def connected(self) -> int:
        """How many connections there are."""
        return sum(session.connection is not None for session in self._sessions.values())

    async def dispatch(self, name: str, data: dict[str, Any]) -> None:
        """Bring an event to every session, also to those that are not connected now."""
        for session in self._sessions.values():
            if (shown := self._shown(session, name, data)) is not None:
                await _dispatch(session, name, shown)

    async def kill(self, *, forget: bool = False) -> None:
        """End all connections; with `forget` they cannot be resumed."""
        sessions = [*self._sessions.values()]
        if forget:
            self._sessions.clear()
        for session in sessions:
            if session.connection is not None:
                await session.connection.close(1012)

    async def order_reconnect(self) -> None:
        """Ask all connections to come again and resume."""
        await self._tell({"op": Op.RECONNECT, "d": None})

    async def invalidate(self) -> None:
        """Tell all connections that their sessions are over."""
        await self._tell({"op": Op.INVALID_SESSION, "d": False})
        self._sessions.clear()

    async def _tell(self, frame: Mapping[str, Any]) -> None:
        for session in [*self._sessions.values()]:
            if session.connection is not None:
                await session.connection.send(frame)

    def _shown(
        self, session: GatewaySession, name: str, data: dict[str, Any]
    ) -> dict[str, Any] | None:
        """The event as the session's intents let it see it."""
        if name != "MESSAGE_CREATE":
            return data
        is_direct = "guild_id" not in data
        if not session.intents & (_DIRECT_MESSAGES if is_direct else _GUILD_MESSAGES):
            return None
        is_meant = any(user["id"] == str(self._account.number) for user in data["mentions"])
        if session.intents & _CONTENT or is_direct or is_meant:
            return data
        return {**data, **_HIDDEN}

    # -- one connection ----------------------------------------------------------------------

    @staticmethod
    async def serve(socket: WebSocket, gateways: Mapping[str, GatewayServer]) -> None:
        """Serve a connection to its end."""
        link = GatewayLink(socket)
        interval = min(gateway.interval for gateway in gateways.values())
        await link.send({"op": Op.HELLO, "d": {"heartbeat_interval": int(interval * 1000)}})
        session: GatewaySession | None = None
        try:
            while session is None:
                session = await _begin(link, await link.receive(), gateways, socket)
            async with asyncio.timeout(None) as limit:
                gateway = next(g for g in gateways.values() if session in g._sessions.values())
                await gateway._serve(link, session, limit)
        except TimeoutError:
            await link.close(CloseCode.SESSION_TIMED_OUT)
        except WebSocketDisconnect as left:
            if session is not None and left.code in (1000, 1001):
                # A client that leaves like that does not come again.
                for gateway in gateways.values():
                    gateway._sessions.pop(session.id, None)
        finally:
            if session is not None and session.connection is link:
                session.connection = None

    async def _serve(
        self, link: GatewayLink, session: GatewaySession, limit: asyncio.Timeout
    ) -> None:
        loop = asyncio.get_running_loop()
        while True:
            limit.reschedule(loop.time() + 2 * self.interval + 1)
            frame = await link.receive()
            if frame["op"] != Op.HEARTBEAT:
                continue
            if (frame["d"] or 0) > len(session.sent):
                await link.close(CloseCode.INVALID_SEQUENCE)
            elif not self.is_silent:
                await link.send({"op": Op.HEARTBEAT_ACK})

    async def identify(self, link: GatewayLink, intents: int, url: str) -> GatewaySession | None:
        """Begin a session."""
        if intents & _CONTENT and not self._account.reads_content:
            await link.close(CloseCode.DISALLOWED_INTENTS)
            return None
        self.identified += 1
        session = GatewaySession(uuid.uuid4().hex, intents, connection=link)
        self._sessions[session.id] = session
        guild = self._account.guild()
        ready = {
            "v": 10,
            "user": self._account.user,
            "guilds": [{"id": guild["id"], "unavailable": True}],
            "session_id": session.id,
            "resume_gateway_url": url,
            "application": {"id": str(self._account.number), "flags": 0},
        }
        await _dispatch(session, "READY", ready)
        await _dispatch(session, "GUILD_CREATE", guild)
        return session

    async def resume(self, link: GatewayLink, wanted: Mapping[str, Any]) -> GatewaySession | None:
        """Go on with a session: whatever it missed is sent again."""
        session = self._sessions.get(wanted["session_id"])
        if session is None or wanted["seq"] > len(session.sent):
            await link.send({"op": Op.INVALID_SESSION, "d": False})
            return None
        self.resumed += 1
        for frame in session.sent[wanted["seq"] :]:
            await link.send(frame)
        session.connection = link
        await _dispatch(session, "RESUMED", {})
        return session


async def _begin(
    link: GatewayLink,
    frame: Mapping[str, Any],
    gateways: Mapping[str, GatewayServer],
    socket: WebSocket,
) -> GatewaySession | None:
    if frame["op"] == Op.HEARTBEAT:
        await link.send({"op": Op.HEARTBEAT_ACK})
        return None
    if frame["op"] not in (Op.IDENTIFY, Op.RESUME):
        await link.close(CloseCode.NOT_AUTHENTICATED)
        return None
    gateway = gateways.get(frame["d"]["token"])
    if gateway is None:
        await link.close(CloseCode.AUTHENTICATION_FAILED)
        return None
    if frame["op"] == Op.RESUME:
        return await gateway.resume(link, frame["d"])
    url = f"ws://{socket.headers['host']}{socket.scope['root_path']}/gateway"
    return await gateway.identify(link, frame["d"]["intents"], url)


async def _dispatch(session: GatewaySession, name: str, data: dict[str, Any]) -> None:
    number = len(session.sent) + 1
    frame = {"op": Op.DISPATCH, "t": name, "s": number, "d": data}
    session.sent.append(frame)
    if session.connection is not None:
        await session.connection.send(frame)
