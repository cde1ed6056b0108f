"""What ingest reads for turns: narrowed to the agent of the turn, and for nobody else."""

from __future__ import annotations

from typing import Any

import pytest

from sessions.models import Event, EventType
from sessions.process.settings import Settings
from tests.api.running_api import Body, RunningApi

NOTHING: Body = {"available": False, "name": None, "messages": [], "total": 0}


async def history(running_api: RunningApi, session: str, agent: str, **query: Any) -> Body:
    """The answer to a question for a turn, without its position."""
    response = await running_api.call(
        "POST",
        "/api/turns/history",
        who="serve",
        params=query,
        json={"session": session, "agent": agent},
    )
    assert response.status_code == 200, response.text
    body = response.json()
    assert body.pop("position").startswith("1.")
    return body


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """The agents, of which bert has a webhook."""
    document = settings.model_dump()
    document["agents"]["bert"]["channels"] = ["webhook.shop"]
    document["channels"]["webhook"] = {"shop": {}}
    return Settings.model_validate(document)


async def test_the_agents_own_session_is_told(running_api: RunningApi):
    await running_api.say("annas", "one", "two", agent="anna")
    await running_api.publish(EventType.RENAME, "annas", name="Kitchen")

    body = await history(running_api, "annas", "anna")

    assert (body["available"], body["name"], body["total"]) == (True, "Kitchen", 2)
    assert [message["content"] for message in body["messages"]] == ["one", "two"]


@pytest.mark.parametrize("key", ["new", "webhook_shop_ada"])
async def test_a_session_that_does_not_exist_is_there_for_the_taking(
    running_api: RunningApi, key: str
):
    body = await history(running_api, key, "bert")

    assert body == {**NOTHING, "available": True}


async def test_of_another_agents_session_nothing_is_told(running_api: RunningApi):
    reserved = await history(running_api, "webhook_shop_ada", "anna")
    await running_api.say("webhook_shop_ada", "hello", agent="bert")
    await running_api.say("berts", "hello", agent="bert")

    assert reserved == NOTHING
    assert await history(running_api, "berts", "anna") == NOTHING
    assert await history(running_api, "webhook_shop_ada", "anna") == NOTHING


async def test_a_key_means_itself_and_no_gateway_session(running_api: RunningApi):
    await running_api.say("gw_x", "hello", agent="anna")

    assert (await history(running_api, "x", "anna"))["total"] == 0


async def test_the_newest_messages_come(running_api: RunningApi):
    await running_api.say("annas", *"abcdef", agent="anna")
    asked = {"session": "annas", "agent": "anna", "limit": 2}

    response = await running_api.call("POST", "/api/turns/history", who="serve", json=asked)

    assert [message["content"] for message in response.json()["messages"]] == ["e", "f"]
    assert response.json()["total"] == 6


async def test_it_waits_for_a_position(running_api: RunningApi):
    position = await running_api.say("annas", "hello", agent="anna")

    body = await history(running_api, "annas", "anna", after=str(position))

    assert body["total"] == 1


async def test_the_outcome_of_a_turns_own_event_is_told(running_api: RunningApi):
    position = await running_api.leading.publish(
        Event("t1", EventType.APPEND, session="annas", role="user", content="x", agent="anna")
    )

    told = await running_api.get("/api/turns/outcome/t1", who="serve", after=str(position))
    unknown = await running_api.get("/api/turns/outcome/t2", who="serve")

    assert (told.status_code, told.json()["outcome"]) == (200, "applied")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")


async def test_ids_of_agents_are_not_told(running_api: RunningApi):
    await running_api.leading.publish(
        Event("k", EventType.CONTEXT, session="annas", agent="anna", by="anna")
    )

    response = await running_api.get("/api/turns/outcome/k", who="serve")

    assert response.status_code == 404


@pytest.mark.parametrize("who", ["anna", "anna-reads", "admin as anna", "serve as anna", "metrics"])
async def test_it_is_for_ingest_only(running_api: RunningApi, who: str):
    asked = {"session": "annas", "agent": "anna"}

    answers = [
        await running_api.call("POST", "/api/turns/history", who=who, json=asked),
        await running_api.get("/api/turns/outcome/k", who=who),
    ]

    assert {(each.status_code, each.json()["code"]) for each in answers} == {(403, "forbidden")}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"session": "s"},
        {"session": "s", "agent": ""},
        {"session": "s", "agent": "anna", "limit": 0},
        {"session": "s", "agent": "anna", "limit": 1001},
        {"session": "s", "agent": "anna", "more": 1},
    ],
)
async def test_a_question_that_makes_no_sense_is_refused(running_api: RunningApi, body: Body):
    response = await running_api.call("POST", "/api/turns/history", who="serve", json=body)

    assert response.status_code == 422


@pytest.mark.parametrize("deleted", [False, True])
async def test_a_session_keeps_its_key_for_exactly_its_routing(
    running_api: RunningApi, deleted: bool
):
    routing = {"channel": "webhook.shop", "room": "r", "sender": "ada.l"}
    await running_api.say("old", "hello", **routing)
    if deleted:
        await running_api.publish(EventType.DELETE, "old")

    async def keeps(**question: Any) -> bool:
        body = {"former": "old", **routing, **question}
        answer = await running_api.call("POST", "/api/turns/keys", who="serve", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()["keep"]

    assert await keeps()
    for other in ({"former": "new"}, {"channel": "webhook.x"}, {"room": "s"}, {"sender": "ada_l"}):
        assert not await keeps(**other)
    assert not await keeps(sender=None)


async def test_of_a_shared_room_the_sender_does_not_count(running_api: RunningApi):
    await running_api.say("old", "hello", channel="webhook.shop", room="r", sender="ada")
    body = {"former": "old", "channel": "webhook.shop", "room": "r"}
    answer = await running_api.call("POST", "/api/turns/keys", who="serve", json=body)
    assert answer.json() == {"keep": True}


async def test_former_keys_are_told_to_ingest_alone(running_api: RunningApi):
    body = {"former": "old", "channel": "webhook.shop"}
    answer = await running_api.call("POST", "/api/turns/keys", who="anna", json=body)
    assert answer.status_code == 403
