"""An agent's share of the stream: how much of what it published may wait for the worker.

Without it one agent could fill Redis, and everybody would be refused. Each process counts what
it has published itself for an agent. The leader announces how far the store is.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NamedTuple

from sessions.errors import Retryable, ShareFull
from sessions.models import Event, Position
from sessions.process.settings import OwnSettings
from sessions.stream.turns import PUBLISH_PATIENCE, TurnStream
from sessions.web.edge.refusals import Limit, RefusalCounts

log = logging.getLogger(__name__)

# Puts the events of one call on the stream.
Publisher = Callable[[], Awaitable[list[Position]]]

# Seconds between two looks at how far the store is.
_LOOK: Final = 0.1
# Seconds that a call waits for room before it is refused: as long as the leader takes to tell.
_HOLD: Final = 0.3
# Bytes that an entry takes beside its text.
_ENTRY: Final = 200


class _Sent(NamedTuple):
    """What one call has put on the stream."""

    last: Position
    entries: int
    size: int


@dataclass(slots=True)
class _Outstanding:
    """What one agent has published, and was not seen to be applied."""

    sent: deque[_Sent] = field(default_factory=deque[_Sent])
    entries: int = 0
    size: int = 0

    def add(self, entries: int, size: int) -> None:
        self.entries += entries
        self.size += size

    def drop(self, applied: Position) -> None:
        """Forget what is applied, or was published to a stream that is no more."""
        while self.sent and _is_behind(self.sent[0].last, applied):
            done = self.sent.popleft()
            self.add(-done.entries, -done.size)


class ShareLimiter:
    """Publishes for agents within their shares. Safe for concurrent use in one event loop."""

    def __init__(self, stream: TurnStream, settings: OwnSettings, refusals: RefusalCounts) -> None:
        self._stream = stream
        self._most_entries = settings.max_share_entries
        self._most_size = settings.max_share_bytes
        self._refusals = refusals
        self._agents: dict[str, _Outstanding] = {}
        self._next_look = 0.0

    async def publish(
        self,
        events: Sequence[Event],
        *,
        agent: str | None,
        patience: float = PUBLISH_PATIENCE,
        way: Publisher | None = None,
    ) -> list[Position]:
        """Publish as `TurnStream.publish` does, for that agent; None has no bound.

        With a `way` they go that way instead. Raises ShareFull if more waits for the worker then
        than the agent's share, and nothing is published. A call that is larger by itself passes if
        nothing of the agent's waits.
        """
        publish = way or partial(self._stream.publish, events, patience=patience)
        if agent is None:
            return await publish()
        entries, size = len(events), sum(map(_size, events))
        own = await self._reserve(agent, entries, size)
        try:
            positions = await publish()
        except BaseException:
            # Being cancelled too: what was reserved and not published is free again.
            own.add(-entries, -size)
            raise
        own.sent.append(_Sent(positions[-1], entries, size))
        return positions

    async def check(self, agent: str | None) -> None:
        """Raise ShareFull if not one more entry fits, before a body is read that may be large."""
        if agent is not None:
            await self._wait_for_room(agent, 1, 1)

    async def _reserve(self, agent: str, entries: int, size: int) -> _Outstanding:
        await self._wait_for_room(agent, entries, size)
        # An agent that nothing is left of was forgotten by the look.
        own = self._agents.setdefault(agent, _Outstanding())
        own.add(entries, size)
        return own

    async def _wait_for_room(self, agent: str, entries: int, size: int) -> None:
        if self._fits(agent, entries, size):
            return
        await self._look()
        if self._fits(agent, entries, size):
            return
        # Waiting costs no processor time, and slows down a client that asks again at once.
        await asyncio.sleep(_HOLD)
        await self._look()
        if not self._fits(agent, entries, size):
            self._refusals.count(Limit.SHARE)
            raise ShareFull(self._agents[agent].entries)

    def _fits(self, agent: str, entries: int, size: int) -> bool:
        own = self._agents.get(agent)
        if own is None or not own.entries:
            return True
        room = self._most_entries - own.entries, self._most_size - own.size
        return entries <= room[0] and size <= room[1]

    async def _look(self) -> None:
        """Forget what is applied by now; for all agents, since it costs one question."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + _LOOK
        try:
            applied = await self._stream.applied()
        except Retryable as error:
            log.debug("how far the store is cannot be told: %s", error)
            return
        if applied is None:
            # A leader of an older version does not say. Counting on would refuse for ever.
            self._agents.clear()
            return
        for agent, own in [*self._agents.items()]:
            own.drop(applied)
            if not own.entries:
                del self._agents[agent]


def _is_behind(position: Position, applied: Position) -> bool:
    if position.epoch != applied.epoch:
        return position.epoch < applied.epoch
    return position.stream_id <= applied.stream_id


def _size(event: Event) -> int:
    return _ENTRY + len((event.content or "").encode("utf-8", "surrogatepass"))
