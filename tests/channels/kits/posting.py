"""How a platform that pushes brings a message: again, until it is taken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, Self

import httpx

from tests.channels.kits.base import Doors, Kit

# Seconds between two tries.
_PAUSE: Final = 0.1
# Statuses that mean "not now".
_LATER: Final = frozenset({429, 502, 503, 504})


class Poster:
    """Posts to the replicas of ingest, to the next one if one does not answer."""

    def __init__(self, clients: Sequence[httpx.AsyncClient]) -> None:
        self._clients = clients

    @classmethod
    @asynccontextmanager
    async def opened(cls, urls: Sequence[str]) -> AsyncIterator[Self]:
        """With connections that close behind the block."""
        async with AsyncExitStack() as stack:
            clients = [httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) for url in urls]
            for client in clients:
                await stack.enter_async_context(client)
            yield cls(clients)

    async def post(
        self, path: str, content: bytes, headers: Mapping[str, str], *, replica: int = 0
    ) -> httpx.Response:
        """Post it once."""
        return await self._clients[replica].post(path, content=content, headers=headers)

    async def insist(
        self, path: str, content: bytes, headers: Mapping[str, str], *, replica: int = 0
    ) -> Any:
        """Post it until it is taken; the answer. Fails for a refusal that does not pass."""
        while True:
            try:
                answer = await self.post(path, content, headers, replica=replica)
            except httpx.TransportError:
                answer = None
            if answer is not None and answer.status_code not in _LATER:
                assert answer.status_code == 200, answer.text
                return answer.json()
            replica = (replica + 1) % len(self._clients)
            await asyncio.sleep(_PAUSE)


class PostingKit(Kit):
    """A kit whose platform posts what is said."""

    def __init__(self) -> None:
        super().__init__()
        self._poster: Poster

    async def open(self, doors: Doors, stack: AsyncExitStack) -> None:
        await super().open(doors, stack)
        self._poster = await stack.enter_async_context(Poster.opened(doors.ingests))


def told(answer: httpx.Response) -> str:
    """What a platform sees of an answer to one message."""
    nothing = answer.is_success and answer.json() == {"accepted": []}
    return f"{answer.status_code}{': nothing taken' if nothing else ''}"


__all__ = ["Poster", "PostingKit", "told"]
