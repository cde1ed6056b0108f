"""Messages that come into lanes from outside of all replicas, and what their sender must know.

The api is no replica: nobody beats for it. What it puts into a lane is nobody's there, so that the
next sweep of any replica takes it, or the replica that ends the turn before it.
"""

from __future__ import annotations

import json
from typing import Final

from sessions.errors import LaneFull
from sessions.stream.lanes.inbound import Inbound
from sessions.stream.lanes.lanes import DEPTH
from sessions.stream.lanes.scripts import LaneScripts, to_bytes, to_text
from sessions.stream.lanes.values import Origin
from sessions.stream.redis import RedisClient

# Seconds that may be waited for the answer of a session that was woken, at most.
MOST_AWAITED: Final = 60
# Seconds for which it is remembered what a message said: until long after its turn has ended, when
# the store knows. Then another one with its id is refused at once.
_REMEMBERED: Final = 86_400


class Waking:
    """The lanes of one prefix, for those who wake sessions. Safe for concurrent use in one loop.

    Every method can be repeated. They raise StreamUnavailable where Redis is away for longer than
    PATIENCE, and `put` raises StreamFull where it has no room.
    """

    def __init__(self, redis: RedisClient, *, url: str, prefix: str) -> None:
        self._scripts = LaneScripts(redis, url=url, prefix=prefix)
        self._prefix = prefix

    async def put(self, inbound: Inbound, *, digest: bytes) -> bool:
        """Put the message at the end of its lane, once; False where its id said something else.

        `digest` is what it says. In the lane already, it stays where it is; removed from the lane,
        it is not put there again. Raises LaneFull where the lane has no place; then nothing was
        stored.
        """
        word, *rest = await self._scripts.run(
            *("wake", inbound.lane, inbound.id, inbound.dump()),
            *(DEPTH, digest.hex(), _REMEMBERED),
        )
        if word == b"full":
            raise LaneFull(inbound.session, rest[0])
        return word != b"other"

    async def has_put(self, id: str) -> bool:
        """Whether a message of that id was put into a lane in the last 24 hours."""
        key = to_bytes(f"{self._prefix}lane_woken:{id}")
        return bool(await self._scripts.execute("EXISTS", key))

    async def at_work(self, lane: str) -> Inbound | None:
        """The message whose turn is at work in the lane; None where there is none, or no message
        that can be read."""
        found = await self._scripts.run("message", lane)
        if not found:
            return None
        try:
            return Inbound.load(to_text(found[0]))
        except (ValueError, TypeError, AttributeError):
            return None

    async def origin(self, lane: str) -> Origin | None:
        """Where the lane's last message came from; None if that is long ago, or not known."""
        key = to_bytes(f"{self._prefix}lane_from:{lane}")
        found = await self._scripts.execute("GET", key)
        return None if found is None else Origin(*json.loads(found))
