"""What one caller can do to starve the others, each as a program that goes on until it is ended.

    python -m tests.security.attacks NAME URL TOKEN MODEL_PORT

At its end it prints, as JSON, how often it was answered how.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import uvicorn
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from tests.ingest.model_server import ModelServer

# Characters in the arguments of a tool call that make a frame of more than 1 MiB.
HUGE: Final = 1_100_000


@dataclass
class Attacker:
    """One caller with a token."""

    url: str
    token: str
    model_port: int
    seen: Counter[str] = field(default_factory=Counter[str])
    serial: Any = field(default_factory=itertools.count)

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}"}

    async def crowd(self, count: int, work: Callable[[httpx.AsyncClient], Awaitable[None]]) -> None:
        """So many at once, each without pause."""
        limits = httpx.Limits(max_connections=count, max_keepalive_connections=count)
        async with httpx.AsyncClient(
            base_url=self.url, headers=self.headers, limits=limits, timeout=60, trust_env=False
        ) as http:
            await asyncio.gather(*(self._forever(http, work) for _ in range(count)))

    async def _forever(
        self, http: httpx.AsyncClient, work: Callable[[httpx.AsyncClient], Awaitable[None]]
    ) -> None:
        while True:
            try:
                await work(http)
            except httpx.HTTPError as error:
                self.seen[type(error).__name__] += 1
                await asyncio.sleep(0.01)

    def count(self, response: httpx.Response) -> None:
        self.seen[str(response.status_code)] += 1

    # -- B1 ----------------------------------------------------------------------------------

    async def lists(self) -> None:
        """600 lists at once."""

        async def work(http: httpx.AsyncClient) -> None:
            self.count(await http.get("/api/sessions"))

        await self.crowd(600, work)

    async def positions(self) -> None:
        """1,100 readers that wait for what never comes."""

        async def work(http: httpx.AsyncClient) -> None:
            after = f"1.99999999999999-0.never-{next(self.serial)}"
            self.count(await http.get("/api/sessions", params={"after": after}))

        await self.crowd(1100, work)

    # -- B2 ----------------------------------------------------------------------------------

    def _address(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        assert parts.port is not None
        return parts.hostname, parts.port

    async def endless_header(self) -> None:
        """Header lines that never end, without a token."""
        while True:
            try:
                await self._endless()
            except OSError:
                self.seen["closed"] += 1

    async def _endless(self) -> None:
        _, writer = await asyncio.open_connection(*self._address())
        try:
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-A: ")
            for _ in range(2000):
                writer.write(b"a" * 65536)
                await writer.drain()
                self.seen["64 KiB"] += 1
        finally:
            writer.close()

    async def half_sent(self) -> None:
        """2,500 requests of which the end never comes."""

        async def hold() -> None:
            while True:
                with suppress(OSError):
                    reader, writer = await asyncio.open_connection(*self._address())
                    writer.write(b"POST /api/events HTTP/1.1\r\nHost: localhost\r\nContent-Le")
                    self.seen["opened"] += 1
                    await reader.read()
                    self.seen["closed"] += 1
                    writer.close()
                await asyncio.sleep(5)

        await asyncio.gather(*(hold() for _ in range(2500)))

    # -- B3 ----------------------------------------------------------------------------------

    async def searches(self) -> None:
        """Searches of 100,000 words, and of one phrase of 300 KB."""
        queries = [" ".join(f"w{n}" for n in range(100_000)), "x" * 300_000, "a b c d e f g h"]

        async def work(http: httpx.AsyncClient) -> None:
            body = {"query": queries[next(self.serial) % len(queries)]}
            self.count(await http.post("/api/tools/sessions_search", json=body))

        await self.crowd(8, work)

    # -- B4, B5 ------------------------------------------------------------------------------

    async def chat(self, agent: str, *frames: str) -> None:
        """Say things in a new chat, and wait for an answer, or the end, after each."""
        where = f"{self.url.replace('http', 'ws', 1)}/ws/chat?agent={agent}"
        where += f"&session_id={agent}-{next(self.serial)}"
        try:
            async with connect(where, additional_headers=self.headers, max_size=None) as socket:
                await socket.recv()
                for frame in frames:
                    await socket.send(frame)
                    await self._answered(socket)
        except (OSError, WebSocketException) as error:
            code = getattr(getattr(error, "rcvd", None), "code", None)
            self.seen[f"closed {code or type(error).__name__}"] += 1
            await asyncio.sleep(0.05)

    async def _answered(self, socket: Any) -> None:
        try:
            async with asyncio.timeout(60):
                while (frame := json.loads(await socket.recv()))["type"] not in ("done", "error"):
                    self.seen[frame["type"]] += 1
        except TimeoutError:
            self.seen["no answer"] += 1
        else:
            self.seen[frame.get("code") or frame["type"]] += 1

    async def surrogates(self) -> None:
        """Frames with half a surrogate pair, in all places."""
        frames = [
            '{"type": "message", "content": "\\ud800"}',
            '{"type": "message", "content": "x", "id": "\\udfff"}',
            '{"type": "\\ud800"}',
            json.dumps({"type": "message", "content": "x" * 200_000})[:-2] + '\\ud800"}',
        ]

        async def talk() -> None:
            while True:
                await self.chat("mallory", *frames)

        await asyncio.gather(*(talk() for _ in range(20)))

    async def large_frames(self) -> None:
        """A model whose tool calls make frames of more than 1 MiB."""
        call = [("sessions_history", {"session_id": "x" * HUGE})]
        server = ModelServer(lambda body: call)
        config = uvicorn.Config(server.app, port=self.model_port, log_config=None)
        serving = asyncio.create_task(uvicorn.Server(config).serve())

        async def talk() -> None:
            while True:
                await self.chat("mallory", '{"type": "message", "content": "go"}')

        await asyncio.gather(serving, *(talk() for _ in range(4)))

    # -- B6 ----------------------------------------------------------------------------------

    async def sessions(self) -> None:
        """New sessions, 500 in a request."""

        async def work(http: httpx.AsyncClient) -> None:
            events = [
                {"type": "context", "id": f"c{n}", "session": f"flood-{n}"}
                for n in (next(self.serial) for _ in range(500))
            ]
            self.count(await http.post("/api/events", json={"events": events}))

        await self.crowd(4, work)

    async def batches(self) -> None:
        """Bodies of 7 MB."""

        async def work(http: httpx.AsyncClient) -> None:
            said = {"type": "append", "session": "big", "role": "user", "content": "x" * 230_000}
            events = [{**said, "id": f"b{next(self.serial)}"} for _ in range(30)]
            self.count(await http.post("/api/events", json={"events": events}))

        await self.crowd(4, work)

    async def conflicts(self) -> None:
        """One id again and again, each time with another text of 60 KB."""

        async def work(http: httpx.AsyncClient) -> None:
            text = f"{next(self.serial)} " + "x" * 60_000
            event = {"type": "append", "id": "same", "session": "dead", "role": "user"}
            self.count(await http.post("/api/events", json={**event, "content": text}))

        await self.crowd(8, work)


ATTACKS: Final[dict[str, Callable[[Attacker], Awaitable[None]]]] = {
    "B1 600 lists at once": Attacker.lists,
    "B1 1,100 positions that never come": Attacker.positions,
    "B2 an endless header line": Attacker.endless_header,
    "B2 2,500 half-sent requests": Attacker.half_sent,
    "B3 searches of 100,000 words and 300 KB": Attacker.searches,
    "B4 frames with half a surrogate pair": Attacker.surrogates,
    "B5 frames of more than 1 MiB": Attacker.large_frames,
    "B6 sessions by the thousand": Attacker.sessions,
    "B6 batches of 7 MB": Attacker.batches,
    "B6 one id in conflict": Attacker.conflicts,
}


async def main(name: str, url: str, token: str, model_port: str) -> None:
    """Attack until SIGTERM."""
    attacker = Attacker(url, token, int(model_port))
    task = asyncio.ensure_future(ATTACKS[name](attacker))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        print(json.dumps(attacker.seen), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
