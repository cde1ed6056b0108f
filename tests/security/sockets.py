"""A WebSocket client of an app in the same process: no port, no handshake on the wire."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from harness.waiting import PATIENCE

Frame = dict[str, Any]

# Frames behind which the server has nothing more to say of its own accord.
LAST: Final = frozenset({"done", "error", "aborted", "connected", "refused", "closed", "silence"})


class Socket:
    """One connection. What is refused or closed is told as a frame too."""

    def __init__(self, app: Any, scope: Mapping[str, Any]) -> None:
        self._in: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._out: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._app = app
        self._scope = dict(scope)
        self._status = 0

    @classmethod
    @asynccontextmanager
    async def opened(
        cls, app: Any, query: str, headers: Mapping[str, str], subprotocols: tuple[str, ...] = ()
    ) -> AsyncIterator[Socket]:
        """Connect to the chat, and leave again."""
        given = {"host": "localhost", **headers}
        if subprotocols:
            given["sec-websocket-protocol"] = ", ".join(subprotocols)
        scope = {
            "type": "websocket",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "ws",
            "path": "/ws/chat",
            "raw_path": b"/ws/chat",
            "root_path": "",
            "query_string": query.encode(),
            "headers": [(k.lower().encode(), v.encode()) for k, v in given.items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
            "subprotocols": [*subprotocols],
            "state": {},
            "extensions": {"websocket.http.response": {}},
        }
        socket = cls(app, scope)
        task = asyncio.create_task(socket._serve())
        socket._in.put_nowait({"type": "websocket.connect"})
        try:
            yield socket
        finally:
            socket._in.put_nowait({"type": "websocket.disconnect", "code": 1000})
            async with asyncio.timeout(PATIENCE):
                await task

    async def _serve(self) -> None:
        await self._app(self._scope, self._in.get, self._out.put)

    async def send(self, frame: Frame | str) -> None:
        """Send a frame; a text goes as it is."""
        text = frame if isinstance(frame, str) else json.dumps(frame)
        await self._in.put({"type": "websocket.receive", "text": text})

    async def next(self) -> Frame:
        """The next frame; `silence` if none comes.

        A message that is sent again is answered late if its turn was deleted meanwhile.
        """
        while True:
            try:
                async with asyncio.timeout(PATIENCE):
                    message = await self._out.get()
            except TimeoutError:
                return {"type": "silence"}
            kind = message["type"]
            if kind == "websocket.send":
                return json.loads(message["text"])
            if kind == "websocket.close":
                return {"type": "closed", "code": message.get("code")}
            if kind == "websocket.http.response.start":
                self._status = message["status"]
            if kind == "websocket.http.response.body":
                text = message.get("body", b"").decode()
                return {"type": "refused", "status": self._status, "text": text}

    async def until_last(self) -> list[Frame]:
        """All frames up to one behind which nothing comes by itself."""
        frames = [await self.next()]
        while frames[-1]["type"] not in LAST:
            frames.append(await self.next())
        return frames


__all__ = ["Frame", "Socket"]
