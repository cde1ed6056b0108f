"""What goes wrong between ingest and a platform, the same for every platform that speaks HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Self

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from harness.services import free_port
from tests.ingest.serving import serving

# Seconds that a slow platform takes: far less than any client's patience.
_SLOW: Final = 1.0
# Seconds that a busy platform asks for.
RETRY_AFTER: Final = 1


class Fault(StrEnum):
    """What a platform does instead of what it is asked for."""

    SLOW = "slow"
    BUSY = "busy"
    """It asks for a pause of RETRY_AFTER."""
    BROKEN = "broken"
    """Its own error."""
    GARBAGE = "garbage"
    """An answer that is none of its own."""
    REVOKED = "revoked"
    """It does not know the token any more."""


class Moment(StrEnum):
    """Where a delivery stands still."""

    BEFORE = "before"
    """The platform has not taken it."""
    AFTER = "after"
    """The platform has taken it, and has not said so."""


@dataclass(frozen=True)
class Request:
    """A request that came, and whether a fault met it."""

    at: float
    body: bytes
    met: bool


@dataclass
class Weather:
    """Stands before a platform's application."""

    app: ASGIApp
    refusal: Callable[[Fault], Response]
    fault: Fault | None = None
    held: dict[str, Moment] = field(default_factory=dict[str, Moment])
    standing: set[str] = field(default_factory=set[str])
    requests: list[Request] = field(default_factory=list[Request])

    @contextmanager
    def meeting(self, fault: Fault) -> Any:
        """Every request meets the fault within the block."""
        self.fault = fault
        try:
            yield
        finally:
            self.fault = None

    def tries(self, note: str) -> list[Request]:
        """The requests with that note in them."""
        return [request for request in self.requests if note.encode() in request.body]

    def holds(self, note: str) -> Callable[[], bool]:
        """Whether the delivery with that note stands still, to be waited for."""
        return lambda: note in self.standing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body, fault = await _body_of(receive), self.fault
        self.requests.append(Request(time.monotonic(), body, fault is not None))
        note = next((note for note in self.held if note.encode() in body), None)
        if fault is Fault.SLOW:
            await asyncio.sleep(_SLOW)
        if fault not in (None, Fault.SLOW):
            await self.refusal(fault)(scope, receive, send)
        elif note is None:
            await self.app(scope, _replayed(body), send)
        else:
            await self._hold(note, scope, body, receive)

    async def _hold(self, note: str, scope: Scope, body: bytes, receive: Receive) -> None:
        """Answer nothing until the other side is gone. The next try of the delivery is not held."""
        if self.held.pop(note) is Moment.AFTER:
            await self.app(scope, _replayed(body), _swallow)
        self.standing.add(note)
        while (await receive())["type"] != "http.disconnect":
            pass


class PlatformServer:
    """A platform's application on a port of its own, behind its weather."""

    def __init__(self, weather: Weather) -> None:
        self.weather = weather
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._stack = AsyncExitStack()

    @classmethod
    @asynccontextmanager
    async def serving(
        cls, app: ASGIApp, refusal: Callable[[Fault], Response]
    ) -> AsyncIterator[Self]:
        """It answers within the block."""
        server = cls(Weather(app, refusal))
        try:
            await server._begin()
            yield server
        finally:
            await server._stack.aclose()

    @asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        """Nothing listens within the block, and every connection is closed."""
        await self._stack.aclose()
        try:
            yield
        finally:
            await self._begin()

    async def _begin(self) -> None:
        await self._stack.enter_async_context(serving(self.weather, port=self._port))


async def _body_of(receive: Receive) -> bytes:
    body = b""
    while (message := await receive())["type"] == "http.request":
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    return body


def _replayed(body: bytes) -> Receive:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


async def _swallow(message: Message) -> None:
    """The answer that nobody gets."""
