"""A proxy before Redis that disturbs single connections, as networks do.

It listens on a TCP port of 127.0.0.1 and connects to Redis' socket. What a connection suffers is
ordered by `disturb`, and happens when its next bytes pass.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import time
from enum import StrEnum
from pathlib import Path
from typing import Final

_CHUNK: Final = 64 * 1024
# Seconds without bytes after which a connection counts as unused.
_IDLE: Final = 0.8
# Seconds that delayed bytes are held back: longer than a worker's round, shorter than a timeout.
_DELAY: Final = 0.4


class ProxyFault(StrEnum):
    """What a connection can suffer."""

    CUT = "cut"
    """Both sides are closed at once."""
    CUT_BEFORE = "cut_before"
    """The next command is dropped: the server never sees it."""
    CUT_AFTER = "cut_after"
    """The server executes the next command, and its reply is dropped."""
    CUT_WITHIN = "cut_within"
    """Half of the next reply arrives."""
    DELAY = "delay"
    """The next bytes are late."""
    DRIP = "drip"
    """The next bytes come one by one."""
    HALF_OPEN = "half_open"
    """Nothing passes any more, and nobody is told."""


class Proxy:
    """Any number of connections to one server; `port` is set by `start`."""

    def __init__(self, socket_path: Path) -> None:
        self.port = 0
        self._socket_path = socket_path
        self._server: asyncio.Server | None = None
        self._cut_off: ProxyFault | None = None
        self._links: dict[int, _Link] = {}
        self._numbers = itertools.count()
        self._serving: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Cut everything and listen no more."""
        if self._server is not None:
            self._server.close()
        for link in [*self._links.values()]:
            link.cut()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def disturb(self, trouble: ProxyFault, chance: random.Random, *, within: float) -> bool:
        """Let a connection suffer; whether it did, `within` so many seconds, for want of bytes."""
        sound = [link for link in self._links.values() if link.trouble is None]
        # Connections that nobody uses now would only be waited for.
        links = [link for link in sound if link.idle < _IDLE] or sound
        return bool(links) and await chance.choice(links).suffer(trouble, within)

    def lead_to(self, socket_path: Path) -> None:
        """Connect to another server from now on; connections that there are stay where they are."""
        self._socket_path = socket_path

    def heal(self) -> None:
        """Cut what hangs and forget what was ordered."""
        for link in [*self._links.values()]:
            link.heal()

    def cut_off(self, *, silently: bool) -> None:
        """Let nothing pass until `restore`: `silently` as a network does that drops everything.

        Else as a machine does on which nobody listens.
        """
        self._cut_off = ProxyFault.HALF_OPEN if silently else ProxyFault.CUT
        for link in [*self._links.values()]:
            if silently:
                link.trouble = ProxyFault.HALF_OPEN
            else:
                link.cut()

    def restore(self) -> None:
        """Let new connections through; those that hang are cut."""
        self._cut_off = None
        self.heal()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._cut_off is ProxyFault.CUT:
            writer.transport.abort()
            return
        try:
            server = await asyncio.open_unix_connection(str(self._socket_path))
        except OSError:
            writer.transport.abort()
            return
        number = next(self._numbers)
        link = self._links[number] = _Link((reader, writer), server)
        link.trouble = self._cut_off
        try:
            await link.run()
        finally:
            del self._links[number]


_Side = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Link:
    """One connection: a client, a server, and what is to happen between them."""

    def __init__(self, client: _Side, server: _Side) -> None:
        self.trouble: ProxyFault | None = None
        self._client = client
        self._server = server
        self._asked = False
        self._used = time.monotonic()
        self._happened = asyncio.Event()
        self._over = asyncio.Event()

    @property
    def idle(self) -> float:
        """Seconds since the last bytes from the client."""
        return time.monotonic() - self._used

    async def run(self) -> None:
        """Pass bytes on until one side ends or is cut off."""
        parts = [self._upwards(), self._downwards(), self._over.wait()]
        tasks = [asyncio.ensure_future(part) for part in parts]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        # A connection that broke by itself is what a proxy passes on: it closes the other side.
        await asyncio.gather(*tasks, return_exceptions=True)
        self.cut()
        for _, writer in (self._client, self._server):
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def suffer(self, trouble: ProxyFault, within: float) -> bool:
        """Order a trouble, and wait until it has happened."""
        self._happened.clear()
        self._asked = False
        self.trouble = trouble
        if trouble is ProxyFault.CUT:
            self._happened.set()
            self.cut()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._happened.wait(), within)
        if not self._happened.is_set():
            self.trouble = None
        return self._happened.is_set()

    def heal(self) -> None:
        """Back to normal; what hangs is cut."""
        if self.trouble is ProxyFault.HALF_OPEN:
            self.cut()
        self.trouble = None

    def cut(self) -> None:
        """Close both sides at once."""
        self._over.set()
        for _, writer in (self._client, self._server):
            writer.transport.abort()

    async def _upwards(self) -> None:
        while data := await self._client[0].read(_CHUNK):
            self._used = time.monotonic()
            if self.trouble is ProxyFault.CUT_BEFORE:
                self._happened.set()
                return
            await self._hold(data)
            self._asked = True
            await self._pass(data, self._server[1])

    async def _downwards(self) -> None:
        while data := await self._server[0].read(_CHUNK):
            if self.trouble is ProxyFault.CUT_AFTER and self._asked:
                self._happened.set()
                return
            if self.trouble is ProxyFault.CUT_WITHIN:
                await self._pass(data[: len(data) // 2], self._client[1])
                self._happened.set()
                return
            await self._hold(data)
            await self._pass(data, self._client[1])

    async def _hold(self, data: bytes) -> None:
        """Make bytes late, or keep them for ever."""
        if self.trouble is ProxyFault.HALF_OPEN:
            self._happened.set()
            await self._over.wait()
        if self.trouble is ProxyFault.DELAY:
            self._happened.set()
            self.trouble = None
            await asyncio.sleep(_DELAY)

    async def _pass(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        if self.trouble is ProxyFault.DRIP:
            self._happened.set()
            self.trouble = None
            for byte in data:
                writer.write(bytes([byte]))
                await writer.drain()
            return
        writer.write(data)
        await writer.drain()
