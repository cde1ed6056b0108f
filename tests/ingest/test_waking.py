"""A message from outside wakes a session: its agent answers there, by its own channel, once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from itertools import pairwise
from typing import Any

import pytest
from websockets.asyncio.client import connect as connect_socket

from harness.waiting import wait_until
from ingest.agents.base import Progress, Reply
from ingest.failures import ABORTED, FAILED, AgentError
from ingest.prompt import PromptMessage
from proof.botapi import update
from sessions.process.settings import Settings
from sessions.stream.redis import connect
from tests.ingest.botapi import push
from tests.ingest.replicas import HeldScript
from tests.ingest.town import (
    ON_CLUB,
    ON_TELEGRAM,
    SECRET_TOKEN,
    WakingTown,
    opened_town,
)
from tests.leading import Leading


@pytest.fixture
async def town(settings: Settings, leading: Leading) -> AsyncIterator[WakingTown]:
    async with opened_town(settings) as town:
        yield town


async def on_telegram(town: WakingTown) -> None:
    """Let Ada write to the bot, and be answered."""
    await push(town.http, update("hello"), SECRET_TOKEN)
    await wait_until(lambda: town.bot.texts == ["re: hello"])


class TestChannels:
    async def test_a_woken_bot_answers_in_the_chat_that_was_written_from_last(
        self, town: WakingTown
    ):
        await on_telegram(town)

        data = await town.woken(ON_TELEGRAM, "the kettle is on")

        assert (data["session"], data["status"], data["undelivered"]) == (
            *(ON_TELEGRAM, "pending", None),
        )
        await wait_until(lambda: len(town.bot.texts) == 2)
        assert town.bot.texts == ["re: hello", "re: the kettle is on"]
        assert {said["chat_id"] for said in town.bot.sent} == {"1111111"}
        assert await town.messages(ON_TELEGRAM) == [
            *(("user", "hello"), ("assistant", "re: hello")),
            *(("user", "the kettle is on"), ("assistant", "re: the kettle is on")),
        ]
        assert not town.shop.replies
        assert not town.club.replies

    async def test_a_topic_is_answered_in_the_topic(self, town: WakingTown):
        chat = {"id": -1001234567890, "type": "supergroup", "title": "Kitchen", "is_forum": True}
        said = update("hello", chat=chat["id"], message_thread_id=17, is_topic_message=True)
        said["message"]["chat"] = chat
        await push(town.http, said, SECRET_TOKEN)
        await wait_until(lambda: town.bot.sent)
        headers = {"Authorization": f"Bearer {town.tokens['admin']}"}
        listed = (await town.http.get("/api/sessions", headers=headers)).json()["sessions"]
        [key] = [row["session_key"] for row in listed]

        await town.woken(key)

        await wait_until(lambda: len(town.bot.sent) == 2)
        assert [(s["chat_id"], s["message_thread_id"]) for s in town.bot.sent] == [
            ("-1001234567890", "17")
        ] * 2

    async def test_a_webhook_is_told_to_whom_and_in_which_thread(self, town: WakingTown):
        await town.posts("shop", thread_id="t7")
        await wait_until(lambda: town.shop.replies)

        await town.woken("webhook_shop_t7_t7_ada", who="anna")

        await wait_until(lambda: len(town.shop.replies) == 2)
        told = [(r["recipient"], r["thread_id"], r["content"]) for r in town.shop.replies]
        assert told == [("ada", "t7", "re: hello"), ("ada", "t7", "re: news?")]

    async def test_routing_stays_what_it_was(self, town: WakingTown):
        await town.posts("club")
        await wait_until(lambda: town.club.replies)
        headers = {"Authorization": f"Bearer {town.tokens['admin']}"}
        before = (await town.http.get("/api/sessions", headers=headers)).json()["sessions"]

        await town.woken(ON_CLUB, who="anna", await_reply=20)

        after = (await town.http.get("/api/sessions", headers=headers)).json()["sessions"]
        names = ("agent_alias", "channel_id", "room_id", "sender_id")
        assert [[row[n] for n in names] for row in before] == [
            [row[n] for n in names] for row in after
        ]

    async def test_an_address_that_redis_forgot_is_told_by_key_and_routing(self, town: WakingTown):
        await on_telegram(town)
        await forget(town, "lane_from:*")

        await town.woken(ON_TELEGRAM)

        await wait_until(lambda: len(town.bot.sent) == 2)
        assert town.bot.sent[1]["chat_id"] == "1111111"

    async def test_without_an_address_the_answer_is_stored_and_the_caller_told_why(
        self, town: WakingTown
    ):
        await on_telegram(town)
        await forget(town, "lane_from:*")
        # The key does not tell any more what the room is.
        headers = {"Authorization": f"Bearer {town.tokens['admin']}"}
        event = {"type": "context", "session": ON_TELEGRAM, "room": "17", "sender": "Ada"}
        await town.http.post("/api/events", json=event, headers=headers)

        data = await town.woken(ON_TELEGRAM, await_reply=20)

        assert (data["status"], data["text"]) == ("replied", "re: news?")
        assert "no address is known" in data["undelivered"]
        assert len(town.bot.sent) == 1

    async def test_a_webhook_without_an_address_to_send_to_keeps_the_answer(self, town: WakingTown):
        await town.posts("mute")
        await wait_until(lambda: town.messages("webhook_mute_ada_ada"))

        data = await town.woken("webhook_mute_ada_ada", await_reply=20)

        assert (data["status"], data["undelivered"]) == (
            *("replied", "the session's channel sends nothing"),
        )

    async def test_another_agents_bot_says_nothing(self, town: WakingTown):
        """Cara owns a session whose channel is anna's."""
        await on_telegram(town)
        headers = {"Authorization": f"Bearer {town.tokens['admin']}"}
        await town.http.put(
            f"/api/sessions/{ON_TELEGRAM}/owner", json={"agent": "cara"}, headers=headers
        )

        data = await town.woken(ON_TELEGRAM, who="cara", await_reply=20)

        assert (data["status"], data["undelivered"]) == (
            *("replied", "another agent answers on the session's channel"),
        )
        assert town.agents["cara"].asked == ["news?"]
        assert len(town.bot.sent) == 1

    async def test_pages_that_are_open_see_message_and_answer(self, town: WakingTown):
        url = str(town.http.base_url).replace("http", "ws")
        headers = {"Authorization": f"Bearer {town.tokens['anna']}"}
        address = f"{url}/ws/chat?agent=anna&session_id=desk"
        async with connect_socket(address, additional_headers=headers) as socket:
            await socket.send(json.dumps({"type": "message", "content": "hello"}))
            await until(socket, "done")

            await town.woken("desk")

            frames = [await until(socket, "message") for _ in range(2)]
        assert [(f["role"], f["content"]) for f in frames] == [
            *(("user", "news?"), ("assistant", "re: news?")),
        ]

    async def test_a_page_that_comes_in_a_woken_turn_sees_its_answer_once(self, town: WakingTown):
        await town.says("gw_desk", "anna")
        held = HeldScript()
        town.script("anna", held)
        await town.woken("desk")
        await wait_until(lambda: held.waiting)
        url = str(town.http.base_url).replace("http", "ws")
        headers = {"Authorization": f"Bearer {town.tokens['anna']}"}
        address = f"{url}/ws/chat?agent=anna&session_id=desk"
        async with connect_socket(address, additional_headers=headers) as socket:
            assert json.loads(await socket.recv())["state"] == "running"
            held.open()
            assert (await until(socket, "done"))["full_response"] == "re: news?"
            await socket.send(json.dumps({"type": "message", "content": "thanks"}))
            frames = [json.loads(await socket.recv())]
            while frames[-1]["type"] != "done":
                frames.append(json.loads(await socket.recv()))
        assert "message" not in {frame["type"] for frame in frames}

    async def test_over_mcp_it_is_the_same(self, town: WakingTown):
        await town.says("annas", "anna")
        headers = {"Authorization": f"Bearer {town.tokens['bert']}"}
        headers |= {"Accept": "application/json, text/event-stream", "Idempotency-Key": "k"}
        given = {"session_id": "annas", "message": "news?", "await_reply": "20"}
        params = {"name": "sessions_send", "arguments": given}
        asked = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}

        # MCP answers within the app's lifespan, which tests do not enter otherwise.
        async with town.app.router.lifespan_context(town.app):
            told = (await town.http.post("/mcp", json=asked, headers=headers)).json()["result"]

        assert told["content"][0]["text"] == "Session 'annas' answered:\nre: news?"
        assert told["structuredContent"]["data"]["status"] == "replied"


class TestAccess:
    async def test_without_may_send_to_the_session_does_not_exist(self, town: WakingTown):
        await on_telegram(town)

        answer = await town.send(ON_TELEGRAM, who="cara", wake=True)

        nowhere = await town.send("nowhere", who="cara", wake=True)
        assert answer.json()["error"] == nowhere.json()["error"].replace("nowhere", ON_TELEGRAM)
        assert town.agents["anna"].asked == ["hello"]

    async def test_the_answer_is_the_one_message_that_the_caller_reads(self, town: WakingTown):
        await town.says("annas", "anna", "a secret")

        data = await town.woken("annas", await_reply=20)

        assert (data["status"], data["text"]) == ("replied", "re: news?")
        given = {"session_id": "annas"}
        headers = {"Authorization": f"Bearer {town.tokens['bert']}"}
        read = await town.http.post("/api/tools/sessions_history", json=given, headers=headers)
        assert read.json()["output"] == "No messages found for session 'annas'."

    async def test_a_session_of_nobody_is_refused(self, town: WakingTown):
        headers = {"Authorization": f"Bearer {town.tokens['admin']}"}
        event = {"type": "append", "session": "nobodys", "role": "user", "content": "hi"}
        await town.http.post("/api/events", json=event, headers=headers)

        code, text = await town.refused("nobodys", who="admin")

        assert code == "wake_nobody"
        assert "nobody answers in session 'nobodys'" in text

    async def test_what_is_deleted_while_the_message_waits_is_not_made_again(
        self, town: WakingTown
    ):
        await town.says("annas", "anna")
        gate = HeldScript()
        town.script("anna", gate)
        await town.woken("annas", "first")
        await wait_until(lambda: gate.waiting)
        waiting = asyncio.create_task(town.woken("annas", "second", await_reply=30, who="anna"))
        await wait_until(lambda: queued(town, "annas", 2))
        headers = {"Authorization": f"Bearer {town.tokens['anna']}"}
        event = {"type": "delete", "session": "annas"}
        await town.http.post("/api/events", json=event, headers=headers)
        gate.open()

        assert (await waiting)["status"] == "failed"
        assert await town.messages("annas") == []


class TestAwaiting:
    async def test_the_answer_comes_with_its_position(self, town: WakingTown):
        await town.says("annas", "anna")

        answer = await town.send("annas", await_reply=20)

        body = answer.json()
        assert answer.status_code == 200
        assert body["output"] == "Session 'annas' answered:\nre: news?"
        assert body["position"]
        assert answer.headers["X-Turnstream-Position"] == body["position"]

    async def test_in_time_it_is_pending_and_can_be_asked_for_again(self, town: WakingTown):
        await town.says("annas", "anna")
        gate = HeldScript()
        town.script("anna", gate)

        first = await town.send("annas", await_reply=1)
        body = first.json()
        assert (first.status_code, body["outcome"]) == (202, "pending")
        assert body["data"]["idempotency_key"] in body["output"]
        gate.open()
        again = await town.woken(
            "annas", await_reply=20, idempotency_key=body["data"]["idempotency_key"]
        )

        assert (again["turn"], again["text"]) == (body["data"]["turn"], "re: news?")
        assert town.agents["anna"].asked == ["news?"]

    async def test_position_is_null_until_the_message_is_published(self, town: WakingTown):
        await town.says("annas", "anna")
        gate = HeldScript()
        town.script("anna", gate)
        await town.woken("annas", "first")
        await wait_until(lambda: gate.waiting)

        behind = (await town.send("annas", wake=True, key="k")).json()
        assert behind["position"] is None
        gate.open()
        await wait_until(lambda: answered(town, "annas", "re: news?"))
        assert (await town.send("annas", wake=True, key="k")).json()["position"]

    @pytest.mark.parametrize(
        ("error", "text"),
        [
            (AgentError("away"), FAILED),
            (
                AgentError("no", status=400, reason="refused"),
                "the agent could not answer; nothing of it is kept",
            ),
        ],
    )
    async def test_a_turn_that_fails_is_told_so(
        self, town: WakingTown, error: AgentError, text: str
    ):
        await town.says("annas", "anna")

        async def fail(session: str, lines: Sequence[PromptMessage], progress: Progress) -> Reply:
            raise error

        town.script("anna", fail)
        data = await town.woken("annas", await_reply=20)
        assert (data["status"], data["text"]) == ("failed", text)

    async def test_a_turn_that_is_aborted_is_told_so(self, town: WakingTown):
        await town.says("annas", "anna")
        gate = HeldScript()
        town.script("anna", gate)
        waiting = asyncio.create_task(town.woken("annas", await_reply=30))
        await wait_until(lambda: gate.waiting)
        headers = {"Authorization": f"Bearer {town.tokens['anna']}"}
        await town.http.post("/api/sessions/annas/abort", headers=headers)

        data = await waiting
        assert (data["status"], data["text"]) == ("aborted", ABORTED)

    async def test_a_person_is_not_told_of_what_nobody_stored(self, town: WakingTown):
        await on_telegram(town)

        async def refuse(session: str, lines: Sequence[PromptMessage], progress: Progress) -> Reply:
            raise AgentError("no", status=400, reason="refused")

        town.script("anna", refuse)
        assert (await town.woken(ON_TELEGRAM, await_reply=20))["status"] == "failed"
        town.script("anna", HeldScript())
        await town.woken(ON_TELEGRAM, "again")
        await wait_until(lambda: len(town.agents["anna"].asked) == 3)
        assert town.bot.texts == ["re: hello"]

    @pytest.mark.parametrize("seconds", [61, -1, "soon", 1.5, True, [3]])
    async def test_seconds_that_are_none_are_refused_in_a_sentence(
        self, town: WakingTown, seconds: Any
    ):
        answer = await town.send("annas", await_reply=seconds)
        assert answer.status_code == 422
        assert answer.json()["error"].startswith("Invalid 'await_reply'")


class TestArguments:
    @pytest.mark.parametrize(
        ("given", "status"),
        [
            ({"wake": None, "await_reply": "10"}, "replied"),
            ({"wake": "true", "await_reply": 10.0}, "replied"),
            ({"wake": False, "await_reply": 10, "idempotency_key": None}, "replied"),
            ({"wake": "True", "await_reply": None, "idempotency_key": ""}, "pending"),
        ],
    )
    async def test_models_write_them_as_they_like(
        self, town: WakingTown, given: dict[str, Any], status: str
    ):
        await town.says("annas", "anna")

        data = await town.woken("annas", **given)

        assert data["status"] == status

    async def test_two_keys_are_one_too_many(self, town: WakingTown):
        answer = await town.send("annas", wake=True, key="one", idempotency_key="two")
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_argument")

    async def test_the_resource_route_takes_them_too(self, town: WakingTown):
        await town.says("annas", "anna")
        headers = {"Authorization": f"Bearer {town.tokens['anna']}"}
        path = "/api/sessions/annas/messages"

        given = {"content": "news?", "await_reply": 20}
        answer = await town.http.post(path, json=given, headers=headers)

        assert answer.status_code == 200
        assert (answer.json()["status"], answer.json()["woken"]["text"]) == ("ok", "re: news?")
        assert await town.messages("annas") == [
            *(("user", "hello"), ("user", "news?"), ("assistant", "re: news?")),
        ]


class TestChains:
    @pytest.fixture
    async def six(self, town: WakingTown) -> WakingTown:
        """A session of each agent; all but the last one ask the next one's."""
        names = [*town.agents]
        for agent in names:
            await town.says(f"{agent}s", agent)
        for agent, following in pairwise(names):
            town.passes_on(agent, f"{following}s")
        return town

    async def test_four_hops_are_fine_and_the_fifth_is_refused(self, six: WakingTown):
        data = await six.woken("annas", await_reply=60, who="admin")

        assert data["status"] == "replied"
        assert [len(six.agents[name].asked) for name in six.agents] == [1, 1, 1, 1, 1, 0]
        assert "elsa heard: Error: wake_depth: 4 sessions have woken each other" in data["text"]

    async def test_two_agents_do_not_wake_each_other_in_a_circle(self, six: WakingTown):
        six.passes_on("bert", "annas")

        data = await six.woken("annas", await_reply=60, who="admin")

        assert "bert heard: Error: wake_cycle: session 'annas' waits for this" in data["text"]
        assert len(six.agents["anna"].asked) == 1

    async def test_no_session_wakes_itself(self, six: WakingTown):
        six.passes_on("anna", "annas")

        data = await six.woken("annas", await_reply=60, who="admin")

        assert "Error: wake_cycle" in data["text"]

    async def test_a_chain_is_read_from_the_lane_and_not_from_the_header(self, six: WakingTown):
        """A session in which no turn of the caller runs adds nothing."""
        data = await six.woken("annas", inside="no-turn-here", who="bert")
        assert data["status"] == "pending"

    async def test_two_sessions_of_one_agent_may_wake_each_other_once(self, six: WakingTown):
        await six.says("other", "anna")

        async def ask(session: str, lines: Sequence[PromptMessage], progress: Progress) -> Reply:
            to = {"annas": "other", "other": "annas"}[session]
            arguments = {"session_id": to, "message": "and you?", "await_reply": 30}
            return Reply(await six.use("anna", session, **arguments))

        six.script("anna", ask)
        data = await six.woken("annas", await_reply=60, who="admin")
        assert data["text"].startswith("Session 'other' answered:\nError: wake_cycle")


class TestOnce:
    async def test_a_key_runs_once_while_it_waits_runs_and_after(self, town: WakingTown):
        await town.says("annas", "anna")
        gate = HeldScript()
        town.script("anna", gate)
        await town.woken("annas", "before")
        await wait_until(lambda: gate.waiting)
        turns = [(await town.woken("annas", key="k"))["turn"] for _ in range(3)]
        assert await queued(town, "annas", 2)
        gate.open()
        await wait_until(lambda: answered(town, "annas", "re: news?"))
        turns += [(await town.woken("annas", key="k", await_reply=20))["turn"] for _ in range(2)]

        assert len({*turns}) == 1
        assert town.agents["anna"].asked == ["before", "news?"]

    async def test_it_runs_once_if_redis_forgot_it_after(self, town: WakingTown):
        await town.says("annas", "anna")
        await town.woken("annas", key="k", await_reply=20)
        await forget(town, "lane_woken:*")

        again = await town.woken("annas", key="k", await_reply=20)

        assert again["text"] == "re: news?"
        assert town.agents["anna"].asked == ["news?"]

    @pytest.mark.parametrize("when", ["waiting", "running", "after", "long after"])
    @pytest.mark.parametrize("other", [{"message": "else"}, {"session": "others"}])
    async def test_a_key_with_other_content_is_a_conflict(
        self, town: WakingTown, when: str, other: dict[str, str]
    ):
        await town.says("annas", "anna")
        await town.says("others", "anna")
        gate = HeldScript()
        town.script("anna", gate)
        if when == "waiting":
            await town.woken("annas", "before")
            await wait_until(lambda: gate.waiting)
        await town.woken("annas", key="k")
        if when != "waiting":
            await wait_until(lambda: gate.waiting)
        if when.endswith("after"):
            gate.open()
            await wait_until(lambda: answered(town, "annas", "re: news?"))
        if when == "long after":
            await forget(town, "lane_woken:*")

        given = {"session": "annas", "message": "news?", **other}
        answer = await town.send(given["session"], given["message"], wake=True, key="k")

        assert "id_conflict" in answer.json()["error"]
        assert await letters(town) == []
        gate.open()

    @pytest.mark.parametrize("when", ["waiting", "after", "long after"])
    async def test_a_key_that_woke_is_no_key_of_another_change(self, town: WakingTown, when: str):
        await town.says("annas", "anna")
        gate = HeldScript()
        town.script("anna", gate)
        await town.woken("annas", key="k")
        await wait_until(lambda: gate.waiting)
        if when != "waiting":
            gate.open()
            await wait_until(lambda: answered(town, "annas", "re: news?"))
        if when == "long after":
            await forget(town, "lane_woken:*")

        said = (await town.send("annas", key="k")).json()

        assert "id_conflict" in said["error"]
        assert [text for _, text in await town.messages("annas")].count("news?") == 1
        gate.open()

    async def test_a_key_of_another_change_wakes_nobody(self, town: WakingTown):
        await town.says("annas", "anna")
        assert (await town.send("annas", key="k")).json()["success"]

        said = (await town.send("annas", key="k", wake=True, await_reply=5)).json()

        assert "id_conflict" in said["error"]
        assert town.agents["anna"].asked == []
        assert [text for _, text in await town.messages("annas")].count("news?") == 1

    async def test_keys_of_two_callers_are_two_keys(self, town: WakingTown):
        await town.says("annas", "anna")
        first = await town.woken("annas", key="k", await_reply=20, who="anna")
        second = await town.woken("annas", "more?", key="k", await_reply=20, who="bert")
        assert first["turn"] != second["turn"]
        assert second["text"] == "re: more?"

    async def test_a_removed_message_is_told_to_be_so(self, town: WakingTown):
        await town.says("annas", "anna")
        gate = HeldScript()
        town.script("anna", gate)
        await town.woken("annas", "before")
        await wait_until(lambda: gate.waiting)
        turn = (await town.woken("annas", key="k"))["turn"]
        waiting = asyncio.create_task(town.woken("annas", key="k", await_reply=30))
        await remove(town, "annas", turn)

        assert (await waiting)["status"] == "removed"
        assert (await town.woken("annas", key="k"))["status"] == "removed"
        gate.open()


class TestFull:
    async def test_a_full_lane_refuses_and_says_that_it_can_be_tried_again(self, town: WakingTown):
        await town.says("annas", "anna")
        gate = HeldScript()
        town.script("anna", gate)
        for number in range(8):
            await town.woken("annas", f"m{number}")

        answer = await town.send("annas", wake=True, key="ninth")

        assert (answer.status_code, answer.json()["code"]) == (429, "session_queue_full")
        assert answer.headers["Retry-After"]
        assert answer.json()["error"].startswith("SESSION_QUEUE_FULL: 8 messages wait")
        gate.open()
        await wait_until(lambda: answered(town, "annas", "re: m7"))
        assert (await town.woken("annas", key="ninth", await_reply=20))["status"] == "replied"

    async def test_waiting_is_bounded_for_each_agent(self, settings: Settings, leading: Leading):
        async with opened_town(settings.replace(max_waiting_per_caller=1)) as town:
            await town.says("annas", "anna")
            gate = HeldScript()
            town.script("anna", gate)
            first = asyncio.create_task(town.woken("annas", await_reply=30))
            await wait_until(lambda: gate.waiting)

            answer = await town.send("annas", "more", await_reply=30)
            gate.open()

            assert (await first)["status"] == "replied"
            assert (answer.status_code, answer.json()["code"]) == (429, "too_many_waiting")
            assert town.agents["anna"].asked == ["news?"]


async def until(socket: Any, kind: str) -> dict[str, Any]:
    async with asyncio.timeout(15):
        while (frame := json.loads(await socket.recv()))["type"] != kind:
            pass
    return frame


async def answered(town: WakingTown, session: str, text: str) -> bool:
    return ("assistant", text) in await town.messages(session)


async def queued(town: WakingTown, session: str, count: int) -> bool:
    return await redis_says(town, "LLEN", f"queue:\udcffanna\udcff{session}") == count


async def forget(town: WakingTown, pattern: str) -> None:
    prefix = town.settings.turnstream.prefix
    keys = await redis_says(town, "KEYS", pattern)
    assert keys, "there is something to forget"
    for key in keys:
        await redis_says(town, "DEL", key.removeprefix(prefix.encode()))


async def redis_says(town: WakingTown, command: str, key: Any, *more: Any) -> Any:
    url, prefix = town.settings.redis_url, town.settings.turnstream.prefix
    assert url is not None
    whole = key.encode(errors="surrogateescape") if isinstance(key, str) else key
    async with aclosing(connect(url)) as redis:
        return await redis.execute_command(command, prefix.encode() + whole, *more)


async def remove(town: WakingTown, session: str, turn: str) -> None:
    headers = {"Authorization": f"Bearer {town.tokens['anna']}"}
    path = f"/api/sessions/{session}/queue/{turn}"
    answer = await town.http.delete(path, headers=headers)
    assert answer.is_success, answer.text


async def letters(town: WakingTown) -> list[dict[str, Any]]:
    headers = {"Authorization": f"Bearer {town.tokens['admin']}"}
    return (await town.http.get("/api/dead-letters", headers=headers)).json()["dead_letters"]
