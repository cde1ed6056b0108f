"""What open chats cost one ingest process, and how long a client waits for the echo agent.

500 clients are connected and say nothing, 50 send a message every two seconds, each into a
session of its own. Redis, worker, api and ingest are processes of their own.
"""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Final

from websockets.asyncio.client import ClientConnection, connect

from bench.drain import MAXMEMORY
from harness.system import SystemUnderTest
from sessions.access.tokens import ensure_admin_token

_IDLE: Final = 500
_TALKING: Final = 50
# Seconds between two messages of a client, and messages of each.
_EVERY: Final = 2.0
_MESSAGES: Final = 15
# Clients that connect at the same time.
_AT_ONCE: Final = 20


@dataclass(frozen=True)
class SocketFigures:
    """Milliseconds from a message to its `done`, and MB of the ingest process."""

    p50: float
    p99: float
    before_mb: float
    connected_mb: float
    peak_mb: float


async def measure(folder: Path) -> SocketFigures:
    """Connect, talk, and look at the process."""
    async with (
        SystemUnderTest.running(folder, maxmemory=MAXMEMORY) as system,
        AsyncExitStack() as stack,
    ):
        system.forks = False
        token = ensure_admin_token(system.workspace)
        await system.worker()
        api, _ = await system.serving("api")
        url, ingest = await system.serving("ingest", api_url=api, token=token)
        before = ingest.resident_mb()
        clients = await _connected(stack, url, token)
        connected = ingest.resident_mb()
        talks = [_talk(client, number) for number, client in enumerate(clients[:_TALKING])]
        taken = [one for talk in await asyncio.gather(*talks) for one in talk]
        cuts = quantiles(taken, n=100)
        return SocketFigures(cuts[49], cuts[98], before, connected, ingest.peak_mb())


async def _connected(stack: AsyncExitStack, url: str, token: str) -> list[ClientConnection]:
    """All clients, each welcomed to a session of its own."""
    places = asyncio.Semaphore(_AT_ONCE)

    async def one(number: int) -> ClientConnection:
        address = f"{url.replace('http', 'ws', 1)}/ws/chat?agent=main&session_id=bench-{number}"
        headers = {"Authorization": f"Bearer {token}"}
        async with places:
            client = await connect(address, additional_headers=headers)
            stack.push_async_callback(client.close)
            await client.recv()
        return client

    return await asyncio.gather(*(one(number) for number in range(_IDLE + _TALKING)))


async def _talk(client: ClientConnection, number: int) -> list[float]:
    """Milliseconds for each message, the first one left out: it makes the session."""
    taken: list[float] = []
    await asyncio.sleep(_EVERY * number / _TALKING)
    for _ in range(_MESSAGES):
        began = time.perf_counter()
        await client.send(json.dumps({"type": "message", "content": "hello"}))
        while json.loads(await client.recv())["type"] != "done":
            pass
        took = time.perf_counter() - began
        taken.append(1000 * took)
        await asyncio.sleep(max(0.0, _EVERY - took))
    return taken[1:]
