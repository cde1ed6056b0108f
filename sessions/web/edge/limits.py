"""Limits for each caller, before every entry point: requests at a time and a second, chats.

Plain ASGI. Calls within the process are not limited (`sessions.web.asgi.inside`).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from sessions.web.asgi import AsgiApp, AsgiMessage, AsgiScope, Receive, Send, is_inside
from sessions.web.edge import Edge, Limit
from sessions.web.edge.accounts import Account, Accounts
from sessions.web.problems import closing, send_problem, too_many_requests

# Seconds that a refusal is held back at least. It costs no processor time and slows down clients
# that ask again at once: 128 connections then make some 400 requests a second instead of thousands.
HOLD: Final = 0.25
# Refusals held back for one caller, some 8 KB each. More are sent at once and end the connection.
MOST_HELD: Final = 256
# Bytes of a body that cost as much as one request: 1 MiB a second with the default rate. What is
# larger holds up Redis, the worker and the disk for everybody.
_BYTES_PER_COST: Final = 2 * 1024
# What a WebSocket costs at its beginning, in requests: some 2 ms.
_HANDSHAKE: Final = 5.0
# Seconds that a frame waits for budget at most: one that cost a lot does not silence its client.
_LONGEST_PAUSE: Final = 1.0
_PROBES: Final = frozenset({"/healthz", "/readyz"})
_BODILESS: Final = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})


class CallerLimits:
    """Lets a request through to the app, or refuses it with 429 `too_many_requests`."""

    def __init__(self, app: AsgiApp, edge: Edge) -> None:
        self._app = app
        self._refusals = edge.refusals
        self._accounts = Accounts(edge)

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """One request, or one WebSocket from its handshake to its end."""
        if scope["type"] not in ("http", "websocket") or is_inside(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._chat(await self._accounts.of(scope), scope, receive, send)
        elif scope["path"] in _PROBES:
            await self._request(self._accounts.of_probes(scope), scope, receive, send)
        else:
            await self._request(await self._accounts.of(scope), scope, receive, send)

    async def _request(
        self, account: Account, scope: AsgiScope, receive: Receive, send: Send
    ) -> None:
        wait = account.overdrawn()
        if wait or account.working >= account.most_working:
            await self._refuse(account, wait, send)
            return
        account.spend(1)
        with _counted(account):
            await self._app(scope, _charged(account, scope, receive), send)

    async def _refuse(self, account: Account, wait: float, send: Send) -> None:
        self._refusals.count(Limit.RATE if wait else Limit.CONCURRENCY)
        crowded = account.held >= MOST_HELD
        if not crowded:
            account.held += 1
            try:
                # Not all at one moment, when they came at one.
                await asyncio.sleep(random.uniform(1.0, 1.5) * HOLD)
            finally:
                account.held -= 1
        problem = too_many_requests(wait)
        await send_problem(send, closing(problem) if crowded else problem)

    async def _chat(self, account: Account, scope: AsgiScope, receive: Receive, send: Send) -> None:
        wait = account.overdrawn()
        if wait or account.chats >= account.most_chats:
            self._refusals.count(Limit.RATE if wait else Limit.CHATS)
            await _deny(wait, scope, receive, send)
            return
        account.spend(_HANDSHAKE)
        account.chats += 1
        try:
            await self._app(scope, _paced(account, receive), send)
        finally:
            account.chats -= 1


@contextmanager
def _counted(account: Account) -> Generator[None]:
    account.working += 1
    try:
        yield
    finally:
        account.working -= 1


def _charged(account: Account, scope: AsgiScope, receive: Receive) -> Receive:
    """What a request receives, paid for as it comes: a length that is announced may be a lie."""
    if scope["method"] in _BODILESS:
        return receive

    async def charged() -> AsgiMessage:
        message = await receive()
        account.spend(len(message.get("body", b"")) / _BYTES_PER_COST)
        return message

    return charged


def _paced(account: Account, receive: Receive) -> Receive:
    """What a WebSocket receives, paid for like requests: without budget its client waits."""

    async def paced() -> AsgiMessage:
        if wait := account.overdrawn():
            await asyncio.sleep(min(wait, _LONGEST_PAUSE))
        message = await receive()
        account.spend(1 + len(message.get("text") or "") / _BYTES_PER_COST)
        return message

    return paced


async def _deny(wait: float, scope: AsgiScope, receive: Receive, send: Send) -> None:
    await receive()
    if "websocket.http.response" in (scope.get("extensions") or {}):
        await send_problem(send, too_many_requests(wait), kind="websocket.http")
    else:
        await send({"type": "websocket.close", "code": 1013, "reason": "too many requests"})
