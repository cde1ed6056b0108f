"""How much searching is done at the same time, and for how long.

A search costs a processor for as long as it takes, and memory with every word. Without bounds a few
long ones stop every other caller.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final

from sessions.access.tokens import Principal
from sessions.errors import SearchInterrupted
from sessions.process.settings import OwnSettings
from sessions.web.rejections import Refused, TooManySearches

# Searches at work in one process: readers of the store share few threads and processors.
MOST_AT_ONCE: Final = 2
# Seconds that a search waits for its turn: as long as any read waits.
PATIENCE: Final = 2.0


class Searches:
    """The searches of one process: one at a time for each agent, and few in all."""

    def __init__(self, settings: OwnSettings) -> None:
        self._most_bytes = settings.search_max_bytes
        self._most_words = settings.search_max_words
        self._seconds = settings.search_timeout_ms / 1000
        self._at_work: set[str | None] = set()
        self._waiting: dict[asyncio.Future[None], str | None] = {}

    def check(self, query: str) -> None:
        """Raise Refused for a query that is too long."""
        size = len(query.encode("utf-8", "surrogatepass"))
        # The words of a long one are not counted: that alone takes long.
        if size > self._most_bytes:
            raise self._too_long(f"{size} bytes")
        words = len(query.split())
        if words > self._most_words:
            raise self._too_long(f"{words} words")

    def _too_long(self, what: str) -> Refused:
        return Refused(
            422,
            f"the query has {what}; a search takes {self._most_words} words and "
            f"{self._most_bytes} bytes at most",
            "search_too_long",
        )

    @asynccontextmanager
    async def slot(self, principal: Principal) -> AsyncGenerator[Callable[[], float]]:
        """Search inside; gives a function that tells how many seconds are left for it.

        It raises SearchInterrupted when none are. TooManySearches comes instead of a turn if that
        is not free soon.
        """
        who = principal.agent
        await self._enter(who)
        until = time.monotonic() + self._seconds
        try:
            yield lambda: _left(until)
        finally:
            self._leave(who)

    async def _enter(self, who: str | None) -> None:
        if self._is_free(who):
            self._at_work.add(who)
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[place] = who
        try:
            async with asyncio.timeout(PATIENCE):
                await place
        except BaseException as error:
            # Being cancelled too: a place that nobody leaves is lost to all others.
            if place.done() and not place.cancelled():
                # The turn came at the moment of giving up.
                self._leave(who)
            if isinstance(error, TimeoutError):
                raise TooManySearches("other searches are at work; try again") from None
            raise
        finally:
            self._waiting.pop(place, None)

    def _leave(self, who: str | None) -> None:
        self._at_work.discard(who)
        for place, waiting in self._waiting.items():
            if not place.done() and self._is_free(waiting):
                self._at_work.add(waiting)
                place.set_result(None)

    def _is_free(self, who: str | None) -> bool:
        return who not in self._at_work and len(self._at_work) < MOST_AT_ONCE


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise SearchInterrupted(
            "the search took too long and was ended; search for rarer words, or in one session"
        )
    return left
