"""Events that come into a session from outside, and not between a message and its answer."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

from sessions import wire
from sessions.errors import LaneFull, LaneTimeout
from sessions.ids import new_id
from sessions.models import Event, Position, StreamId
from sessions.stream.lanes.lanes import DEPTH
from sessions.stream.lanes.scripts import LaneScripts
from sessions.stream.lanes.values import former_lane_of, lane_of
from sessions.stream.redis import RedisClient

# Seconds that an event waits for the end of the turn: as long as upstream's gateway waits.
NOTE_PATIENCE: Final = 30.0
# Seconds between two looks whether it is on the stream.
_LOOK: Final = 0.1
# Seconds for which Redis keeps an event behind a turn, if nobody asks for it any more.
_KEPT: Final = 60


class LaneNotes:
    """The lanes of one prefix, for events from outside. Safe for concurrent use in one loop.

    It raises StreamUnavailable where Redis is away for longer than PATIENCE, and StreamFull where
    it has no room.
    """

    def __init__(
        self,
        redis: RedisClient,
        *,
        url: str,
        prefix: str,
        max_content: int = wire.DEFAULT_MAX_CONTENT,
    ) -> None:
        self._scripts = LaneScripts(redis, url=url, prefix=prefix)
        self._max_content = max_content

    async def publish(
        self, event: Event, agent: str | None, *, patience: float = NOTE_PATIENCE
    ) -> Position:
        """Put the event on the stream: at once if no turn runs in its session, else behind it.

        Only turns of that agent, the session's owner, count. Raises InvalidEvent as
        `TurnStream.publish` does, LaneFull if too much waits in the session, and LaneTimeout if the
        turn does not end within `patience` seconds; in all three cases nothing was published. A
        caller that is cancelled leaves the event where it is: it may still be published.
        """
        fields = wire.encode(event)
        wire.parse(fields, max_content=self._max_content)
        ticket = new_id()
        pairs = json.dumps([part for pair in fields.items() for part in pair])
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience
        while True:
            word, *rest = await self._ask(event.session, agent, ticket, pairs, deadline)
            match word:
                case b"published":
                    epoch, entry = rest
                    return Position(int(epoch), StreamId.parse(entry), event.stored_id)
                case b"full":
                    raise LaneFull(event.session, rest[0])
                case b"withdrawn":
                    raise LaneTimeout(event.session)
                case _:
                    await asyncio.sleep(_LOOK)

    async def _ask(
        self, session: str, agent: str | None, ticket: str, pairs: str, deadline: float
    ) -> list[Any]:
        patient = asyncio.get_running_loop().time() < deadline
        own = [] if agent is None else [lane_of(session, agent)]
        prefix = self._scripts.prefix
        return await self._scripts.run(
            *("note", ticket, pairs, f"{prefix}turns", f"{prefix}store"),
            *(DEPTH, int(patient), _KEPT, *own, former_lane_of(session)),
        )


__all__ = ["NOTE_PATIENCE", "LaneNotes"]
