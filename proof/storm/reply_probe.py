"""Looks at the replies that no platform has taken from outside, with Redis commands of its own."""

from __future__ import annotations

from typing import Final

from proof.entry_points import PREFIX
from sessions.stream.redis import RedisClient

_ALL: Final = f"{PREFIX}reply_all"


class ReplyProbe:
    """The replies of the one prefix."""

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis

    async def kept(self) -> dict[str, str]:
        """The channel of each turn whose reply is parked or undelivered, oldest first."""
        members: list[bytes] = await self._redis.execute_command("ZRANGE", _ALL, 0, -1)
        return dict(member.decode().split(" ", 1) for member in members)
