"""Administrators see who owns sessions, and give them to others."""

from __future__ import annotations

from typing import Any

import pytest

from sessions.models import EventType
from tests.api.running_api import Body, RunningApi, path_of

KEY = {"Idempotency-Key": "k"}


async def owners(running_api: RunningApi) -> dict[str | None, int]:
    """The owners with the numbers of their sessions, in the order of the list."""
    rows = (await running_api.get("/api/owners")).json()["owners"]
    return {row["agent"]: row["sessions"] for row in rows}


async def give(
    running_api: RunningApi, session: str, body: Body, **options: Any
) -> tuple[int, Body]:
    """Give a session to somebody: the status and the answer without its position."""
    response = await running_api.call("PUT", path_of(session, "owner"), json=body, **options)
    answer = response.json()
    answer.pop("position", None)
    return response.status_code, answer


async def hand_over(running_api: RunningApi, body: Body, **options: Any) -> tuple[int, Body]:
    """Give all sessions of an agent to somebody."""
    response = await running_api.call("POST", "/api/owners", json=body, **options)
    answer = response.json()
    answer.pop("position", None)
    return response.status_code, answer


async def sessions_of(running_api: RunningApi, who: str) -> set[str]:
    """The keys of the sessions that an agent sees."""
    return {
        row["session_key"] for row in (await running_api.data("sessions_list", who=who))["sessions"]
    }


async def town(running_api: RunningApi) -> None:
    """Two sessions of anna's, one of bert's, and one of nobody's."""
    for key, agent in {"a1": "anna", "a2": "anna", "b": "bert", "n": None}.items():
        await running_api.say(key, "hello", agent=agent)


async def test_owners_are_listed_with_the_number_of_their_sessions(running_api: RunningApi):
    await town(running_api)

    assert await owners(running_api) == {"anna": 2, None: 1, "bert": 1}


async def test_a_session_is_given_to_another_agent(running_api: RunningApi):
    await town(running_api)

    answer = await give(running_api, "a1", {"agent": "bert"})

    assert answer == (200, {"session": "a1", "agent": "bert", "outcome": "applied"})
    assert await sessions_of(running_api, "anna") == {"a2"}
    assert await sessions_of(running_api, "bert") == {"a1", "b"}


async def test_a_session_is_left_without_an_owner(running_api: RunningApi):
    await town(running_api)

    status, _ = await give(running_api, "b", {"agent": None})

    assert status == 200
    assert await sessions_of(running_api, "bert") == set()
    assert await owners(running_api) == {None: 2, "anna": 2}


@pytest.mark.parametrize(
    ("session", "expected", "status"),
    [("a1", "anna", 200), ("a1", "bert", 409), ("a1", None, 409), ("n", None, 200)],
)
async def test_the_owner_so_far_can_be_made_a_condition(
    running_api: RunningApi, session: str, expected: str | None, status: int
):
    await town(running_api)

    answered, body = await give(running_api, session, {"agent": "carl", "expect_agent": expected})

    assert answered == status
    assert body.get("code") == (None if status == 200 else "not_owner")
    assert ("carl" in await owners(running_api)) == (status == 200)


@pytest.mark.parametrize("key", ["x/owner", "owner", "gw_x", "ä b"])
async def test_any_key_can_be_given(running_api: RunningApi, key: str):
    await running_api.say(key, "hello")

    answer = await give(running_api, key, {"agent": "bert"})

    assert answer == (200, {"session": key, "agent": "bert", "outcome": "applied"})


async def test_a_key_that_ends_like_the_route_can_still_be_renamed(running_api: RunningApi):
    await running_api.say("x/owner", "hello")

    response = await running_api.call("PUT", path_of("x/owner"), json={"name": "n"})

    assert (response.status_code, response.json()["name"]) == (200, "n")


async def test_a_session_that_does_not_exist_cannot_be_given(running_api: RunningApi):
    status, body = await give(running_api, "nothing", {"agent": "bert"})

    assert (status, body["code"]) == (404, "not_found")


async def test_all_sessions_of_an_agent_are_handed_over(running_api: RunningApi):
    await town(running_api)

    answer = await hand_over(running_api, {"from": "anna", "to": "bert"})

    assert answer == (200, {"from": "anna", "to": "bert", "outcome": "applied"})
    assert await owners(running_api) == {"bert": 3, None: 1}
    assert await sessions_of(running_api, "bert") == {"a1", "a2", "b"}


async def test_an_agent_without_sessions_has_nothing_to_hand_over(running_api: RunningApi):
    await town(running_api)

    status, body = await hand_over(running_api, {"from": "carl", "to": "bert"})

    assert (status, body["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    "body",
    [{}, {"agent": ""}, {"agent": 1}, {"agent": "x" * 513}, {"agent": "bert", "from": "anna"}],
)
async def test_an_owner_that_cannot_be_is_refused(running_api: RunningApi, body: Body):
    await town(running_api)

    status, _ = await give(running_api, "a1", body)

    assert status == 422
    assert await owners(running_api) == {"anna": 2, None: 1, "bert": 1}


@pytest.mark.parametrize("body", [{}, {"from": "anna"}, {"from": None, "to": "x"}, {"to": "bert"}])
async def test_a_handover_names_both_sides(running_api: RunningApi, body: Body):
    status, _ = await hand_over(running_api, body)

    assert status == 422


async def test_a_change_that_is_sent_again_has_no_second_effect(running_api: RunningApi):
    await town(running_api)
    for _ in range(2):
        assert (await give(running_api, "a1", {"agent": "bert"}, headers=KEY))[0] == 200
    await give(running_api, "a1", {"agent": "anna"})

    status, body = await give(running_api, "a1", {"agent": "bert"}, headers=KEY)

    assert (status, body["code"]) == (422, "id_conflict")
    assert await sessions_of(running_api, "anna") == {"a1", "a2"}


async def test_a_key_of_another_handover_is_told_rather_than_taken_for_done(
    running_api: RunningApi,
):
    await town(running_api)
    await hand_over(running_api, {"from": "anna", "to": "carl"}, headers=KEY)

    status, body = await hand_over(running_api, {"from": "bert", "to": "carl"}, headers=KEY)

    assert (status, body["code"]) == (422, "id_conflict")
    assert await owners(running_api) == {"carl": 2, "bert": 1, None: 1}


@pytest.mark.parametrize("who", ["anna", "anna-reads", "admin as anna", "metrics", "serve"])
async def test_it_is_for_administrators_only(running_api: RunningApi, who: str):
    await town(running_api)

    for method, path, body in (
        ("GET", "/api/owners", None),
        ("POST", "/api/owners", {"from": "anna", "to": "bert"}),
        ("PUT", path_of("a1", "owner"), {"agent": "bert"}),
    ):
        response = await running_api.call(method, path, who=who, json=body)
        assert (response.status_code, response.json()["code"]) == (403, "forbidden")
    assert await owners(running_api) == {"anna": 2, None: 1, "bert": 1}


async def test_an_event_of_an_agent_gives_nothing(running_api: RunningApi):
    await town(running_api)

    await running_api.publish(EventType.OWNER, "a1", id="k", agent="bert", by="bert")

    assert (await running_api.get("/api/outcomes/k", by="bert")).json()["reason"] == "not_owner"
    assert await owners(running_api) == {"anna": 2, None: 1, "bert": 1}
