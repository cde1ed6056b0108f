"""Defects of ZeroClaw that no other test here would notice if we had them too.

docs/upstream-defects.md lists all of them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from harness.waiting import wait_until
from sessions.process.settings import Settings
from sessions.stream.turns import TurnStream
from tests.ingest.channel_fleet import SECRET, ChannelFleet, Shop, with_channels
from tests.ingest.serving import serving
from tests.ingest.test_gateway import Gateway, opened_gateway
from tests.leading import Leading

KEY = "webhook_shop_ada_ada"


@pytest.fixture(params=["sqlite", "jsonl"])
def settings(settings: Settings, request: pytest.FixtureRequest) -> Settings:
    """Each backend: most of these are of upstream's JSONL store."""
    return settings.replace(session_backend=request.param)


@pytest.fixture
async def gateway(settings: Settings, leading: Leading) -> AsyncIterator[Gateway]:
    async with opened_gateway(settings) as gateway:
        yield gateway


class TestChats:
    async def test_a_new_chat_is_stored_and_listed_with_its_name(self, gateway: Gateway):
        """D-2, D-3 and D-5."""
        async with gateway.client(name="Trip") as client:
            await client.say("hello")
            await client.until("done")

        [row] = (await gateway.call("GET", "/api/sessions")).json()["sessions"]
        assert (row["session_key"], row["agent_alias"], row["name"], row["message_count"]) == (
            *("gw_one", "anna", "Trip", 2),
        )
        messages = (await gateway.call("GET", "/api/sessions/one/messages")).json()["messages"]
        assert [(m["role"], m["content"]) for m in messages] == [
            *(("user", "hello"), ("assistant", "re: hello")),
        ]

    async def test_a_chat_that_was_deleted_goes_on_in_the_same_connection(self, gateway: Gateway):
        """D-23."""
        async with gateway.client() as client:
            await client.say("old")
            await client.until("done")
            assert (await gateway.call("DELETE", "/api/sessions/one")).is_success
            await client.say("new")
            await client.until("done")

        messages = (await gateway.call("GET", "/api/sessions/one/messages")).json()["messages"]
        assert [m["content"] for m in messages] == ["new", "re: new"]

    async def test_ids_that_become_one_name_of_a_file_are_two_sessions(self, gateway: Gateway):
        """D-6."""
        for session in ("a.b", "a_b"):
            async with gateway.client(session) as client:
                await client.say(f"hello from {session}")
                await client.until("done")

        for session in ("a.b", "a_b"):
            path = f"/api/sessions/{session}/messages"
            messages = (await gateway.call("GET", path)).json()["messages"]
            assert [m["content"] for m in messages][:1] == [f"hello from {session}"]

    async def test_what_is_said_during_a_turn_is_answered_in_a_turn_of_its_own(
        self, gateway: Gateway
    ):
        """D-24."""
        async with gateway.client() as client:
            for text in ("one", "two", "three"):
                await client.say(text)
            for _ in range(3):
                await client.until("done")

        assert gateway.agent.asked == ["one", "two", "three"]


async def test_a_channels_session_goes_on_after_a_restart(
    settings: Settings, stream: TurnStream, leading: Leading
):
    """D-3 and D-12: there is no cache that a start would have to fill."""
    shop = Shop()
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(serving(shop.app()))
        hooks = {"shop": {"secret": SECRET, "send_url": f"http://{url}/replies"}}
        fleet = await stack.enter_async_context(
            ChannelFleet.of(with_channels(settings, webhook=hooks))
        )
        for number, text in enumerate(["one", "two"]):
            async with fleet.passing_site() as site:
                await site.post(text)
                await wait_until(lambda n=number: len(shop.replies) == n + 1)

        row = await fleet.row(KEY)
        assert (row["channel_id"], row["room_id"], row["sender_id"]) == (
            *("webhook.shop", "ada", "ada"),
        )
        assert [text for _, text in await fleet.messages(KEY)] == [
            *("one", "re: one", "two", "re: two"),
        ]
