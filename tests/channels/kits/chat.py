"""The chat over WebSocket: a client that comes back, and asks again under the same id."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus, WebSocketException

from harness.waiting import wait_until
from ingest.turns.unavailable import refusal_text
from sessions.access.tokens import TokenScope, create_token
from sessions.ids import derived_id
from tests.channels.kits.base import AGENTS, Abilities, Delivery, Doors, Kit, Person, Said

# Seconds until a client comes back, or asks again.
_PAUSE: Final = 0.2
# Seconds between two looks whether a message was taken: the protocol does not say it.
_LOOK: Final = 0.05
# Codes that mean "not now".
_LATER: Final = frozenset(
    {
        *("SESSION_QUEUE_FULL", "SESSION_QUEUE_TIMEOUT", "STORE_BEHIND", "STORE_UNAVAILABLE"),
        *("STREAM_FULL", "STREAM_UNAVAILABLE"),
    }
)
_ENDS: Final = frozenset({"done", "aborted", "error"})


class ChatKit(Kit):
    """People with a page of the web chat open, one connection for each message."""

    name = "chat"
    abilities = Abilities(delivers=False, has_commands=False)
    turns_away = ("401", "401", "403")
    answers_junk = ("INVALID_JSON", "UNKNOWN_MESSAGE_TYPE", "EMPTY_CONTENT")

    def __init__(self) -> None:
        super().__init__()
        self._tokens: dict[str, str] = {}
        self._read: dict[tuple[Person, str], list[Delivery]] = {}
        self._asking: dict[tuple[str, int], asyncio.Task[None]] = {}

    async def open(self, doors: Doors, stack: AsyncExitStack) -> None:
        await super().open(doors, stack)
        for agent in AGENTS:
            token, _ = create_token(doors.workspace, scope=TokenScope.SEND, agent=agent)
            self._tokens[agent] = token
        stack.push_async_callback(self._close)

    async def _close(self) -> None:
        for task in self._asking.values():
            task.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)

    def session(self, message: Said) -> str:
        return f"gw_{_session_id(message)}"

    async def bring(self, message: Said, *, replica: int = 0) -> None:
        if message.key in self._asking:
            # The client sends it again while it waits, or after it has its answer.
            await self._ask(message, replica)
            return
        asking = asyncio.create_task(self._insist(message, replica))
        self._asking[message.key] = asking
        session, agent = self.session(message), message.agent
        turn = derived_id("gw", "agent", agent, session, str(message.number))

        async def is_taken() -> bool:
            # A refusal is an answer as well.
            return asking.done() or await self.doors.is_taken(session, agent, turn)

        await wait_until(is_taken, "the chat's message is taken", within=60, pause=_LOOK)

    @asynccontextmanager
    async def watching(self, message: Said) -> AsyncIterator[None]:
        async with self._socket(message, self._tokens[message.agent]) as socket:
            await _next(socket, "session_start")
            reading = asyncio.create_task(self._read_page(message, socket))
            try:
                yield
            finally:
                reading.cancel()
                await asyncio.wait([reading])

    def deliveries(self, person: Person, agent: str = AGENTS[0]) -> Sequence[Delivery]:
        return self._read.get((person, agent), [])

    async def intrude(self, message: Said) -> Sequence[str]:
        [stranger] = [agent for agent in AGENTS if agent != message.agent]
        found: list[str] = []
        for token in (None, "nobody", self._tokens[stranger]):
            try:
                async with self._socket(message, token) as socket:
                    await _send(socket, message)
                    found.append("let in")
            except InvalidStatus as refused:
                found.append(str(refused.response.status_code))
        return found

    async def bring_junk(self, note: str) -> Sequence[str]:
        frames = [f"{{{note}", json.dumps({"type": note}), '{"type": "message", "content": ""}']
        message = Said(Person(), note, note)
        async with self._socket(message, self._tokens[message.agent]) as socket:
            found: list[str] = []
            # The first frame has rules of its own.
            await socket.send('{"type": "connect"}')
            await _next(socket, "connected")
            for frame in frames:
                await socket.send(frame)
                found.append((await _next(socket, "error"))["code"])
        return found

    async def leave(self, message: Said) -> None:
        task = self._asking.pop(message.key)
        task.cancel()
        await asyncio.wait([task])

    def refused(self, message: Said) -> str:
        return refusal_text(_session_id(message))

    async def _insist(self, message: Said, replica: int) -> None:
        self._note(message, await self._ask(message, replica))

    async def _read_page(self, message: Said, socket: ClientConnection) -> None:
        """Note what the agent says without having been asked here."""
        while True:
            frame = await _next(socket, "message")
            if frame["role"] == "assistant":
                self._note(message, frame["content"])

    def _note(self, message: Said, text: str) -> None:
        self._read.setdefault((message.person, message.agent), []).append(Delivery(text))

    async def _ask(self, message: Said, replica: int) -> str:
        """Ask until there is an answer of this very message."""
        while True:
            try:
                async with self._socket(message, self._tokens[message.agent], replica) as socket:
                    text = await _answer(socket, message)
            except (OSError, WebSocketException):
                text = None
            if text is not None:
                return text
            replica = (replica + 1) % len(self.doors.ingests)
            await asyncio.sleep(_PAUSE)

    @asynccontextmanager
    async def _socket(
        self, message: Said, token: str | None, replica: int = 0
    ) -> AsyncIterator[ClientConnection]:
        query = urlencode({"agent": message.agent, "session_id": _session_id(message)})
        url = self.doors.ingests[replica].replace("http", "ws", 1)
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        async with connect(
            f"{url}/ws/chat?{query}",
            additional_headers=headers,
            proxy=None,
            open_timeout=60,
            close_timeout=1,
        ) as socket:
            yield socket


def _session_id(message: Said) -> str:
    return f"{message.person.name}-{message.agent}"


async def _send(socket: ClientConnection, message: Said) -> None:
    frame = {"type": "message", "id": str(message.number), "content": message.text}
    await socket.send(json.dumps(frame))


async def _answer(socket: ClientConnection, message: Said) -> str | None:
    """The answer; None where it is not clear whose end came, or it is to be asked again."""
    start = await _next(socket, "session_start")
    # The end of a turn that was running is told, too, and an end does not name its message.
    others = start.get("state") == "running"
    await _send(socket, message)
    while (frame := json.loads(await socket.recv()))["type"] not in _ENDS:
        pass
    if frame["type"] == "done":
        text = frame["full_response"]
        return text if message.note in text or not others else None
    if others or frame.get("code") in _LATER:
        return None
    return frame.get("message", frame["type"])


async def _next(socket: ClientConnection, kind: str) -> dict[str, Any]:
    while (frame := json.loads(await socket.recv()))["type"] != kind:
        pass
    return frame
