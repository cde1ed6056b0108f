"""One agent's share of the stream: what it published and the worker has not applied."""

from __future__ import annotations

from typing import Any

import pytest

from harness.waiting import wait_until
from sessions.errors import InvalidEvent, ShareFull
from sessions.ids import new_id
from sessions.models import Event, EventType
from sessions.process.settings import OwnSettings
from sessions.web.edge import Limit, RefusalCounts
from sessions.web.share import ShareLimiter
from tests.leading import Leading


def appends(count: int, *, content: str = "x") -> list[Event]:
    """So many user messages."""
    return [
        Event(new_id(), EventType.APPEND, session="s", role="user", content=content)
        for _ in range(count)
    ]


def share_of(leading: Leading, **limits: Any) -> ShareLimiter:
    """A share of the stream that `leading` applies."""
    return ShareLimiter(leading.stream, OwnSettings.model_validate(limits), RefusalCounts())


async def test_an_agent_whose_share_is_full_is_refused_and_the_others_are_not(leading: Leading):
    await leading.pause()
    await leading.announce()
    refusals = RefusalCounts()
    share = ShareLimiter(leading.stream, OwnSettings(max_share_entries=10), refusals)
    await share.publish(appends(10), agent="anna")

    with pytest.raises(ShareFull, match="10 events of this agent are not applied"):
        await share.publish(appends(1), agent="anna")

    await share.publish(appends(10), agent="bert")
    await share.publish(appends(100), agent=None)
    assert (await leading.stream.facts()).length == 120
    assert refusals.counts[Limit.SHARE] == 1


async def test_what_was_applied_makes_room_again(leading: Leading):
    await leading.pause()
    await leading.announce()
    share = share_of(leading, max_share_entries=10)
    for _ in range(3):
        await wait_until(lambda: _passes(share, 10))
        with pytest.raises(ShareFull):
            await share.publish(appends(1), agent="anna")
        await leading.catch_up()
        await leading.announce()


async def test_bytes_count_as_well(leading: Leading):
    await leading.pause()
    await leading.announce()
    share = share_of(leading, max_share_bytes=100_000)
    await share.publish(appends(1, content="ü" * 40_000), agent="anna")

    with pytest.raises(ShareFull):
        await share.publish(appends(1, content="x" * 20_000), agent="anna")


async def test_a_call_that_is_larger_than_the_share_passes_alone(leading: Leading):
    await leading.pause()
    await leading.announce()
    share = share_of(leading, max_share_entries=10)

    await share.publish(appends(50), agent="anna")

    with pytest.raises(ShareFull):
        await share.publish(appends(1), agent="anna")


async def test_what_was_not_published_takes_no_room(leading: Leading):
    await leading.pause()
    await leading.announce()
    share = share_of(leading, max_share_entries=10)
    for _ in range(5):
        with pytest.raises(InvalidEvent):
            await share.publish([*appends(9), Event("?", EventType.APPEND)], agent="anna")

    await share.publish(appends(10), agent="anna")


async def test_a_leader_that_does_not_say_how_far_it_is_refuses_nobody(leading: Leading):
    await leading.pause()
    share = share_of(leading, max_share_entries=10)

    for _ in range(5):
        await wait_until(lambda: _passes(share, 10))


async def test_what_went_to_a_stream_that_is_no_more_takes_no_room(leading: Leading):
    await leading.pause()
    await leading.announce()
    share = share_of(leading, max_share_entries=10)
    await share.publish(appends(10), agent="anna")
    await leading.begin_epoch()
    await leading.announce()

    await wait_until(lambda: _passes(share, 10))


async def _passes(share: ShareLimiter, count: int = 1) -> bool:
    try:
        await share.publish(appends(count), agent="anna")
    except ShareFull:
        return False
    return True
