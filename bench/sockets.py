"""What open chats cost one ingest process, and how long a client waits for the echo agent.

500 clients are connected and say nothing, 50 send a message every two seconds, each into a
session of its own. Redis, worker, api and ingest are processes of their own.
"""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from asyncio.subprocess import Process
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Final

import httpx
from websockets.asyncio.client import ClientConnection, connect

from bench.drain import environment, peak_mb, redis_server, resident_mb, until, worker_process
from sessions.access.tokens import ensure_admin_token

_IDLE: Final = 500
_TALKING: Final = 50
# Seconds between two messages of a client, and messages of each.
_EVERY: Final = 2.0
_MESSAGES: Final = 15
# Clients that connect at the same time.
_AT_ONCE: Final = 20


@dataclass(frozen=True)
class Sockets:
    """Milliseconds from a message to its `done`, and MB of the ingest process."""

    p50: float
    p99: float
    before_mb: float
    connected_mb: float
    peak_mb: float


async def measure(folder: Path) -> Sockets:
    """Connect, talk, and look at the process."""
    token = ensure_admin_token(folder)
    async with (
        redis_server(folder) as redis,
        worker_process(folder, redis),
        web_process("api", folder, {"REDIS_URL": redis}) as (api, _),
        web_process(
            "ingest",
            folder,
            {"REDIS_URL": redis, "TURNSTREAM_API_URL": api, "TURNSTREAM_TOKEN": token},
        ) as (url, ingest),
        AsyncExitStack() as stack,
    ):
        before = resident_mb(ingest.pid)
        clients = await _connected(stack, url, token)
        connected = resident_mb(ingest.pid)
        talks = [_talk(client, number) for number, client in enumerate(clients[:_TALKING])]
        taken = [one for talk in await asyncio.gather(*talks) for one in talk]
        cuts = quantiles(taken, n=100)
        return Sockets(cuts[49], cuts[98], before, connected, peak_mb(ingest.pid))


@asynccontextmanager
async def web_process(
    module: str, folder: Path, settings: Mapping[str, str]
) -> AsyncGenerator[tuple[str, Process]]:
    """`python -m api` or `python -m ingest` on a free port, once it is ready; and its URL."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    own = {"TURNSTREAM_WORKSPACE": str(folder), "TURNSTREAM_PORT": str(port), **settings}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module), env=environment(own), stderr=subprocess.DEVNULL
    )
    try:
        async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
            await until(lambda: _is_ready(http))
        yield url, process
    finally:
        process.terminate()
        await process.wait()


async def _is_ready(http: httpx.AsyncClient) -> bool:
    try:
        return (await http.get("/readyz")).is_success
    except httpx.HTTPError:
        return False


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
