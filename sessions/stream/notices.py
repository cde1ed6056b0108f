"""News for the readers of a session just now, from the api to the pages that are open on ingest.

Nothing is kept: a page that is not there, or a moment of Redis being away, misses it, and finds
the message in the session's history.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator
from dataclasses import asdict, dataclass
from typing import Any, Final, cast

from pydantic import TypeAdapter

from sessions.stream.redis import ERRORS, RedisClient, explain, patiently
from sessions.strict_json import InvalidJson, parse_json

log = logging.getLogger(__name__)

# Seconds of one wait, less than after which redis-py takes a silent connection for a dead one.
_LISTEN: Final = 1.0


@dataclass(frozen=True, slots=True)
class Notice:
    """A message that was added to a session by nobody who looks at it.

    `agent` is whom the session belongs to; nobody else may see it. `at` is in microseconds. `turn`
    is the turn that it is a part of, None if it is of none.
    """

    session: str
    agent: str
    role: str
    content: str
    at: int
    turn: str | None = None


# What came over Redis is checked like anything from outside.
_READER: Final = TypeAdapter(Notice)


class Notices:
    """The notices of one prefix. Safe for concurrent use in one loop."""

    def __init__(self, redis: RedisClient, *, url: str, prefix: str) -> None:
        self._redis = redis
        self._url = url
        self._channel = f"{prefix}notices"

    async def publish(self, notice: Notice) -> None:
        """Tell all who listen now. Tried once; raises StreamUnavailable."""
        text = json.dumps(asdict(notice), ensure_ascii=False)
        await patiently(
            lambda: self._redis.execute_command("PUBLISH", self._channel, text), self._url, 0.0
        )

    async def subscribe(self) -> AsyncGenerator[Notice]:
        """Notices as they come; raises StreamUnavailable where the connection breaks."""
        pubsub = cast("Any", self._redis).pubsub(ignore_subscribe_messages=True)
        try:
            await pubsub.subscribe(self._channel)
            while True:
                found = await pubsub.get_message(timeout=_LISTEN)
                notice = _read(found["data"]) if found else None
                if notice is not None:
                    yield notice
        except ERRORS as error:
            raise explain(error, self._url) from error
        finally:
            await pubsub.aclose()


def _read(data: bytes) -> Notice | None:
    """None where another program wrote there."""
    try:
        return _READER.validate_python(parse_json(data))
    except (InvalidJson, ValueError):
        log.warning("a notice cannot be read")
        return None


__all__ = ["Notice", "Notices"]
