"""The names of people in a workspace, asked for when they matter and remembered."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from ingest.channels.base import Undeliverable
from ingest.channels.slack.api import SlackApi
from sessions.errors import Retryable

# Seconds for the answer: Slack waits 3 s until its event is accepted.
_PATIENCE: Final = 1.5
# Seconds that a name is believed; people seldom change theirs.
_AGE: Final = 3600.0
# Seconds until a name that could not be known is asked for again.
_AGAIN: Final = 60.0
# Names that are remembered.
_REMEMBERED: Final = 10_000


class SlackNames:
    """For one event loop. Safe for concurrent use: two may ask for the same name at a time."""

    def __init__(self, api: SlackApi) -> None:
        self._api = api
        self._kept: dict[str, tuple[str, float]] = {}

    async def of(self, user: str) -> str:
        """The name of the user; the id while it cannot be known. A message waits for no name."""
        name, until = self._kept.get(user, (user, 0.0))
        if time.monotonic() < until:
            return name
        age = _AGE
        try:
            async with asyncio.timeout(_PATIENCE):
                name = await self._api.name_of(user)
        except (Retryable, Undeliverable, TimeoutError):
            # Each further message would wait as long, and with it what stands behind it.
            age = _AGAIN
        while len(self._kept) >= _REMEMBERED:
            self._kept.pop(next(iter(self._kept)))
        self._kept[user] = (name, time.monotonic() + age)
        return name
