"""Replies that were not taken: who sees them, and what becomes of those whose text is gone."""

from __future__ import annotations

import pytest

from harness.waiting import wait_until
from sessions.models import EventType
from sessions.stream.replies.replies import Replies
from sessions.stream.replies.values import ChannelReply, ReplyState, ReplyText
from tests.api.running_api import RunningApi

SESSION = "telegram_home_42_ada"


async def keep(
    running_api: RunningApi,
    replies: Replies,
    turn: str,
    *,
    session: str = SESSION,
    agent: str = "anna",
    channel: str = "telegram.home",
    text: ReplyText = ReplyText.STORED,
    refused: bool = False,
) -> None:
    """Let a turn of the agent end with a reply that is not taken."""
    owner = {"agent": agent, "channel": channel}
    await running_api.say(session, f"question {turn}", **owner)
    if text is ReplyText.STORED:
        answer = {"role": "assistant", "content": f"the secret of {turn}", "id": f"{turn}:reply"}
        await running_api.publish(EventType.APPEND, session, **answer, **owner)
    reply = ChannelReply(turn, session, agent, channel, "chat 7", "ada", "replied", text)
    if refused:
        await replies.refuse(reply, "bot was blocked", tries=1)
    else:
        await replies.park(reply, "503", tries=3)


async def turns(running_api: RunningApi, who: str = "admin", **params: str) -> list[str]:
    response = await running_api.get("/api/replies", who=who, **params)
    assert response.status_code == 200, response.text
    return [row["turn"] for row in response.json()["replies"]]


class TestList:
    async def test_a_reply_is_told_without_its_text(
        self, running_api: RunningApi, replies: Replies
    ):
        await keep(running_api, replies, "m1")
        response = await running_api.get("/api/replies")
        [row] = response.json()["replies"]
        assert (row["turn"], row["state"], row["channel"]) == ("m1", "parked", "telegram.home")
        assert (row["session"], row["agent"]) == (SESSION, "anna")
        assert (row["tries"], row["pieces_sent"], row["last_error"]) == (3, 0, "503")
        assert row["until"] > row["since"]
        assert "secret" not in response.text
        assert "chat 7" not in response.text

    async def test_it_is_narrowed_and_paged_in_order(
        self, running_api: RunningApi, replies: Replies
    ):
        await keep(running_api, replies, "m1")
        await keep(running_api, replies, "m2", refused=True)
        await keep(running_api, replies, "m3", session="other", channel="webhook.shop")
        assert await turns(running_api) == ["m1", "m2", "m3"]
        assert await turns(running_api, state="undelivered") == ["m2"]
        assert await turns(running_api, channel="webhook.shop") == ["m3"]
        assert await turns(running_api, session=SESSION) == ["m1", "m2"]
        first = (await running_api.get("/api/replies", limit=2)).json()
        assert [row["turn"] for row in first["replies"]] == ["m1", "m2"]
        assert await turns(running_api, cursor=first["next_cursor"]) == ["m3"]
        assert (await running_api.get("/api/replies", limit=3)).json()["next_cursor"] is None

    @pytest.mark.parametrize(
        "params", [{"state": "lost"}, {"cursor": "x"}, {"cursor": "-1"}, {"limit": 0}]
    )
    async def test_what_makes_no_sense_is_refused(
        self, running_api: RunningApi, params: dict[str, str]
    ):
        assert (await running_api.get("/api/replies", **params)).status_code == 422


class TestWhose:
    async def test_an_agent_sees_and_changes_its_own(
        self, running_api: RunningApi, replies: Replies
    ):
        await keep(running_api, replies, "m1", refused=True)
        await keep(running_api, replies, "m2", session="b", agent="bert", channel="discord.club")
        assert await turns(running_api, "anna") == ["m1"]
        assert await turns(running_api, "bert-reads") == ["m2"]
        assert await turns(running_api, "admin as bert") == ["m2"]
        for method, path in (("POST", "/api/replies/m1/retry"), ("DELETE", "/api/replies/m1")):
            other = await running_api.call(method, path, who="bert")
            absent = await running_api.call(method, path.replace("m1", "m9"), who="bert")
            assert (other.status_code, other.text) == (404, absent.text)
        assert (await running_api.call("POST", "/api/replies/m1/retry", who="anna")).is_success

    @pytest.mark.parametrize("who", ["anna-reads", "metrics", "serve", None])
    async def test_a_change_needs_the_scope_send(
        self, running_api: RunningApi, replies: Replies, who: str | None
    ):
        await keep(running_api, replies, "m1")
        for method, path in (("POST", "/api/replies/m1/retry"), ("DELETE", "/api/replies/m1")):
            response = await running_api.call(method, path, who=who)
            assert response.status_code == (401 if who is None else 403)
        assert await turns(running_api) == ["m1"]


class TestChange:
    async def test_an_undelivered_one_is_parked_again_once(
        self, running_api: RunningApi, replies: Replies
    ):
        await keep(running_api, replies, "m1", refused=True)
        for _ in range(2):
            answer = await running_api.call("POST", "/api/replies/m1/retry")
            assert (answer.status_code, answer.json()["state"]) == (200, "parked")
        kept = await replies.find("m1")
        assert kept is not None
        assert kept.state is ReplyState.PARKED

    async def test_a_dropped_one_is_gone_and_its_text_is_not(
        self, running_api: RunningApi, replies: Replies
    ):
        await keep(running_api, replies, "m1")
        answer = await running_api.call("DELETE", "/api/replies/m1")
        assert answer.json() == {"turn": "m1", "dropped": True}
        assert (await running_api.call("DELETE", "/api/replies/m1")).status_code == 404
        assert await turns(running_api) == []
        assert "the secret of m1" in await running_api.contents(SESSION)


class TestGone:
    @pytest.mark.parametrize("erasing", [EventType.RESET, EventType.DELETE])
    async def test_a_reply_goes_with_its_session(
        self, running_api: RunningApi, replies: Replies, erasing: EventType
    ):
        await keep(running_api, replies, "m1")
        await keep(running_api, replies, "m2", refused=True)
        await keep(running_api, replies, "m3", session="other")
        await running_api.publish(erasing, SESSION)
        assert await turns(running_api) == ["m3"]
        assert await replies.find("m1") is None
        assert await replies.find("m2") is None
        assert (await running_api.call("POST", "/api/replies/m1/retry")).status_code == 404

    async def test_one_whose_session_changed_hands_is_dropped(
        self, running_api: RunningApi, replies: Replies
    ):
        await keep(running_api, replies, "m1")
        await running_api.publish(EventType.OWNER, SESSION, agent="bert")
        assert await turns(running_api, "bert") == []
        assert await turns(running_api, "anna") == []
        assert await replies.find("m1") is None

    async def test_a_notice_has_no_text_to_lose(self, running_api: RunningApi, replies: Replies):
        await keep(running_api, replies, "m1", text=ReplyText.CLEARED)
        await running_api.publish(EventType.DELETE, SESSION)
        assert await turns(running_api) == ["m1"]

    async def test_a_store_that_is_behind_drops_nothing(
        self, running_api: RunningApi, replies: Replies
    ):
        await running_api.leading.pause()
        await keep(running_api, replies, "m1")
        assert await turns(running_api, consistency="any") == []
        await running_api.leading.resume()
        assert await wait_until(lambda: turns(running_api)) == ["m1"]


async def test_they_are_counted_for_prometheus(running_api: RunningApi, replies: Replies):
    await keep(running_api, replies, "m1")
    await keep(running_api, replies, "m2", refused=True)
    page = (await running_api.get("/metrics")).text
    assert 'turnstream_replies{channel="telegram.home",state="parked"} 1.0' in page
    assert 'turnstream_replies{channel="telegram.home",state="undelivered"} 1.0' in page
    for turn in ("m1", "m2"):
        await replies.remove(turn)
    assert "turnstream_replies{" not in (await running_api.get("/metrics")).text
