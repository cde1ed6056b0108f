"""Readers that wait for the store: one agent cannot take the places of the others."""

from __future__ import annotations

import asyncio

import pytest

from harness.waiting import wait_until
from sessions.process.settings import Settings
from tests.api.running_api import RunningApi

MOST = 3


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Settings with few places for each agent."""
    return settings.replace(max_waiting_per_caller=MOST)


async def test_an_agent_with_all_its_places_is_refused_and_the_others_wait(running_api: RunningApi):
    await running_api.say("s", "one", agent="anna")
    await running_api.contents("s")
    await running_api.leading.pause()
    await running_api.say("s", "two", agent="anna")
    # Two tokens of one agent share its places.
    whose = ("anna", "anna-reads", "anna")
    waiting = [asyncio.create_task(running_api.get("/api/sessions", who=who)) for who in whose]
    await wait_until(lambda: running_api.app.state.api.service.freshness.waiting == MOST)

    refused = await running_api.get("/api/sessions", who="anna-reads")
    unwaited = await running_api.get("/api/sessions", who="anna", consistency="any")
    others = [
        asyncio.create_task(running_api.get("/api/sessions", who=who))
        for who in ("bert", *["admin"] * 5)
    ]
    await wait_until(lambda: running_api.app.state.api.service.freshness.waiting == MOST + 6)
    await running_api.leading.resume()

    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_waiting")
    assert refused.headers["retry-after"] == "1"
    assert unwaited.status_code == 200
    assert [(await task).status_code for task in (*waiting, *others)] == [200] * (MOST + 6)
    assert (await running_api.get("/api/sessions", who="anna")).status_code == 200


async def test_a_change_takes_effect_although_nobody_can_wait_for_it(running_api: RunningApi):
    await running_api.say("s", "one", agent="anna")
    await running_api.contents("s")
    await running_api.leading.pause()
    await running_api.say("s", "two", agent="anna")
    waiting = [
        asyncio.create_task(running_api.get("/api/sessions", who="anna")) for _ in range(MOST)
    ]
    await wait_until(lambda: running_api.app.state.api.service.freshness.waiting == MOST)

    changed = await running_api.call(
        "PUT", "/api/sessions/s", who="anna", json={"name": "n"}, params={"consistency": "any"}
    )
    await running_api.leading.resume()
    await asyncio.gather(*waiting)

    assert changed.status_code == 202
    assert (await running_api.get("/api/sessions")).json()["sessions"][0]["name"] == "n"
