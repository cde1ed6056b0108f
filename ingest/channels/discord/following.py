"""Listens to the gateway: one replica at a time, and nothing that was written is missed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any, Final, NoReturn, cast

from ingest.channels.base import Undeliverable, Unreadable
from ingest.channels.discord.backlog import Backlog
from ingest.channels.discord.gateway import GatewayConnector, GatewayEvent
from ingest.channels.discord.marks import Watermarks
from ingest.channels.discord.snowflakes import first_at, number_of
from ingest.channels.holding import while_held
from ingest.channels.lease import ChannelLease
from sessions import times
from sessions.errors import Retryable
from sessions.process.retry import OutageLog, Pauses, retry
from sessions.process.tasks import end_all

log = logging.getLogger(__name__)

# Seconds until the first next try.
_FIRST_PAUSE: Final = 1.0
# Seconds between two tries at most, while Discord is away or refuses us. A bot may begin a thousand
# sessions a day.
_LONGEST_PAUSE: Final = 100.0
# Seconds for which a connection must have held, so that the next failure is another outage.
_STEADY: Final = 60.0
# Kinds of channels that people write in. Those of forums hold threads only.
_WRITTEN_IN: Final = frozenset({0, 2, 5, 10, 11, 12, 13})

MakeBacklog = Callable[[], Backlog]


class GatewayFollower:
    """Keeps one replica at the gateway. `name` is the channel's."""

    def __init__(
        self,
        name: str,
        *,
        lease: ChannelLease,
        marks: Watermarks,
        connector: GatewayConnector,
        is_place: Callable[[str, str | None], bool],
        report_unreadable: Callable[[Unreadable], None],
    ) -> None:
        self._name = name
        self._lease = lease
        self._marks = marks
        self._connector = connector
        self._is_place = is_place
        self._report_unreadable = report_unreadable

    async def follow(self, make_backlog: MakeBacklog) -> None:
        """Listen for ever whenever the lease is ours; whatever fails is tried again.

        Each connection gets a backlog of its own. Raises RedisRefused: a person must change what
        Redis permits.
        """
        outage = OutageLog(log, "%s cannot listen now: %s", self._name)
        await retry(
            lambda: while_held(self._lease, lambda: self._listen(make_backlog(), outage.over)),
            on=(Retryable, Undeliverable),
            pauses=Pauses(_FIRST_PAUSE, _LONGEST_PAUSE, settled=_STEADY, heeded=True),
            # No limit: Discord keeps the messages, and what it refuses may be put right.
            patience=None,
            report=outage.failed,
        )

    async def _listen(self, backlog: Backlog, is_over: Callable[[], None]) -> None:
        """Until the connection ends; raises what ended it."""
        await self._marks.load()
        connection = self._connector.connection()
        try:
            await _first_of(
                connection.run(),
                self._read(connection.arrivals, backlog, is_over),
                backlog.run(),
            )
        finally:
            self._connector.leave(connection)

    async def _read(
        self,
        arrivals: asyncio.Queue[GatewayEvent],
        backlog: Backlog,
        is_over: Callable[[], None],
    ) -> NoReturn:
        while True:
            event = await arrivals.get()
            if event.name in ("READY", "RESUMED"):
                is_over()
            try:
                self._take(event, backlog)
            except (LookupError, TypeError, ValueError, AttributeError) as error:
                kind = type(error).__name__
                self._report_unreadable(Unreadable(f"a {event.name} of the gateway ({kind})"))

    def _take(self, event: GatewayEvent, backlog: Backlog) -> None:
        match event.name:
            case "READY":
                backlog.begin_session()
            case "GUILD_CREATE" | "THREAD_LIST_SYNC":
                self._compare(event.payload, backlog)
            case "MESSAGE_CREATE":
                self._bring(event.payload, backlog)
            case _:
                pass

    def _compare(self, guild: Mapping[str, Any], backlog: Backlog) -> None:
        """Look at the channels of a guild that have something behind their marks."""
        id = str(guild.get("guild_id") or guild["id"])
        floor = first_at(times.parse(guild["joined_at"])) if guild.get("joined_at") else 0
        for channel, newest in _written_in(guild):
            if self._is_place(str(channel), id):
                backlog.look_behind(channel, id, newest=newest, floor=floor)

    def _bring(self, raw: Mapping[str, Any], backlog: Backlog) -> None:
        number, channel = number_of(raw.get("id")), number_of(raw.get("channel_id"))
        if number is None or channel is None:
            raise ValueError
        guild = raw.get("guild_id")
        if self._is_place(str(channel), guild if isinstance(guild, str) else None):
            backlog.bring(number, channel, raw)


def _written_in(guild: Mapping[str, Any]) -> Iterator[tuple[int, int]]:
    """The channels and threads of a guild, each with its last message."""
    for raw in [*guild.get("channels", []), *guild.get("threads", [])]:
        channel = cast("Mapping[str, Any]", raw)
        number, newest = number_of(channel["id"]), number_of(channel.get("last_message_id"))
        if number is not None and newest is not None and channel["type"] in _WRITTEN_IN:
            yield number, newest


async def _first_of(*works: Coroutine[Any, Any, None]) -> None:
    """Run them until the first one ends; raises what it raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        await end_all(tasks)
