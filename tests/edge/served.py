"""A small app behind the real server on a real port, with limits that a test can reach."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI

from sessions.access.tokens import TokenVerifier
from sessions.process.settings import GatewaySettings, OwnSettings
from sessions.web.asgi import AsgiApp, AsgiScope, Receive, Send
from sessions.web.edge import Edge
from sessions.web.serving import serve


@dataclass
class App:
    """Reads the body, waits while `gate` is closed, and answers with the number of bytes."""

    gate: asyncio.Event = field(default_factory=asyncio.Event)
    at_work: int = 0
    seen: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.gate.set()

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """One connection or request."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "websocket":
            await self._echo(receive, send)
        else:
            await self._answer(scope, receive, send)

    async def _answer(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        size = 0
        if scope["path"] != "/healthz":
            size = await self._work(scope["path"], receive)
        body = b"%d" % size
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _work(self, path: str, receive: Receive) -> int:
        self.at_work += 1
        self.seen.append(path)
        try:
            size = await _size(receive)
            await self.gate.wait()
        finally:
            self.at_work -= 1
        return size

    async def _echo(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})


async def _live(receive: Receive, send: Send) -> None:
    kind = ""
    while kind != "lifespan.shutdown":
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})


async def _size(receive: Receive) -> int:
    size = 0
    while True:
        message = await receive()
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            return size


@dataclass
class Served:
    """The server: where it listens, and its edge."""

    app: Any
    edge: Edge
    url: str
    peers: list[Peer] = field(default_factory=list["Peer"])

    @property
    def port(self) -> int:
        """The port."""
        return int(self.url.rpartition(":")[2])

    async def connect(self, source: str = "127.0.0.1") -> Peer:
        """A bare connection from that address of this machine."""
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, local_addr=(source, 0)
        )
        self.peers.append(Peer(reader, writer))
        return self.peers[-1]


@dataclass
class Peer:
    """A client that sends what it likes."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        """Send bytes; one that was closed meanwhile takes them no more."""
        self.writer.write(data)
        await self.writer.drain()

    async def status(self) -> int:
        """The status of the next answer, whose body must be small; 0 if there is none."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return 0
        lengths = [
            int(line[15:])
            for line in head.lower().split(b"\r\n")
            if line.startswith(b"content-length:")
        ]
        await self.reader.readexactly(lengths[0])
        return int(head.split()[1])

    async def closed(self) -> bool:
        """Wait until the server has closed; True."""
        try:
            while await self.reader.read(65536):
                pass
        except ConnectionError:
            pass
        self.writer.close()
        return True

    def close(self) -> None:
        """Leave."""
        self.writer.close()


@asynccontextmanager
async def served(
    app: AsgiApp | None = None, *, tokens: TokenVerifier | None = None, **limits: Any
) -> AsyncIterator[Served]:
    """The app (else an `App`) behind the server with these settings of `[turnstream]`."""
    found = app or App()
    edge = Edge.of(OwnSettings.model_validate(limits), tokens)
    url: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(
        serve(found, GatewaySettings(port=0), edge=edge, environ={}, on_ready=url.set_result)
    )
    try:
        server = Served(found, edge, await url)
        try:
            yield server
        finally:
            for peer in server.peers:
                peer.close()
    finally:
        task.cancel()
        await asyncio.wait([task])


@asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[str]:
    """The URL of one of our services behind the real server, with the edge that it has."""
    url: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    gateway = GatewaySettings(port=0)
    task = asyncio.create_task(
        serve(app, gateway, edge=app.state.edge, environ={}, on_ready=url.set_result)
    )
    try:
        yield await url
    finally:
        task.cancel()
        await asyncio.wait([task])
