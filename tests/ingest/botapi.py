"""The Bot API on a port of its own, and updates that are posted as Telegram posts them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from proof.botapi import BotApi
from tests.ingest.serving import serving


@asynccontextmanager
async def bot_api() -> AsyncIterator[tuple[BotApi, str]]:
    """The server and its base URL."""
    server = BotApi()
    async with serving(server.app()) as address:
        yield server, f"http://{address}"


async def push(
    http: httpx.AsyncClient, said: dict[str, Any], token: str | None, *, alias: str = "home"
) -> httpx.Response:
    """Post an update to a bot's webhook as Telegram does."""
    headers = {} if token is None else {"X-Telegram-Bot-Api-Secret-Token": token}
    return await http.post(f"/channels/telegram/{alias}", json=said, headers=headers)
