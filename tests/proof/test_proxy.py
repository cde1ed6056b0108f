"""The proxy of `make proof`: each trouble does to a connection what its name says."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proof.proxy import Proxy, ProxyFault

ASKED = b"ping\n"


class Echo:
    """A server that answers each line with itself, and remembers what it was asked."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.ended = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer until the other side is gone."""
        while line := await reader.readline():
            self.heard.append(line)
            writer.write(line)
            await writer.drain()
        writer.close()
        await writer.wait_closed()
        self.ended.set()


@asynccontextmanager
async def connected(folder: Path) -> AsyncIterator[tuple[Echo, Proxy, ProxyClient]]:
    """An echo server, the proxy before it, and a client that has been answered once."""
    echo, proxy = Echo(), Proxy(folder / "echo.sock")
    server = await asyncio.start_unix_server(echo.serve, folder / "echo.sock")
    async with server:
        await proxy.start()
        client = ProxyClient(*await asyncio.open_connection("127.0.0.1", proxy.port))
        assert await client.ask() == ASKED
        yield echo, proxy, client
        client.writer.close()
        await proxy.close()
        await echo.ended.wait()


class ProxyClient:
    """A connection to the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self) -> bytes:
        """Send a line; what came back before a newline or the end."""
        self.writer.write(ASKED)
        try:
            return await self.reader.readline()
        except ConnectionError:
            return b""


async def suffer(proxy: Proxy, trouble: ProxyFault, client: ProxyClient) -> bytes:
    """Order a trouble, ask once more, and give the answer."""
    ordered = asyncio.create_task(proxy.disturb(trouble, random.Random(1), within=10))
    await asyncio.sleep(0)
    answer = await client.ask()
    assert await ordered
    return answer


async def test_a_command_that_is_cut_before_never_reaches_the_server(tmp_path: Path) -> None:
    """The server did not execute it, and the client cannot know."""
    async with connected(tmp_path) as (echo, proxy, client):
        assert await suffer(proxy, ProxyFault.CUT_BEFORE, client) == b""
        assert len(echo.heard) == 1


async def test_a_command_that_is_cut_after_was_executed(tmp_path: Path) -> None:
    """The server executed it, and the client cannot know."""
    async with connected(tmp_path) as (echo, proxy, client):
        assert await suffer(proxy, ProxyFault.CUT_AFTER, client) == b""
        assert len(echo.heard) == 2


async def test_a_reply_that_is_cut_within_arrives_in_half(tmp_path: Path) -> None:
    """The client has the first bytes of an answer, and no more."""
    async with connected(tmp_path) as (_, proxy, client):
        assert await suffer(proxy, ProxyFault.CUT_WITHIN, client) in (ASKED[:2], b"")


@pytest.mark.parametrize("trouble", [ProxyFault.DELAY, ProxyFault.DRIP])
async def test_late_bytes_arrive(tmp_path: Path, trouble: ProxyFault) -> None:
    """Nothing is lost by being late or in pieces."""
    async with connected(tmp_path) as (_, proxy, client):
        assert await suffer(proxy, trouble, client) == ASKED
        assert await client.ask() == ASKED


async def test_a_half_open_connection_hangs_until_it_is_healed(tmp_path: Path) -> None:
    """Nobody is told anything; healing cuts it."""
    async with connected(tmp_path) as (echo, proxy, client):
        asking = asyncio.create_task(client.ask())
        assert await proxy.disturb(ProxyFault.HALF_OPEN, random.Random(1), within=10)
        assert not asking.done()
        proxy.heal()
        assert await asking == b""
        assert len(echo.heard) == 1
