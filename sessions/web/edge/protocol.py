"""uvicorn's protocols with bounds on what a peer may do before there is a request to judge.

The app sees a request once its head is complete. Until then, and while its body comes, only what
is here stands between a peer and the memory of the process.
"""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from sessions.web.edge import Edge, Limit
from sessions.web.edge.heads import HeadTooLarge, RequestHead
from sessions.web.edge.joined import JoinedWrites
from sessions.web.edge.leaving import turn_away
from sessions.web.edge.timer import Timer
from sessions.web.problems import (
    HEADERS_TOO_LARGE,
    REQUEST_TIMEOUT,
    TOO_MANY_CONNECTIONS,
    Problem,
    closing,
)

# Requests that a peer may send ahead of their answers. One chunk of bytes may hold thousands.
_MOST_AHEAD: Final = 16


class GuardedHttp(HttpToolsProtocol):
    """HTTP with a bound on a request's head, on the time that it takes, and on connections."""

    def __init__(self, *args: Any, edge: Edge, **options: Any) -> None:
        super().__init__(*args, **options)
        self._edge = edge
        self._head = RequestHead(edge.settings.max_header_bytes)
        self._timer = Timer(self.loop, edge.settings.request_timeout_secs)
        self._address = ""
        self._counted = False
        self._writes: JoinedWrites | None = None

    # asyncio promises any transport here, and uvicorn takes one that can be written to.
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, or close it if its address has too many."""
        peer = transport.get_extra_info("peername")
        self._address = peer[0] if peer else ""
        if not self._edge.http.has_room(self._address):
            self._edge.refusals.count(Limit.CONNECTION)
            turn_away(transport, _FULL, self._edge.http, self.loop)
            return
        self._edge.http.opened(self._address)
        self._counted = True
        self._writes = JoinedWrites(transport, self.loop)
        super().connection_made(cast("asyncio.Transport", self._writes))
        self._timer.start(self._on_timeout)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._timer.stop()
        if self._counted:
            self._release()
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on; what is too large or takes too long ends the connection."""
        self._timer.start(self._on_timeout)
        self._head.moved = False
        super().data_received(data)
        if self._head.holds_too_much(len(data)) and not self.transport.is_closing():
            self._refuse_head()

    def handle_websocket_upgrade(self) -> None:
        """Hand over to the WebSocket, or close it if its address has too many."""
        self._timer.stop()
        if not self._edge.websockets.has_room(self._address):
            self._edge.refusals.count(Limit.WEBSOCKET)
            self._end(_FULL)
            return
        self._release()
        if self._writes is not None:
            self._writes.flush()
            self.transport = self._writes.transport
        super().handle_websocket_upgrade()

    def on_response_complete(self) -> None:
        """The answer is whole: send it."""
        if self._writes is not None:
            self._writes.flush()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what the parser gave up on: a head that is too large, or no HTTP."""
        if self._head.is_too_large:
            self._refuse_head()
        else:
            super().send_400_response(msg)

    # -- what the parser calls ---------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._head.begin()
        self._timer.start(self._on_timeout)

    def on_url(self, url: bytes) -> None:
        """A piece of the request line."""
        self._head.count_bytes(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header or trailer."""
        # Two separators and the end of the line.
        self._head.count_bytes(len(name) + len(value) + 4)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is complete; the app gets to work."""
        if len(self.pipeline) >= _MOST_AHEAD:
            raise HeadTooLarge("more requests ahead of their answers than may be")
        self._head.moved = True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._head.moved = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is complete: from now on it is the app that takes its time."""
        self._head.incomplete = False
        self._timer.stop()
        super().on_message_complete()

    # -- the end -----------------------------------------------------------------------------

    def _on_timeout(self) -> None:
        if self.transport.is_closing():
            return
        if self._waits_for_us():
            self._timer.start(self._on_timeout)
            return
        self._edge.refusals.count(Limit.SLOW)
        self._end(_LATE)

    def _waits_for_us(self) -> bool:
        """Whether it is not the peer who keeps the request from being complete."""
        if self.flow.read_paused:
            return True
        cycle = self._current()
        return cycle is not None and not cycle.response_complete and not cycle.more_body

    def _refuse_head(self) -> None:
        self._edge.refusals.count(Limit.HEAD)
        self._end(_LARGE)

    def _end(self, answer: bytes) -> None:
        """Close, with an answer if none to this request has begun."""
        cycle = self._current()
        if cycle is None or cycle.response_complete or not cycle.response_started:
            self.transport.write(answer)
        if cycle is not None:
            cycle.disconnected = True
            cycle.message_event.set()
        self.transport.close()

    def _current(self) -> RequestResponseCycle | None:
        # uvicorn's annotation leaves out that there is none at first.
        return cast("RequestResponseCycle | None", self.cycle)

    def _release(self) -> None:
        if self._counted:
            self._counted = False
            self._edge.http.closed(self._address)


class GuardedWebSocket(WebSocketsSansIOProtocol):
    """A WebSocket that is counted for its address until it ends."""

    def __init__(self, *args: Any, edge: Edge, **options: Any) -> None:
        super().__init__(*args, **options)
        self._edge = edge
        self._address = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection over."""
        peer = transport.get_extra_info("peername")
        self._address = peer[0] if peer else ""
        self._edge.websockets.opened(self._address)
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._edge.websockets.closed(self._address)
        super().connection_lost(exc)


def _bare(problem: Problem) -> bytes:
    """A whole answer after which the connection is closed."""
    body = json.dumps(problem.body)
    headers = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        **closing(problem).headers,
    }
    lines = [
        f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


_FULL: Final = _bare(TOO_MANY_CONNECTIONS)
_LATE: Final = _bare(REQUEST_TIMEOUT)
_LARGE: Final = _bare(HEADERS_TOO_LARGE)
