"""Whether the system behind the api works: told by progress, not by who claims to be up."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Final

from api.freshness import Freshness, lag
from sessions.errors import SessionError
from sessions.models import StreamCursor
from sessions.store.backend import SessionReader
from sessions.stream.turns import StreamFacts
from sessions.web.problems import Problem, problem_of

# Seconds without a sign of the writer after which it may not progress. When idle it renews its
# lease every 2 s.
STALE: Final = 6.0
# Seconds to wait for a sign before saying that there is none: one renewal and a half.
_LAST_CHANCE: Final = 3.0
_LOOK_PAUSE: Final = 0.05


_NO_LEADER: Final = Problem(503, "no worker leads, so nothing is applied", "no_leader")
_NO_PROGRESS: Final = Problem(503, "the worker makes no progress", "no_progress")


@dataclass(frozen=True, slots=True)
class ReadinessReport:
    """What is open, how far it is, and what is wrong: `problem` is None where it is ready."""

    problem: Problem | None
    backend: str
    store_id: str | None = None
    epoch: int | None = None
    lag: int | None = None

    @property
    def body(self) -> dict[str, Any]:
        """The report as JSON; an error as well where something is wrong."""
        found = {
            "ready": self.problem is None,
            "backend": self.backend,
            "store_id": self.store_id,
            "epoch": self.epoch,
            "lag": self.lag,
        }
        return found if self.problem is None else {**self.problem.body, **found}


class Readiness:
    """Remembers the writer's last sign of life between two questions."""

    def __init__(self, backend: SessionReader, freshness: Freshness) -> None:
        self._backend = backend
        self._freshness = freshness
        self._sign: object = None
        self._moved = float("-inf")

    async def report(self) -> ReadinessReport:
        """Ready where the writer progresses on our store; else what is wrong.

        Takes up to 3 s where there is no sign of it yet.
        """
        store_id = None
        try:
            store_id = await self._freshness.store_id()
            facts = await self._freshness.stream_facts()
            cursor = await self._backend.cursor()
            problem = await self._stillness()
        except SessionError as error:
            return ReadinessReport(problem_of(error), self._backend.name, store_id)
        behind = lag(cursor, facts)
        return ReadinessReport(problem, self._backend.name, store_id, cursor.epoch, behind)

    async def _stillness(self) -> Problem | None:
        """What keeps the writer from working; None where it was seen to work."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + _LAST_CHANCE
        while True:
            sign = await self._look()
            if sign is None:
                return _NO_LEADER
            if sign != self._sign:
                self._moved = clock() if self._sign is not None else self._moved
                self._sign = sign
            if clock() - self._moved < STALE:
                return None
            if clock() > deadline:
                return _NO_PROGRESS
            await asyncio.sleep(_LOOK_PAUSE)

    async def _look(self) -> object:
        """What changes while the writer works; None where nobody leads.

        With a backlog it is the cursor: a leader that only renews its lease does not get on.
        """
        facts = await self._freshness.stream_facts()
        cursor = await self._backend.cursor()
        lease = await self._backend.lease()
        if lease.holder is None or "epoch" not in facts.store:
            return None
        return cursor if _has_backlog(cursor, facts) else lease


def _has_backlog(cursor: StreamCursor, facts: StreamFacts) -> bool:
    return cursor.epoch != facts.epoch or cursor.applied < facts.newest_id
