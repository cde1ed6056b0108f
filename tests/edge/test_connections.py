"""What a peer may do before there is a request: bounds on size, time and number."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator

import pytest
import websockets

from harness.waiting import wait_until
from sessions.web.asgi import AsgiScope, Receive, Send
from sessions.web.edge import Limit
from tests.edge.served import App, Peer, Served, served

HEAD = b"POST /x HTTP/1.1\r\nhost: localhost\r\n"
REQUEST = b"GET /x HTTP/1.1\r\nhost: localhost\r\n\r\n"


def endless(prefix: bytes, piece: bytes) -> Iterator[bytes]:
    """The prefix, and then the piece for ever, some kilobytes at a time."""
    yield prefix
    while True:
        yield piece * (4096 // len(piece))


async def pour(peer: Peer, pieces: Iterator[bytes]) -> int:
    """Send until the server has closed; how many bytes it took."""
    taken = 0
    with contextlib.suppress(ConnectionError):
        for piece in pieces:
            if peer.reader.at_eof() or peer.writer.is_closing():
                break
            await peer.send(piece)
            taken += len(piece)
            await asyncio.sleep(0)
    return taken


class TestTheHeadOfARequest:
    @pytest.mark.parametrize(
        "pieces",
        [
            (b"GET /", b"x"),
            (b"GET / HTTP/1.1\r\nhost: ", b"x"),
            (b"GET / HTTP/1.1\r\n", b"x"),
            (b"GET / HTTP/1.1\r\nhost: localhost\r\n", b"a: b\r\n"),
            (HEAD + b"transfer-encoding: chunked\r\n\r\n0\r\na: ", b"x"),
            (HEAD + b"transfer-encoding: chunked\r\n\r\n0\r\n", b"a: b\r\n"),
            (HEAD + b"transfer-encoding: chunked\r\n\r\n1;a=", b"x"),
        ],
        ids=["target", "value", "name", "lines", "trailer", "trailers", "chunk extension"],
    )
    async def test_one_without_end_is_refused_after_a_few_kilobytes(
        self, pieces: tuple[bytes, bytes]
    ):
        async with served(max_header_bytes=8192) as server:
            peer = await server.connect()
            pouring = asyncio.create_task(pour(peer, endless(*pieces)))

            assert await peer.status() == 431
            assert await peer.closed()
            # What the sockets on both sides hold comes on top of what the server has read.
            assert await pouring < 16 * 1024 * 1024
            assert server.edge.refusals.counts[Limit.HEAD] == 1

    async def test_a_whole_one_that_is_too_large_is_refused_before_the_app_sees_it(self):
        async with served(max_header_bytes=8192) as server:
            peer = await server.connect()
            await peer.send(HEAD + b"a: " + b"x" * 9000 + b"\r\n\r\n")

            assert await peer.status() == 431
            assert server.app.seen == []

    async def test_one_within_the_bound_is_answered_however_large_its_body(self):
        async with served(max_header_bytes=8192) as server:
            peer = await server.connect()
            head = HEAD + b"a: " + b"x" * 8000 + b"\r\ncontent-length: 300000\r\n\r\n"
            for _ in range(3):
                await peer.send(head + b"y" * 300_000)

                assert await peer.status() == 200

    async def test_many_requests_ahead_of_their_answers_end_the_connection(self):
        async with served() as server:
            server.app.gate.clear()
            peer = await server.connect()
            await peer.send(REQUEST * 1000)

            assert await peer.closed()


class TestTheTimeOfARequest:
    @pytest.mark.parametrize(
        ("sent", "status"),
        [
            (b"", 408),
            (b"\r\n", 408),
            (b"GE", 408),
            (HEAD, 408),
            (HEAD + b"content-length: 10\r\n\r\nx", 408),
            (HEAD + b"transfer-encoding: chunked\r\n\r\n1\r\nx\r\n", 408),
        ],
        ids=["nothing", "a blank line", "half a word", "half a head", "half a body", "no end"],
    )
    async def test_one_that_is_not_complete_in_time_is_answered_408(self, sent: bytes, status: int):
        async with served(request_timeout_secs=1) as server:
            peer = await server.connect()
            await peer.send(sent)

            assert await peer.status() == status
            assert await peer.closed()
            assert server.edge.refusals.counts[Limit.SLOW] == 1
            await wait_until(lambda: server.app.at_work == 0 and server.edge.http.open == 0)

    @pytest.mark.parametrize(
        "pieces",
        [
            (HEAD, b"a"),
            (HEAD + b"content-length: 1000000\r\n\r\n", b"x"),
            (HEAD + b"transfer-encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        ],
        ids=["head", "body", "chunks"],
    )
    async def test_dripping_does_not_prolong_it(self, pieces: tuple[bytes, bytes]):
        async with served(request_timeout_secs=1) as server:
            peer = await server.connect()
            began = time.monotonic()
            dripping = asyncio.create_task(drip(peer, *pieces))

            assert await peer.status() == 408
            assert 0.9 < time.monotonic() - began < 10
            dripping.cancel()

    async def test_an_endless_body_that_was_answered_already_ends_too(self):
        async def refusing(scope: AsgiScope, receive: Receive, send: Send) -> None:
            if scope["type"] == "lifespan":
                await App()(scope, receive, send)
            headers = [(b"content-length", b"0")]
            await send({"type": "http.response.start", "status": 413, "headers": headers})
            await send({"type": "http.response.body"})

        async with served(refusing, request_timeout_secs=1) as server:
            peer = await server.connect()
            pieces = endless(HEAD + b"transfer-encoding: chunked\r\n\r\n", b"4\r\nabcd\r\n")
            pouring = asyncio.create_task(pour(peer, pieces))

            assert await peer.status() == 413
            assert await peer.closed()
            await pouring

    async def test_a_long_answer_to_a_complete_request_is_not_cut(self):
        async with served(request_timeout_secs=1) as server:
            server.app.gate.clear()
            slow, other = await server.connect(), await server.connect()
            await slow.send(REQUEST)
            # Its time is over when that of a later one is.
            assert await other.status() == 408
            server.app.gate.set()

            assert await slow.status() == 200

    async def test_a_websocket_stays_however_long_it_is_silent(self):
        async with (
            served(request_timeout_secs=1) as server,
            websockets.connect(f"ws://127.0.0.1:{server.port}/") as socket,
        ):
            other = await server.connect()
            assert await other.status() == 408
            await socket.send("still there")

            assert await socket.recv() == "still there"

    async def test_half_a_handshake_is_cut(self):
        async with served(request_timeout_secs=1) as server:
            peer = await server.connect()
            await peer.send(b"GET / HTTP/1.1\r\nupgrade: websocket\r\nconnection: upgrade\r\n")

            assert await peer.status() == 408


async def drip(peer: Peer, prefix: bytes, piece: bytes) -> None:
    """A piece now and then, for ever."""
    with contextlib.suppress(ConnectionError):
        await peer.send(prefix)
        while True:
            await peer.send(piece)
            await asyncio.sleep(0.05)


class TestTheNumberOfConnections:
    async def test_one_address_cannot_take_those_of_another(self):
        async with served(max_connections_per_address=3) as server:
            for _ in range(3):
                await server.connect()
            refused = await server.connect()
            other = await server.connect("127.0.0.2")
            await other.send(REQUEST)

            assert await refused.status() == 429
            assert await refused.closed()
            assert await other.status() == 200
            assert server.edge.refusals.counts[Limit.CONNECTION] == 1

    async def test_a_place_is_free_again_when_its_connection_ends(self):
        async with served(max_connections_per_address=1) as server:
            for _ in range(5):
                await wait_until(lambda: server.edge.http.open == 0)
                peer = await server.connect()
                await peer.send(REQUEST)
                assert await peer.status() == 200
                peer.close()

    async def test_websockets_are_counted_for_themselves(self):
        async with served(max_connections_per_address=1, max_websockets_per_address=2) as server:
            url = f"ws://127.0.0.1:{server.port}/"
            async with websockets.connect(url), websockets.connect(url) as second:
                with pytest.raises(websockets.InvalidStatus) as refused:
                    await websockets.connect(url)
                assert refused.value.response.status_code == 429
                assert server.edge.websockets.open == 2
                await second.close()
                await wait_until(lambda: server.edge.websockets.open == 1)
                async with websockets.connect(url) as again:
                    await again.send("in")
                    assert await again.recv() == "in"
            await wait_until(lambda: server.edge.websockets.open == 0)
            assert await _is_served(server)

    async def test_a_trusted_proxy_has_as_many_as_its_callers_need(self):
        async with served(max_connections_per_address=1, trusted_proxies=["127.0.0.1"]) as server:
            peers = [await server.connect() for _ in range(5)]
            for peer in peers:
                await peer.send(REQUEST)

            assert [await peer.status() for peer in peers] == [200] * 5


async def _is_served(server: Served) -> bool:
    peer = await server.connect()
    await peer.send(REQUEST)
    status = await peer.status()
    peer.close()
    return status == 200
