"""People who talk through the one port, and say everything again until it is taken."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from harness.waiting import wait_until

# Seconds for one answer, seconds before it is tried again.
_PATIENCE = 15.0
_PAUSE = 0.2
# Seconds: nobody gives up, and what waited too long is told at the end.
_ALL_DAY = 86_400.0
# Frames that end a message.
_LAST = ("done", "error", "aborted")

Attempt = Callable[[], Awaitable[bool]]


@dataclass
class Talk:
    """What was said in each session, in its order, and how long a message was not taken."""

    url: str
    token: str
    said: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    # When each event and each chat's message began to be said, and the seconds until it was taken,
    # or answered.
    taken: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    answered: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def publish(self, session: str) -> None:
        """Publish one event after the other, until `over`."""
        async with httpx.AsyncClient(
            base_url=self.url, headers=self._headers, timeout=_PATIENCE, trust_env=False
        ) as client:
            while not self.over.is_set():
                content = self._next(session)
                event = {"id": f"{session}.{content}", "type": "append", "session": session}
                body = {**event, "role": "user", "content": content}
                await self._insist(partial(_taken, client, body), self.taken)
                await asyncio.sleep(_PAUSE)

    async def chat(self, session: str) -> None:
        """Say one message after the other, each when the one before was answered."""
        url = f"{self.url.replace('http', 'ws')}/ws/chat?agent=main&session_id={session}"
        while not self.over.is_set():
            content = self._next(f"gw_{session}")
            await self._insist(partial(self._answers, url, content), self.answered)
            await asyncio.sleep(_PAUSE)

    async def _answers(self, url: str, content: str) -> bool:
        message = {"type": "message", "content": content, "id": content}
        asked = connect(url, additional_headers=self._headers, proxy=None, open_timeout=_PATIENCE)
        async with asyncio.timeout(_PATIENCE), asked as chat:
            await chat.send(json.dumps(message))
            while (frame := json.loads(await chat.recv()))["type"] not in _LAST:
                pass
            # A turn whose replica died is closed, and that is its answer for good.
            return frame["type"] != "error" or frame.get("code") == "AGENT_ERROR"

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def _next(self, session: str) -> str:
        before = self.said.setdefault(session, [])
        before.append(f"m{len(before)}")
        return before[-1]

    async def _insist(self, attempt: Attempt, waits: list[tuple[float, float]]) -> None:
        began = time.monotonic()
        await wait_until(lambda: _succeeds(attempt), within=_ALL_DAY, pause=_PAUSE)
        waits.append((began, time.monotonic() - began))


async def _taken(client: httpx.AsyncClient, event: dict[str, str]) -> bool:
    return (await client.post("/api/events", json=event)).status_code == 202


async def _succeeds(attempt: Attempt) -> bool:
    try:
        return await attempt()
    except (httpx.HTTPError, WebSocketException, OSError, TimeoutError):
        return False
