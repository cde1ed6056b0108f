"""`python -m bench.load`: one process that asks an HTTP server as fast as it answers.

    {"host": "127.0.0.1", "port": 8000, "connections": 8, "seconds": 1, "requests": ["GET / …"]}

comes on stdin; requests a second go to stdout. Connections are kept alive and send their next
request when they have the whole answer. Bytes are only counted, so that this process is not the
one that is measured.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import sys
import time
from collections.abc import Iterator
from typing import Any, Final, cast

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_END: Final = b"\r\n\r\n"


def main() -> None:
    """Read what to do, do it, and print requests a second."""
    task = json.loads(sys.stdin.read())
    print(asyncio.run(_load(task)))


async def _load(task: dict[str, Any]) -> float:
    requests = itertools.cycle([request.encode() for request in task["requests"]])
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    deadline = began + task["seconds"]
    callers = [LoadConnection(requests, deadline) for _ in range(task["connections"])]
    for caller in callers:
        await loop.create_connection(lambda caller=caller: caller, task["host"], task["port"])
    await asyncio.gather(*(caller.done for caller in callers))
    return sum(caller.answered for caller in callers) / (time.perf_counter() - began)


class LoadConnection(asyncio.Protocol):
    """One connection. `done` fails where an answer is not 200 or the connection ends."""

    def __init__(self, requests: Iterator[bytes], deadline: float) -> None:
        self.answered = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._requests = requests
        self._deadline = deadline
        self._transport: asyncio.Transport | None = None
        self._head = b""
        # Bytes of the answer that are still to come, once its head is there.
        self._missing: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the first time."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(next(self._requests))

    def data_received(self, data: bytes) -> None:
        """Count, and ask again when the answer is whole."""
        if self._missing is None:
            self._head += data
            end = self._head.find(_END)
            if end < 0:
                return
            length = _LENGTH.search(self._head)
            if length is None or not self._head.startswith(b"HTTP/1.1 200 "):
                self._fail(f"not the answer that was expected: {self._head[:400]!r}")
                return
            self._missing = end + len(_END) + int(length[1]) - len(self._head)
        else:
            self._missing -= len(data)
        if self._missing == 0:
            self._next()

    def _next(self) -> None:
        assert self._transport is not None
        self._head, self._missing = b"", None
        self.answered += 1
        if time.perf_counter() < self._deadline:
            self._transport.write(next(self._requests))
        else:
            self._transport.close()

    def _fail(self, text: str) -> None:
        assert self._transport is not None
        if not self.done.done():
            self.done.set_exception(RuntimeError(text))
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Done; too early if there was no answer yet."""
        if not self.done.done():
            if exc is not None or not self.answered:
                self.done.set_exception(exc or RuntimeError("the server closed the connection"))
            else:
                self.done.set_result(None)


if __name__ == "__main__":
    main()
