"""Writes that follow each other as one: an answer's head and its body in one packet.

uvicorn writes them one by one, and each write is a call of the kernel that also wakes the peer,
who cannot do anything with a head alone.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

# Bytes from which on a write goes out by itself: copying it costs as much as a call.
LARGE: Final = 64 * 1024


class JoinedWrites:
    """A transport that holds what is written until `flush`, or the next turn of the loop."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self.transport = transport
        self._loop = loop
        self._held: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        # All else is the transport's own.
        return getattr(self.transport, name)

    def write(self, data: bytes) -> None:
        """Write this soon, behind what is held."""
        if len(data) >= LARGE:
            self.flush()
            self.transport.write(data)
            return
        if not self._held:
            self._loop.call_soon(self.flush)
        self._held.append(data)

    def flush(self) -> None:
        """Write what is held."""
        if self._held:
            data = b"".join(self._held) if len(self._held) > 1 else self._held[0]
            self._held.clear()
            self.transport.write(data)

    def close(self) -> None:
        """Close when all is written."""
        self.flush()
        self.transport.close()
