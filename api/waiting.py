"""How many readers of one agent may wait for the store, so that it cannot take all places."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager

from sessions.access.tokens import Principal
from sessions.web.edge import Limit, RefusalCounts
from sessions.web.rejections import TooManyWaiting


class WaitingReaders:
    """The places of each agent; administrators and services are not bounded."""

    def __init__(self, most: int, refusals: RefusalCounts) -> None:
        self._most = most
        self._refusals = refusals
        self._taken: Counter[str] = Counter()

    @contextmanager
    def place(self, principal: Principal) -> Generator[None]:
        """Hold one place inside; raises TooManyWaiting if the agent has them all."""
        agent = principal.agent
        if agent is None:
            yield
            return
        if self._taken[agent] >= self._most:
            self._refusals.count(Limit.WAITING)
            raise TooManyWaiting(
                "too many readers of this agent wait for the store to catch up; try again"
            )
        self._taken[agent] += 1
        try:
            yield
        finally:
            self._taken[agent] -= 1
            if not self._taken[agent]:
                del self._taken[agent]
