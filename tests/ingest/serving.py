"""An app on a real port, within the test's own event loop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import uvicorn

from harness.waiting import wait_until


class _Server(uvicorn.Server):
    """uvicorn that leaves the signals to the test run."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


@asynccontextmanager
async def serving(app: Any, *, port: int = 0) -> AsyncIterator[str]:
    """The address (`host:port`) that the app is served on, any free port if none is given."""
    server = _Server(uvicorn.Config(app, log_config=None, lifespan="off"))
    with socket.create_server(("127.0.0.1", port)) as listener:
        task = asyncio.create_task(server.serve(sockets=[listener]))
        await wait_until(lambda: server.started)
        host, port = listener.getsockname()
        yield f"{host}:{port}"
        server.should_exit = server.force_exit = True
        await task
