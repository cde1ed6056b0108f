"""Messages that a program left unanswered when it died are closed once, when ingest starts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest

from harness.waiting import wait_until
from ingest.failures import INTERRUPTED
from ingest.turns.orphans import Orphans
from sessions.access.tokens import TokenScope, create_token
from sessions.ids import new_id
from sessions.models import Event, EventType
from sessions.process.settings import Settings
from sessions.stream.lanes.closing import Closing
from sessions.stream.lanes.values import lane_of
from tests.ingest.channel_fleet import SECRET, ChannelFleet, IngestSite, with_channels
from tests.ingest.replicas import HeldScript
from tests.leading import Leading

KEY: Final = "webhook_shop_ada_ada"
SHOP: Final = "webhook.shop"


@pytest.fixture
async def fleet(settings: Settings, leading: Leading) -> AsyncIterator[ChannelFleet]:
    own = with_channels(settings, webhook={"shop": {"secret": SECRET}})
    async with ChannelFleet.of(own) as fleet:
        yield fleet


@pytest.fixture
async def site(fleet: ChannelFleet) -> IngestSite:
    """One that has looked already, before there was anything."""
    site = await fleet.site()
    assert await orphans(site).close() == 0
    return site


def orphans(site: IngestSite) -> Orphans:
    return Orphans(site.services.reads, site.services.queue.lanes, agents=2)


async def said(leading: Leading, text: str = "hello?", *, key: str = KEY, **more: Any) -> str:
    """A person's message, as a program publishes it; its id."""
    given = {"role": "user", "channel": SHOP, **more}
    event = Event(given.pop("id", new_id()), EventType.APPEND, key, content=text, **given)
    await leading.publish(event)
    return event.id


async def closed_here(site: IngestSite) -> int:
    """How many a replica closes that starts when everybody has had his time."""
    return await orphans(site).close(grace=0)


class TestClosing:
    async def test_an_open_message_is_closed_and_the_session_rests(
        self, fleet: ChannelFleet, site: IngestSite, leading: Leading
    ):
        await said(leading, state="running")

        assert await closed_here(site) == 1

        assert await fleet.messages(KEY) == [("user", "hello?"), ("assistant", INTERRUPTED)]
        row = await fleet.row(KEY)
        assert (row["state"], row["agent_alias"]) == ("idle", "anna")
        assert await closed_here(site) == 0

    async def test_a_turn_that_no_lane_knows_is_closed_as_a_turn(
        self, fleet: ChannelFleet, site: IngestSite, leading: Leading
    ):
        """Redis lost the lane, and the replica died."""
        await said(leading, id="t1", turn="t1", state="running", agent="anna")

        assert await closed_here(site) == 1

        rows = await fleet.rows(KEY)
        assert [row["id"] for row in rows] == ["t1", "t1:reply"]
        reader = leading.backend
        assert await reader.outcome(Closing.INTERRUPTED.event_id("t1")) is not None

    async def test_a_session_that_only_says_that_a_turn_runs_rests_again(
        self, fleet: ChannelFleet, site: IngestSite, leading: Leading
    ):
        """As ZeroClaw's gateway leaves it, which stores nothing before a turn has ended."""
        for key in ("gw_one", "gw_two"):
            await said(leading, "yes", key=key, role="assistant", channel=None, agent="anna")
        await leading.publish(Event("s", EventType.STATE, "gw_one", state="running"))

        assert await closed_here(site) == 1

        assert (await fleet.row("gw_one"))["state"] == "idle"
        assert len(await fleet.messages("gw_one")) == 1
        assert await closed_here(site) == 0

    async def test_a_chat_that_was_open_when_it_ran_is_closed_too(
        self, fleet: ChannelFleet, site: IngestSite, leading: Leading
    ):
        await said(leading, key="gw_one", channel=None, agent="anna", state="running")
        assert await closed_here(site) == 1
        assert ("assistant", INTERRUPTED) in await fleet.messages("gw_one")

    async def test_replicas_that_start_together_close_it_once(
        self, fleet: ChannelFleet, site: IngestSite, leading: Leading
    ):
        keys = [f"webhook_shop_{n}_{n}" for n in range(8)]
        for key in keys:
            await said(leading, key=key)
        sites = [site, await fleet.site(), await fleet.site()]

        counts = await asyncio.gather(*(closed_here(one) for one in sites))

        assert sum(counts) >= len(keys)
        for key in keys:
            assert await fleet.messages(key) == [("user", "hello?"), ("assistant", INTERRUPTED)]
        assert await fleet.dead_letters() == []

    async def test_two_that_read_the_same_publish_the_same(
        self, fleet: ChannelFleet, site: IngestSite, leading: Leading
    ):
        """The second one comes before the first one's marker is applied, with an older page."""
        await said(leading)
        reads = site.services.reads
        page = await reads.unanswered(limit=50, cursor=None, seconds=0)
        other = orphans(await fleet.site())
        for one in (orphans(site), other):
            # As if nothing had come since.
            newest = await site.services.queue.lanes.newest(KEY, page.position)
            await one._close(page.messages[0], newest or page.position)

        assert await fleet.messages(KEY) == [("user", "hello?"), ("assistant", INTERRUPTED)]
        assert await fleet.dead_letters() == []

    async def test_ingest_does_so_at_its_start(
        self, fleet: ChannelFleet, leading: Leading, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr(Orphans.close, "__kwdefaults__", {"grace": 0})
        await said(leading)

        await fleet.site()

        await wait_until(lambda: is_closed(fleet))


class TestLeftAlone:
    async def test_what_has_just_come_may_be_answered_by_who_wrote_it(
        self, fleet: ChannelFleet, site: IngestSite, leading: Leading
    ):
        """Also if it says that it was written long ago."""
        await said(leading, at=1_000_000_000_000_000)
        assert await orphans(site).close() == 0
        assert await fleet.messages(KEY) == [("user", "hello?")]

    @pytest.mark.parametrize(
        "more",
        [{"channel": None}, {"channel": "telegram.nobodys"}, {"agent": "gone"}, {"role": "system"}],
    )
    async def test_sessions_that_no_agent_has_by_a_channel(
        self, site: IngestSite, leading: Leading, more: dict[str, Any]
    ):
        await said(leading, **more)
        assert await closed_here(site) == 0

    async def test_answered_ones(self, site: IngestSite, leading: Leading):
        await said(leading)
        await said(leading, "yes", role="assistant")
        assert await closed_here(site) == 0

    async def test_what_another_agent_left_to_be_read(
        self, fleet: ChannelFleet, site: IngestSite, leading: Leading
    ):
        await said(leading, "yes", role="assistant")
        token, _ = create_token(fleet.settings.workspace, scope=TokenScope.SEND, agent="anna")
        headers = {"Authorization": f"Bearer {token}"}
        event = {"type": "append", "session": KEY, "role": "user", "content": "a note"}
        assert (await site.http.post("/api/events", json=event, headers=headers)).status_code == 202
        await fleet.messages(KEY)

        assert await closed_here(site) == 0

    async def test_turns_that_run_or_wait_at_any_replica(
        self, fleet: ChannelFleet, site: IngestSite
    ):
        held = HeldScript()
        site.agent.script = held
        await site.post("first")
        await wait_until(lambda: held.waiting)
        await site.post("second")
        other = await fleet.site()

        assert await closed_here(other) == 0

        held.open()
        lane = lane_of(KEY, "anna")
        await wait_until(lambda: is_free(site, lane))
        assert [role for role, _ in await fleet.messages(KEY)] == ["user", "assistant"] * 2

    async def test_a_session_in_which_somebody_writes_meanwhile(
        self, fleet: ChannelFleet, site: IngestSite, leading: Leading
    ):
        await said(leading)
        page = await site.services.reads.unanswered(limit=50, cursor=None, seconds=0)
        await leading.pause()
        await said(leading, "yes", role="assistant")

        assert not await orphans(site)._close(page.messages[0], page.position)

        await leading.resume()
        assert await fleet.messages(KEY) == [("user", "hello?"), ("assistant", "yes")]


async def is_closed(fleet: ChannelFleet) -> bool:
    return ("assistant", INTERRUPTED) in await fleet.messages(KEY)


async def is_free(site: IngestSite, lane: str) -> bool:
    return await site.services.queue.lanes.at_work(lane) is None
