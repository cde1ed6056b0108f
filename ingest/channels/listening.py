"""Channels that fetch their messages, for as long as this process lives."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Final

from ingest.channels.base import Channel, ChannelMessage, name_of
from ingest.channels.failure_counts import ChannelFailure, ChannelFailures
from ingest.channels.receiver import MessageReceiver
from sessions.process.retry import Pauses, retry, unless_refused
from sessions.process.tasks import ProcessEnd, TaskWatcher

log = logging.getLogger(__name__)

# Seconds until a channel that failed begins again, growing.
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 60.0
# Seconds without a failure after which the next one is another outage.
_STEADY: Final = 300.0


@asynccontextmanager
async def listening(
    channels: Mapping[str, Channel],
    receiver: MessageReceiver,
    troubles: ChannelFailures,
    *,
    end: ProcessEnd,
) -> AsyncGenerator[None]:
    """Let every channel fetch what there is to fetch while the context is open.

    One that fails begins again, after pauses that grow. The others and this process go on: what is
    wrong with a bot is not the business of those who use another one. What Redis refuses for good
    is no fault of the channel, and a new try does not help: `end` is told of it.
    """
    async with TaskWatcher(end.fail) as tasks:
        for name, channel in channels.items():
            tasks.start(_listen(channel, receiver, troubles), f"channel {name}")
        yield


async def _listen(channel: Channel, receiver: MessageReceiver, troubles: ChannelFailures) -> None:
    async def take(incoming: ChannelMessage) -> None:
        await receiver.accept(channel, incoming)

    def report(error: Exception) -> None:
        troubles.add(ChannelFailure.FAILED, channel=name)
        _report(name, error, is_first=pauses.failures == 1)

    name, pauses = name_of(channel), Pauses(_FIRST_PAUSE, _LONGEST_PAUSE, settled=_STEADY)
    await retry(
        lambda: channel.listen(take),
        # Whatever it is, it is this channel's alone.
        on=Exception,
        pauses=pauses,
        # No limit: its platform may be away for days, and the others are served meanwhile.
        patience=None,
        goes_on=unless_refused,
        report=report,
    )


def _report(name: str, error: Exception, *, is_first: bool) -> None:
    """Once for each outage with its traceback: the same one every minute helps nobody."""
    if is_first:
        log.error("the channel %s failed; it begins again, with pauses", name, exc_info=error)
    else:
        log.debug("the channel %s failed again: %s", name, type(error).__name__)
