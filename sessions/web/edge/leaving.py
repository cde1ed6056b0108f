"""Turns connections away that are too many, slowly enough that it costs the peer more than us."""

from __future__ import annotations

import asyncio
import random
from typing import Final

from sessions.web.edge.connections import Connections

# Seconds, on average, before a connection that is refused is closed. A peer that connects again at
# once would cost more than the connections that it is refused.
_PAUSE: Final = 1.0
# Such connections at a time, each a file descriptor and some 3 KB. Others are closed at once.
_MOST: Final = 512


def turn_away(
    transport: asyncio.Transport,
    answer: bytes,
    connections: Connections,
    loop: asyncio.AbstractEventLoop,
) -> None:
    """Close the connection, with an answer after a while; at once if too many wait for theirs."""
    if connections.leaving >= _MOST:
        transport.close()
        return
    connections.leaving += 1
    transport.pause_reading()
    # Not all at one moment, when they came at one.
    loop.call_later(random.uniform(0.5, 1.5) * _PAUSE, _send_away, transport, answer, connections)


def _send_away(transport: asyncio.Transport, answer: bytes, connections: Connections) -> None:
    connections.leaving -= 1
    if not transport.is_closing():
        transport.write(answer)
        transport.close()
