"""What a client still has to be sent: bounded, so that a slow reader costs nobody else memory."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from ingest.gateway.frames import Frame

# Characters that may wait for one client: four of the longest replies.
MOST_WAITING: Final = 1024 * 1024
# Seconds for one frame to leave. A client that takes none for so long reads no more.
SEND_TIMEOUT: Final = 30.0

# Seconds for the last frames of a connection that is to be closed.
_FLUSH: Final = 1.0


class SlowReader(Exception):
    """The client reads more slowly than its session speaks."""


class Outbox:
    """Frames on their way to one client, in order. Also a listener of turns."""

    def __init__(self) -> None:
        self._frames: deque[str] = deque()
        self._waiting = 0
        self._news = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._overflown = asyncio.Event()

    def put(self, frame: Frame) -> None:
        """Send a frame when its turn has come; behind one without room nothing more is taken."""
        text = json.dumps(frame, ensure_ascii=False, separators=(",", ":"))
        if self._waiting + len(text) > MOST_WAITING:
            self._overflown.set()
        if not self._overflown.is_set():
            self._frames.append(text)
            self._waiting += len(text)
        self._empty.clear()
        self._news.set()

    async def overflown(self) -> None:
        """Return when a frame found no room: the client is too slow, or will never be told."""
        await self._overflown.wait()

    async def drain(self, send: Callable[[str], Awaitable[None]]) -> None:
        """Send what comes, until cancelled; raises SlowReader where the client does not follow."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._frames and not self._overflown.is_set():
                text = self._frames.popleft()
                self._waiting -= len(text)
                await self._send(send, text)
            if self._overflown.is_set():
                raise SlowReader
            self._empty.set()

    async def flushed(self) -> None:
        """Return when all that was put has been sent, or after a second."""
        try:
            async with asyncio.timeout(_FLUSH):
                await self._empty.wait()
        except TimeoutError:
            return

    async def _send(self, send: Callable[[str], Awaitable[None]], text: str) -> None:
        try:
            async with asyncio.timeout(SEND_TIMEOUT):
                await send(text)
        except TimeoutError:
            raise SlowReader from None

    # -- as a listener -----------------------------------------------------------------------

    def chunk(self, text: str) -> None:
        """A piece of the reply."""
        self.put({"type": "chunk", "content": text})

    def tool_call(self, id: str, name: str, arguments: Mapping[str, Any]) -> None:
        """A tool is used."""
        self.put({"type": "tool_call", "id": id, "name": name, "args": arguments})

    def tool_result(self, id: str, name: str, output: str) -> None:
        """A tool answered."""
        self.put({"type": "tool_result", "id": id, "name": name, "output": output})
