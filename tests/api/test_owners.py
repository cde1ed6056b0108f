"""Administrators see who owns sessions, and give them to others."""

from __future__ import annotations

from typing import Any

import pytest

from sessions.models import EventType
from tests.api.house import Body, House, path_of

KEY = {"Idempotency-Key": "k"}


async def owners(house: House) -> dict[str | None, int]:
    """The owners with the numbers of their sessions, in the order of the list."""
    rows = (await house.get("/api/owners")).json()["owners"]
    return {row["agent"]: row["sessions"] for row in rows}


async def give(house: House, session: str, body: Body, **options: Any) -> tuple[int, Body]:
    """Give a session to somebody: the status and the answer without its position."""
    response = await house.call("PUT", path_of(session, "owner"), json=body, **options)
    answer = response.json()
    answer.pop("position", None)
    return response.status_code, answer


async def hand_over(house: House, body: Body, **options: Any) -> tuple[int, Body]:
    """Give all sessions of an agent to somebody."""
    response = await house.call("POST", "/api/owners", json=body, **options)
    answer = response.json()
    answer.pop("position", None)
    return response.status_code, answer


async def sessions_of(house: House, who: str) -> set[str]:
    """The keys of the sessions that an agent sees."""
    return {row["session_key"] for row in (await house.data("sessions_list", who=who))["sessions"]}


async def town(house: House) -> None:
    """Two sessions of anna's, one of bert's, and one of nobody's."""
    for key, agent in {"a1": "anna", "a2": "anna", "b": "bert", "n": None}.items():
        await house.say(key, "hello", agent=agent)


async def test_owners_are_listed_with_the_number_of_their_sessions(house: House):
    await town(house)

    assert await owners(house) == {"anna": 2, None: 1, "bert": 1}


async def test_a_session_is_given_to_another_agent(house: House):
    await town(house)

    answer = await give(house, "a1", {"agent": "bert"})

    assert answer == (200, {"session": "a1", "agent": "bert", "outcome": "applied"})
    assert await sessions_of(house, "anna") == {"a2"}
    assert await sessions_of(house, "bert") == {"a1", "b"}


async def test_a_session_is_left_without_an_owner(house: House):
    await town(house)

    status, _ = await give(house, "b", {"agent": None})

    assert status == 200
    assert await sessions_of(house, "bert") == set()
    assert await owners(house) == {None: 2, "anna": 2}


@pytest.mark.parametrize(
    ("session", "expected", "status"),
    [("a1", "anna", 200), ("a1", "bert", 409), ("a1", None, 409), ("n", None, 200)],
)
async def test_the_owner_so_far_can_be_made_a_condition(
    house: House, session: str, expected: str | None, status: int
):
    await town(house)

    answered, body = await give(house, session, {"agent": "carl", "expect_agent": expected})

    assert answered == status
    assert body.get("code") == (None if status == 200 else "not_owner")
    assert ("carl" in await owners(house)) == (status == 200)


@pytest.mark.parametrize("key", ["x/owner", "owner", "gw_x", "ä b"])
async def test_any_key_can_be_given(house: House, key: str):
    await house.say(key, "hello")

    answer = await give(house, key, {"agent": "bert"})

    assert answer == (200, {"session": key, "agent": "bert", "outcome": "applied"})


async def test_a_key_that_ends_like_the_route_can_still_be_renamed(house: House):
    await house.say("x/owner", "hello")

    response = await house.call("PUT", path_of("x/owner"), json={"name": "n"})

    assert (response.status_code, response.json()["name"]) == (200, "n")


async def test_a_session_that_does_not_exist_cannot_be_given(house: House):
    status, body = await give(house, "nothing", {"agent": "bert"})

    assert (status, body["code"]) == (404, "not_found")


async def test_all_sessions_of_an_agent_are_handed_over(house: House):
    await town(house)

    answer = await hand_over(house, {"from": "anna", "to": "bert"})

    assert answer == (200, {"from": "anna", "to": "bert", "outcome": "applied"})
    assert await owners(house) == {"bert": 3, None: 1}
    assert await sessions_of(house, "bert") == {"a1", "a2", "b"}


async def test_an_agent_without_sessions_has_nothing_to_hand_over(house: House):
    await town(house)

    status, body = await hand_over(house, {"from": "carl", "to": "bert"})

    assert (status, body["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    "body",
    [{}, {"agent": ""}, {"agent": 1}, {"agent": "x" * 513}, {"agent": "bert", "from": "anna"}],
)
async def test_an_owner_that_cannot_be_is_refused(house: House, body: Body):
    await town(house)

    status, _ = await give(house, "a1", body)

    assert status == 422
    assert await owners(house) == {"anna": 2, None: 1, "bert": 1}


@pytest.mark.parametrize("body", [{}, {"from": "anna"}, {"from": None, "to": "x"}, {"to": "bert"}])
async def test_a_handover_names_both_sides(house: House, body: Body):
    status, _ = await hand_over(house, body)

    assert status == 422


async def test_a_change_that_is_sent_again_has_no_second_effect(house: House):
    await town(house)
    for _ in range(2):
        assert (await give(house, "a1", {"agent": "bert"}, headers=KEY))[0] == 200
    await give(house, "a1", {"agent": "anna"})

    status, body = await give(house, "a1", {"agent": "bert"}, headers=KEY)

    assert (status, body["code"]) == (422, "id_conflict")
    assert await sessions_of(house, "anna") == {"a1", "a2"}


async def test_a_key_of_another_handover_is_told_rather_than_taken_for_done(house: House):
    await town(house)
    await hand_over(house, {"from": "anna", "to": "carl"}, headers=KEY)

    status, body = await hand_over(house, {"from": "bert", "to": "carl"}, headers=KEY)

    assert (status, body["code"]) == (422, "id_conflict")
    assert await owners(house) == {"carl": 2, "bert": 1, None: 1}


@pytest.mark.parametrize("who", ["anna", "anna-reads", "admin as anna", "metrics", "serve"])
async def test_it_is_for_administrators_only(house: House, who: str):
    await town(house)

    for method, path, body in (
        ("GET", "/api/owners", None),
        ("POST", "/api/owners", {"from": "anna", "to": "bert"}),
        ("PUT", path_of("a1", "owner"), {"agent": "bert"}),
    ):
        response = await house.call(method, path, who=who, json=body)
        assert (response.status_code, response.json()["code"]) == (403, "forbidden")
    assert await owners(house) == {"anna": 2, None: 1, "bert": 1}


async def test_an_event_of_an_agent_gives_nothing(house: House):
    await town(house)

    await house.publish(EventType.OWNER, "a1", id="k", agent="bert", by="bert")

    assert (await house.get("/api/outcomes/k", by="bert")).json()["reason"] == "not_owner"
    assert await owners(house) == {"anna": 2, None: 1, "bert": 1}
