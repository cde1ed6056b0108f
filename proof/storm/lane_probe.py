"""Looks at the lanes from outside, with Redis commands of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from proof.entry_points import PREFIX
from proof.storm.journal import AGENT, AIDE, Ingress
from sessions.stream.lanes.values import lane_of, session_of
from sessions.stream.redis import RedisClient

_BEATS: Final = f"{PREFIX}lane_beats"
_IN_USE: Final = f"{PREFIX}lane_names"
# How the keys of the other agent's sessions begin.
_AIDES: Final = tuple(f"{ingress}_" for ingress in Ingress if ingress.agent == AIDE)


@dataclass(frozen=True)
class LaneView:
    """A lane in use: who holds it, how far its turn is, and (turn, replica) of its messages."""

    holder: str | None
    stage: str | None
    queue: tuple[tuple[str, str], ...]

    def is_stuck_with(self, dead: str) -> bool:
        """Whether the lane can only go on when that replica is found to be dead."""
        if self.holder is not None:
            return self.holder == dead
        return bool(self.queue) and self.queue[0][1] == dead

    def concerns(self, dead: str) -> bool:
        """Whether that replica held it, or had a message in it."""
        return self.holder == dead or any(owner == dead for _, owner in self.queue)


class LaneProbe:
    """The lanes of the one prefix."""

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis

    async def beats(self) -> dict[str, int]:
        """The heartbeat of each replica, by its name in Redis."""
        found = await self._redis.execute_command("HGETALL", _BEATS)
        return {name.decode(): int(beat) for name, beat in found.items()}

    async def in_use(self) -> list[str]:
        """The sessions whose lane is in use."""
        names = await self._redis.execute_command("SMEMBERS", _IN_USE)
        return [session_of(name.decode(errors="surrogateescape")) for name in names]

    async def lanes(self, sessions: list[str] | None = None) -> dict[str, LaneView]:
        """The lanes of these sessions, or of all that are in use."""
        wanted = await self.in_use() if sessions is None else sessions
        async with self._redis.pipeline(transaction=True) as pipe:
            for session in wanted:
                pipe.execute_command("HMGET", _key("lane", session), "holder", "stage")
                pipe.execute_command("LRANGE", _key("queue", session), 0, -1)
            found = await pipe.execute()
        return {
            session: _lane(found[2 * place], found[2 * place + 1])
            for place, session in enumerate(wanted)
        }

    async def keys(self) -> list[str]:
        """Keys that belong to lanes in use."""
        found: list[str] = []
        for pattern in ("lane:*", "queue:*"):
            keys = await self._redis.execute_command("KEYS", f"{PREFIX}{pattern}")
            found += [key.decode(errors="backslashreplace") for key in keys]
        return found


def _key(kind: str, session: str) -> bytes:
    agent = AIDE if session.startswith(_AIDES) else AGENT
    return f"{PREFIX}{kind}:{lane_of(session, agent)}".encode(errors="surrogateescape")


def _lane(head: list[bytes | None], queue: list[bytes]) -> LaneView:
    holder, stage = (None if part is None else part.decode() for part in head)
    entries = (entry.decode().partition(" ") for entry in queue)
    return LaneView(holder, stage, tuple((message, owner) for message, _, owner in entries))
