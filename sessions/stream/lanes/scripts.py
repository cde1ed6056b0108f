"""Runs the scripts of the lanes in Redis, in the name of one replica."""

from __future__ import annotations

from typing import Any, Final

from sessions.models import StreamId
from sessions.stream.lanes.values import Hold, Stage
from sessions.stream.redis import RedisClient, Script, patiently
from sessions.stream.scripts import script_text

# Seconds that a call goes on while Redis is away, before its caller is told.
PATIENCE: Final = 8.0


class LaneScripts:
    """The scripts on one prefix. Safe for concurrent use in one loop.

    `replica` is the name in which they run, "" before the replica has one.
    """

    def __init__(self, redis: RedisClient, *, url: str, prefix: str) -> None:
        self.replica = ""
        self.redis = redis
        self.url = url
        self.prefix = prefix
        self._scripts = {
            name: redis.register_script(script_text("full", "lane_common", f"lane_{name}"))
            for name in _NAMES
        }

    async def run(self, name: str, *arguments: object, patience: float = PATIENCE) -> list[Any]:
        """What the script answers, tried for so many seconds while Redis is away."""
        script: Script = self._scripts[name]
        # An older version looks at the second one only, and cannot read the names in the first.
        keys = [f"{self.prefix}lane_names", f"{self.prefix}lanes"]
        args = [self.prefix, self.replica, *map(to_bytes, arguments)]
        return await patiently(lambda: script(keys=keys, args=args), self.url, patience)

    async def execute(self, *command: object, patience: float = PATIENCE) -> Any:
        """What Redis answers to a command that can be repeated, tried as a script is."""
        return await patiently(lambda: self.redis.execute_command(*command), self.url, patience)


def to_hold(found: list[bytes]) -> Hold:
    """The hold that a script tells of."""
    lane, token, message_id, stage, opened, message = map(to_text, found)
    entry = StreamId.parse(opened) if opened else None
    return Hold(lane, token, message_id, Stage(stage), entry, message)


def to_text(data: bytes) -> str:
    """What Redis has, which may be bytes of any kind, as a text."""
    return data.decode(errors="surrogateescape")


def to_bytes(value: object) -> object:
    """An argument as Redis takes it."""
    return value.encode(errors="surrogateescape") if isinstance(value, str) else value


_NAMES: Final = (
    *("enqueue", "take", "withdraw", "waiting", "publish", "finish", "abort", "at_work"),
    *("beat", "sweep", "newest", "queue", "remove", "wake", "message", "note", "close"),
)
DEAD: Final = "the other replicas took this one for dead; it must register under a new name"
