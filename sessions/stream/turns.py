"""The stream in Redis: publishing turns to it, reading them from a cursor, trimming it.

The only file that spells the stream's commands. The cursor itself lives in the store (`backend`),
never in Redis: no consumer group, nothing acknowledged. Keys: `{prefix}turns` is the stream,
`{prefix}store` a hash that says which store it belongs to and how the leader fares,
`{prefix}standbys` one of who stood by when.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any, Final

from sessions import times, wire
from sessions.errors import StoreMismatch
from sessions.models import STREAM_START, Entry, Event, Position, RawEntry, StreamId, make_tuple
from sessions.process.tracing import span, traced
from sessions.stream.chunks import ChunkSize, fitting, is_small
from sessions.stream.publish_counts import PublishCounts
from sessions.stream.publish_order import PublishOrder
from sessions.stream.redis import ERRORS, RedisClient, explain, patiently
from sessions.stream.scripts import script_text

# Seconds that a publisher goes on with the same ids before it says that Redis is away. Shorter
# than the 15 s after which platforms give up on a webhook.
PUBLISH_PATIENCE: Final = 8.0
# Characters that are checked in one go, about 1 ms.
_CHECKED: Final = 512 * 1024
# Seconds after which a standby that was not heard of counts as gone: three of its notes.
STANDBY_SEEN: Final = 6
# Milliseconds that an idle reader blocks; less than the client's read timeout, and short enough
# that a stop is quick and the lease is renewed in time.
BLOCK_MS: Final = 1000
# Entries that the search for the trimming point looks at in one call, about 10 ms of Redis.
_SURPLUS_STEP: Final = 20_000


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """What Redis says of the stream. `added` is None on servers that do not count (before 7.0).

    `last_id` is the highest id that ever was, `newest_id` that of the last entry that is there:
    where entries were trimmed or deleted it is older, and STREAM_START where there is none.
    `behind` counts the entries behind the place that was asked for, None where there are too many.
    """

    last_id: StreamId
    newest_id: StreamId
    first_id: StreamId
    added: int | None
    length: int
    store: dict[str, str]
    behind: int | None

    @property
    def epoch(self) -> int:
        """The stream epoch that the leader registered; 0 where none has."""
        return int(self.store.get("epoch", 0))


@dataclass(frozen=True, slots=True)
class RedisMemory:
    """Redis' memory in bytes; `limit` 0 is none. `stream` estimates the stream's share."""

    used: int
    limit: int
    stream: int


class TurnStream:
    """The stream of one prefix on one Redis. Safe for concurrent use in one event loop."""

    def __init__(
        self,
        redis: RedisClient,
        *,
        url: str,
        prefix: str,
        max_content: int = wire.DEFAULT_MAX_CONTENT,
    ) -> None:
        self.key = f"{prefix}turns"
        self.store_key = f"{prefix}store"
        self.standbys_key = f"{prefix}standbys"
        self._redis = redis
        self._url = url
        self._max_content = max_content
        self._answered = float("-inf")
        self._order = PublishOrder()
        self._chunk_size = ChunkSize()
        self.counts = PublishCounts()
        self._scripts = {
            name: redis.register_script(script_text(name)) for name in ("facts", "trim", "surplus")
        }

    @property
    def answered(self) -> float:
        """When Redis last answered a question about the stream, by the event loop's clock.

        Seconds; minus infinity before the first answer.
        """
        return self._answered

    # -- publishing --------------------------------------------------------------------------

    async def publish(
        self, events: Sequence[Event], *, patience: float = PUBLISH_PATIENCE
    ) -> list[Position]:
        """Put all events on the stream, or none; their positions.

        Each event is checked first, as the worker will check it: InvalidEvent names the first bad
        one and nothing is published. While a session's events are unconfirmed, later calls for
        that session wait, so that a retry cannot be overtaken. After a cut connection the same
        ids are sent again for `patience` seconds; entries that arrived twice have one effect.

        Raises StreamFull if Redis has no room, StreamUnavailable if it did not confirm in time: the
        events may be on the stream or not, and sending the same ids again is safe.
        """
        with span("publish"):
            return await self._publish(events, patience)

    async def _publish(self, events: Sequence[Event], patience: float) -> list[Position]:
        entries = [traced(wire.encode(event)) for event in events]
        size = 0
        for fields in entries:
            wire.parse(fields, max_content=self._max_content)
            size += len(fields.get("content", ""))
            if size > _CHECKED:
                # Others have their turn between the parts of a large call.
                size = await asyncio.sleep(0, 0)
        with self.counts.counting(events):
            async with self._order.hold({event.session for event in events}):
                replies = await patiently(lambda: self._add(entries), self._url, patience)
        epoch = int(replies[0] or 0)
        return [
            Position(epoch, StreamId.parse(reply), event.stored_id)
            for reply, event in zip(replies[1:], events, strict=True)
        ]

    async def _add(self, entries: Sequence[dict[str, str]]) -> list[Any]:
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.execute_command("HGET", self.store_key, "epoch")
            for fields in entries:
                pairs = [part for pair in fields.items() for part in pair]
                pipe.execute_command("XADD", self.key, "*", *pairs)
            return await pipe.execute()

    # -- reading -----------------------------------------------------------------------------

    async def read(
        self, cursor: StreamId, *, count: int, size: int, wait: bool = False
    ) -> list[Entry]:
        """The entries behind the cursor, at most `count` and about `size` bytes; maybe none.

        With `wait`, not before there is one, or BLOCK_MS are over. They are decoded as they come,
        so that nothing else in this event loop waits for all of them.
        """
        found: list[Entry] = []
        block = ("BLOCK", BLOCK_MS) if wait else ()
        room = size
        while room > 0 and len(found) < count:
            ask = self._chunk_size.count(room, most=count - len(found))
            chunk = await self._xread(cursor, ask, *block)
            if not chunk:
                break
            sizes = [len(b"".join(fields)) for _, fields in chunk]
            self._chunk_size.learn(sizes)
            found += wire.decode_all(chunk[: fitting(sizes, room)], max_content=self._max_content)
            room -= sum(sizes)
            if len(chunk) < ask:
                break
            cursor, block = chunk[-1].stream_id, ()
        return found

    async def _xread(self, cursor: StreamId, count: int, *block: str | int) -> list[RawEntry]:
        reply = await self._ask(
            lambda: self._redis.execute_command(
                "XREAD", "COUNT", count, *block, "STREAMS", self.key, str(cursor)
            )
        )
        if not reply:
            return []
        names, fields = zip(*reply[0][1], strict=True)
        # All numbers of all ids in one go, then taken two by two.
        numbers = map(int, b"-".join(names).split(b"-"))
        ids = map(make_tuple, repeat(StreamId), zip(numbers, numbers, strict=True))
        return [*map(make_tuple, repeat(RawEntry), zip(ids, fields, strict=True))]

    async def facts(self, place: StreamId = STREAM_START, *, counted: int = 0) -> StreamFacts:
        """The stream's ids and counts and the registered store, as of one moment.

        A reader at a `place`, who has `counted` entries so far, learns how many wait for it.
        """
        last, added, length, first, store, behind, newest = await self._ask(
            lambda: self._scripts["facts"](
                keys=[self.key, self.store_key], args=[str(place), counted]
            )
        )
        pairs = [item.decode() for item in store]
        return StreamFacts(
            last_id=StreamId.parse(last),
            newest_id=StreamId.parse(newest),
            first_id=StreamId.parse(first),
            added=None if added < 0 else added,
            length=length,
            store=dict(zip(pairs[::2], pairs[1::2], strict=True)),
            behind=None if behind < 0 else behind,
        )

    async def oldest_behind(self, place: StreamId) -> StreamId | None:
        """The first entry behind a place; None if there is none."""
        found = await self._ask(
            lambda: self._redis.execute_command("XRANGE", self.key, f"({place}", "+", "COUNT", 1)
        )
        return StreamId.parse(found[0][0]) if found else None

    async def _ask(self, call: Callable[[], Awaitable[Any]]) -> Any:
        try:
            found = await call()
        except ERRORS as error:
            raise explain(error, self._url) from error
        self._answered = asyncio.get_running_loop().time()
        return found

    # -- the leader's part -------------------------------------------------------------------

    async def register(
        self, *, backend: str, store_id: str, place: str, adopt: bool = False
    ) -> None:
        """Claim the stream for a store; raises StoreMismatch if it is another's.

        Writes nothing if the claim stands already. With `adopt` the claim is moved.
        """
        if not adopt:
            await self._ask(lambda: self._claim(store_id))
        current = (await self.facts()).store
        owner = current.get("store_id")
        if owner not in (None, store_id) and not adopt:
            raise StoreMismatch(
                f"the stream {self.key} belongs to the {current.get('backend')} store {owner} in "
                f"{current.get('place')}, but this worker's is the {backend} store {store_id} in "
                f"{place}; start it with that workspace and backend, give it a Redis or a prefix "
                "of its own, or take the stream over with --adopt-stream"
            )
        claim = {"backend": backend, "store_id": store_id, "place": place}
        if {**current, **claim} != current:
            await self.announce(**claim)

    async def _claim(self, store_id: str) -> None:
        # HSETNX wants memory even where it changes nothing; a full Redis must not stop a leader.
        if await self._redis.execute_command("HGET", self.store_key, "store_id") is None:
            await self._redis.execute_command("HSETNX", self.store_key, "store_id", store_id)

    async def announce(self, **facts: str | int) -> None:
        """Write the leader's facts (`epoch`, `applied`) where publishers and readers see them."""
        pairs = [part for pair in facts.items() for part in pair]
        await self._ask(lambda: self._redis.execute_command("HSET", self.store_key, *pairs))

    async def applied(self) -> Position | None:
        """How far the leader says that the store is; None if it has not said so yet."""
        found = await self._ask(
            lambda: self._redis.execute_command("HGET", self.store_key, "applied")
        )
        return Position.parse(found.decode()) if found else None

    async def note_standby(self, holder: str) -> None:
        """Note that this worker stands by now; it counts for STANDBY_SEEN seconds."""
        await self._ask(
            lambda: self._redis.execute_command(
                "HSET", self.standbys_key, holder, times.now() // times.SECOND
            )
        )

    async def standbys(self) -> list[str]:
        """The workers that stood by a moment ago, and may be leading by now."""
        noted = await self._ask(lambda: self._redis.execute_command("HGETALL", self.standbys_key))
        oldest = times.now() // times.SECOND - STANDBY_SEEN
        return sorted(name.decode() for name, seen in noted.items() if int(seen) >= oldest)

    async def memory(self) -> RedisMemory:
        """How full Redis is. A reader asks now and then: a small stream is read in fewer calls."""
        info: dict[str, Any] = await self._ask(
            lambda: self._redis.execute_command("INFO", "memory")
        )
        stream = await self._usage()
        if is_small(stream):
            stream = await self._usage("SAMPLES", 0)
        self._chunk_size.learn_stream(stream)
        return RedisMemory(info["used_memory"], info.get("maxmemory", 0), stream)

    async def _usage(self, *how: str | int) -> int:
        usage = await self._ask(lambda: self._redis.execute_command("MEMORY USAGE", self.key, *how))
        return usage or 0

    async def trim(self, oldest_kept: StreamId, *, applied: StreamId) -> int:
        """Drop the entries before `oldest_kept`, up to the one that was `applied` last; how many.

        Nothing goes if the stream ends before that: it was deleted since, and is another one.
        """
        return await self._ask(
            lambda: self._scripts["trim"](keys=[self.key], args=[str(oldest_kept), str(applied)])
        )

    async def surplus(self, applied: StreamId, size: int) -> StreamId:
        """The first entry to keep if about `size` bytes go; never one behind `applied`."""
        found = await self._ask(
            lambda: self._scripts["surplus"](
                keys=[self.key], args=[str(applied), size, _SURPLUS_STEP]
            )
        )
        return StreamId.parse(found.removeprefix(b"(")) if found != b"-" else StreamId(0, 0)


__all__ = ["BLOCK_MS", "RedisMemory", "StreamFacts", "TurnStream"]
