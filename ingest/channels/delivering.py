"""Sends parked replies for as long as this process lives, and notices if Redis loses them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

from ingest.channels.base import Channel
from ingest.channels.courier import Courier
from ingest.channels.failure_counts import ChannelFailure, ChannelFailures
from ingest.channels.lease import ChannelLease
from ingest.channels.reply_texts import ReplyTexts
from sessions.errors import Retryable
from sessions.process.retry import OutageLog
from sessions.process.tasks import ProcessEnd, TaskWatcher
from sessions.stream.replies.replies import Replies
from sessions.stream.replies.values import ReplyWatch

log = logging.getLogger(__name__)

# Seconds between two looks for replies: what was parked has waited for two minutes already.
_LOOK: Final = 1.0
# Seconds for the pieces in hand once the process is to stop; a platform takes one in less.
_STOP_GRACE: Final = 3.0
# Turns that one log line names.
_NAMED: Final = 100


@asynccontextmanager
async def delivering(
    channels: Mapping[str, Channel],
    texts: ReplyTexts,
    replies: Replies,
    troubles: ChannelFailures,
    *,
    lease: Callable[[str], ChannelLease],
    end: ProcessEnd,
) -> AsyncGenerator[None]:
    """Send what is parked while the context is open; `lease` makes a channel's.

    Redis or the api being away only delays it. `end` is told of a defect, and of what Redis refuses
    for good.
    """

    def courier(name: str) -> Courier:
        return Courier(
            *(name, channels.get(name)),
            lease=lease(name),
            texts=texts,
            replies=replies,
            troubles=troubles,
        )

    async with TaskWatcher(end.fail) as tasks:
        couriers = Couriers(replies, troubles, courier, tasks)
        tasks.start(couriers.run(), "parked replies")
        try:
            yield
        finally:
            await couriers.stop()


class Couriers:
    """A courier for each channel that has replies here. None of them waits for another."""

    def __init__(
        self,
        replies: Replies,
        troubles: ChannelFailures,
        courier: Callable[[str], Courier],
        tasks: TaskWatcher,
    ) -> None:
        self._replies = replies
        self._memory = ReplyMemory(replies, troubles)
        self._courier = courier
        self._tasks = tasks
        self._couriers: dict[str, Courier] = {}
        self._at_work: dict[str, asyncio.Task[None]] = {}
        self._stopping = False

    async def run(self) -> None:
        """Look for replies for ever. Raises RedisRefused."""
        outage = OutageLog(log, "parked replies are not looked for: %s")
        while True:
            try:
                await self._look()
                outage.over()
            except Retryable as error:
                outage.failed(error)
            await asyncio.sleep(_LOOK)

    async def stop(self) -> None:
        """Let the pieces in hand be sent and noted, then let other replicas go on at once."""
        self._stopping = True
        for courier in self._couriers.values():
            courier.stop()
        if self._at_work:
            await asyncio.wait(self._at_work.values(), timeout=_STOP_GRACE)
        await asyncio.gather(*(courier.release() for courier in self._couriers.values()))

    async def _look(self) -> None:
        for name in await self._memory.look():
            if self._stopping or (name in self._at_work and not self._at_work[name].done()):
                continue
            if name not in self._couriers:
                self._couriers[name] = self._courier(name)
            work = _send_due(self._couriers[name], name)
            self._at_work[name] = self._tasks.start(work, f"parked replies on {name}")


async def _send_due(courier: Courier, name: str) -> None:
    try:
        await courier.send_due()
    except Retryable as error:
        # Redis or the api, and no fault of the platform: the next look tries again.
        log.debug("parked replies on %s wait: %s", name, error)


class ReplyMemory:
    """What this replica has seen in Redis, so that a loss does not go unnoticed."""

    def __init__(self, replies: Replies, troubles: ChannelFailures) -> None:
        self._replies = replies
        self._troubles = troubles
        self._known: ReplyWatch | None = None

    async def look(self) -> frozenset[str]:
        """The channels that have replies now. Raises Retryable."""
        known, now = self._known, await self._replies.watch(self._known)
        if known is not None and now.is_behind(known):
            await self._report(known, now)
        self._known = now
        return now.channels

    async def _report(self, known: ReplyWatch, now: ReplyWatch) -> None:
        """Say what is lost, unless another replica has said so."""
        lost = sorted(known.replies - now.replies)
        if not lost or not await self._replies.claim_report(known):
            return
        for _, channel in lost:
            self._troubles.add(ChannelFailure.LOST, channel=channel)
        named = ", ".join(turn for turn, _ in lost[:_NAMED])
        log.error(
            "Redis lost %d replies that were not delivered; their texts are in the store: %s%s",
            *(len(lost), named, " …" if len(lost) > _NAMED else ""),
        )


__all__ = ["delivering"]
