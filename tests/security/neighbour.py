"""Another agent's client, on an address of its own: writes, reads of what it wrote, and times."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from tests.security.cases import MCP

# A write of a text into a session and the read after it: whether it was written, and the answer.
Way = Callable[[str, str], Awaitable[tuple[bool, httpx.Response]]]


@dataclass
class Timed:
    """What the requests of one phase took, and what they gave."""

    seconds: list[float] = field(default_factory=list[float])
    statuses: Counter[int] = field(default_factory=Counter[int])
    reads: Counter[int] = field(default_factory=Counter[int])
    stale: list[str] = field(default_factory=list[str])

    @property
    def answered(self) -> float:
        """The share that was answered 2xx."""
        good = sum(n for status, n in self.statuses.items() if 200 <= status < 300)
        return good / max(1, self.statuses.total())

    def percentile(self, share: float) -> float:
        """Seconds within which this share was answered."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0

    def __str__(self) -> str:
        p50, p99 = self.percentile(0.5) * 1000, self.percentile(0.99) * 1000
        return (
            f"{self.statuses.total()} requests, {self.answered:.2%} 2xx, p50 {p50:.1f} ms, "
            f"p99 {p99:.1f} ms, {self.reads.total()} reads of writes, {len(self.stale)} stale, "
            f"{dict(self.statuses)}"
        )


class Neighbour:
    """Anna's client. Each of its sessions is used by one worker only, so that it knows its end."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._headers = {"authorization": f"Bearer {token}"}
        transport = httpx.AsyncHTTPTransport(local_address="127.0.0.2")
        self._http = httpx.AsyncClient(
            base_url=url, headers=self._headers, transport=transport, timeout=30, trust_env=False
        )
        self._serial = itertools.count()
        self.timed = Timed()

    async def work(self, pairs: int, workers: int = 4) -> Timed:
        """So many writes, each with a read right after it."""
        self.timed = Timed()
        numbers = iter(range(pairs))
        await asyncio.gather(*(self._worker(f"anna-{n}", numbers) for n in range(workers)))
        return self.timed

    async def close(self) -> None:
        """Leave."""
        await self._http.aclose()

    async def _worker(self, session: str, numbers: Any) -> None:
        await self._published(session, "begin")
        ways = [self._tools, self._events, self._resource, self._mcp]
        for number in numbers:
            # A chat says five things a second at most.
            way = self._chat if number % 50 == 49 else ways[number % len(ways)]
            text = f"said {next(self._serial)}"
            await self._pair(way, session, text)

    async def _pair(self, way: Way, session: str, text: str) -> None:
        written, response = await way(session, text)
        self.timed.reads[response.status_code] += 1
        # A write that was refused leaves nothing to read.
        if response.is_success and written and text not in response.text:
            self.timed.stale.append(f"{way.__name__} {session} {text}: {response.text[:300]}")

    async def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        before = time.perf_counter()
        try:
            response = await self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            response = httpx.Response(599, text=repr(error))
        self.timed.seconds.append(time.perf_counter() - before)
        self.timed.statuses[response.status_code] += 1
        return response

    async def _tool(self, name: str, **arguments: Any) -> httpx.Response:
        return await self._ask("POST", f"/api/tools/{name}", json=arguments)

    async def _published(self, session: str, text: str) -> httpx.Response:
        event = {"type": "append", "session": session, "role": "user", "content": text}
        return await self._ask("POST", "/api/events", json=event)

    async def _tools(self, session: str, text: str) -> tuple[bool, httpx.Response]:
        written = await self._tool("sessions_send", session_id=session, message=text)
        read = await self._tool("sessions_history", session_id=session, limit=5)
        return written.status_code == 200, read

    async def _events(self, session: str, text: str) -> tuple[bool, httpx.Response]:
        written = await self._published(session, text)
        after = written.json()["position"] if written.is_success else ""
        params = {"after": after, "limit": "5"} if after else {"limit": "5"}
        path = f"/api/sessions/{session}/messages"
        return written.is_success, await self._ask("GET", path, params=params)

    async def _resource(self, session: str, text: str) -> tuple[bool, httpx.Response]:
        path = f"/api/sessions/{session}/messages"
        written = await self._ask("POST", path, json={"content": text})
        read = await self._ask("GET", path, params={"limit": "5"})
        return written.status_code == 200, read

    async def _mcp(self, session: str, text: str) -> tuple[bool, httpx.Response]:
        written = await self._called("sessions_send", session_id=session, message=text)
        read = await self._called("sessions_history", session_id=session, limit=5)
        return '"success":true' in written.text, read

    async def _called(self, name: str, **arguments: Any) -> httpx.Response:
        params = {"name": name, "arguments": arguments}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        return await self._ask("POST", "/mcp", json=body, headers=MCP)

    async def _chat(self, session: str, text: str) -> tuple[bool, httpx.Response]:
        before = time.perf_counter()
        try:
            done = await self._said(session, text)
        except (OSError, TimeoutError, WebSocketException):
            done = False
        self.timed.seconds.append(time.perf_counter() - before)
        self.timed.statuses[200 if done else 599] += 1
        return done, await self._tool("sessions_history", session_id=f"gw_{session}", limit=5)

    async def _said(self, session: str, text: str) -> bool:
        where = f"{self._url.replace('http', 'ws', 1)}/ws/chat?agent=anna&session_id={session}"
        source = ("127.0.0.2", 0)
        async with (
            asyncio.timeout(30),
            connect(where, additional_headers=self._headers, local_addr=source) as socket,
        ):
            await socket.recv()
            await socket.send(json.dumps({"type": "message", "content": text}))
            while (frame := json.loads(await socket.recv()))["type"] not in ("done", "error"):
                pass
        return frame["type"] == "done"


__all__ = ["Neighbour", "Timed"]
