"""A call that publishes tells what happened to its own entry, not to another of the same id."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import aclosing
from typing import Any

import httpx
import pytest

from harness.waiting import wait_until
from sessions.models import Event, EventType, Position
from sessions.process.settings import Settings
from sessions.stream.redis import connect
from tests.api.running_api import RunningApi, path_of

KEY = {"Idempotency-Key": "k"}
HELLO = Event("k", EventType.APPEND, session="s", role="user", content="hello")
# More than the largest page of dead letters.
FLOOD = [HELLO._replace(content=f"flood {number}") for number in range(1100)]


async def fate(running_api: RunningApi, entry: Position, **query: Any) -> httpx.Response:
    """What became of the entry at a position."""
    return await running_api.get(f"/api/outcomes/{entry.event_id}", entry=str(entry), **query)


async def overtaken(
    running_api: RunningApi, call: Coroutine[Any, Any, httpx.Response], later: Sequence[Event]
) -> httpx.Response:
    """The answer to a change behind which these events are applied before it is looked at."""
    service = running_api.app.state.api.service
    await running_api.get("/api/sessions")
    await running_api.leading.pause()
    calling = asyncio.create_task(call)
    await wait_until(lambda: service.freshness.waiting == 1)
    await running_api.leading.publish(*later)
    await running_api.leading.resume()
    return await calling


class TestConflicts:
    async def test_a_route_tells_one_however_many_dead_letters_came_behind_it(
        self, running_api: RunningApi
    ):
        await running_api.leading.publish(HELLO)
        rename = running_api.call(
            "PUT", path_of("s"), headers=KEY, json={"name": "n"}, params={"consistency": "any"}
        )

        response = await overtaken(running_api, rename, FLOOD)

        assert (response.status_code, response.json()["code"]) == (422, "id_conflict")

    async def test_a_tool_tells_one_however_many_dead_letters_came_behind_it(
        self, running_api: RunningApi
    ):
        await running_api.leading.publish(HELLO)
        asked = {"session_id": "s", "message": "other"}
        send = running_api.tool("sessions_send", asked, headers=KEY, consistency="any")

        response = await overtaken(running_api, send, FLOOD)

        body = response.json()
        assert (response.status_code, body["success"]) == (200, False)
        assert body["error"].startswith("id_conflict: ")
        assert await running_api.contents("s") == ["hello"]

    async def test_a_repetition_is_none(self, running_api: RunningApi):
        await running_api.leading.publish(HELLO)
        asked = {"session_id": "s", "message": "hello"}
        send = running_api.tool("sessions_send", asked, headers=KEY, consistency="any")

        response = await overtaken(running_api, send, FLOOD[:3])

        assert response.json()["success"]
        assert await running_api.contents("s") == ["hello"]


class TestOneEntry:
    async def test_the_first_one_has_the_outcome_of_its_id(self, running_api: RunningApi):
        first = await running_api.leading.publish(HELLO)

        response = await fate(running_api, first)

        assert (response.json()["outcome"], response.json()["position"]) == ("applied", str(first))

    async def test_one_that_says_the_same_has_it_too(self, running_api: RunningApi):
        first = await running_api.leading.publish(HELLO)
        again = await running_api.leading.publish(HELLO)

        response = await fate(running_api, again)

        assert (response.json()["outcome"], response.json()["position"]) == ("applied", str(first))

    async def test_one_that_says_something_else_is_dead(self, running_api: RunningApi):
        await running_api.leading.publish(HELLO)
        other = await running_api.leading.publish(HELLO._replace(content="other"))

        response = await fate(running_api, other)

        body = response.json()
        assert (body["outcome"], body["reason"]) == ("dead", "id_conflict")
        assert body["position"] == str(other)

    async def test_it_is_told_after_its_dead_letter_was_purged(self, running_api: RunningApi):
        await running_api.leading.publish(HELLO)
        other = await running_api.leading.publish(HELLO._replace(content="other"))
        [letter] = (await running_api.get("/api/dead-letters")).json()["dead_letters"]
        await running_api.call("DELETE", f"/api/dead-letters/{letter['id']}")

        response = await fate(running_api, other)

        assert (response.json()["outcome"], response.json()["reason"]) == ("dead", "id_conflict")

    async def test_one_that_was_not_applied_yet_is_unknown(self, running_api: RunningApi):
        await running_api.leading.publish(HELLO)
        await running_api.get("/api/sessions")
        await running_api.leading.pause()
        other = await running_api.leading.publish(HELLO._replace(content="other"))

        response = await fate(running_api, other, consistency="any")

        assert response.status_code == 404

    async def test_one_that_the_stream_has_no_more_is_gone_rather_than_guessed(
        self, running_api: RunningApi, settings: Settings
    ):
        await running_api.leading.publish(HELLO)
        other = await running_api.leading.publish(HELLO._replace(content="other"))
        await running_api.get("/api/sessions")
        assert settings.redis_url is not None
        async with aclosing(connect(settings.redis_url)) as redis:
            await redis.execute_command("XDEL", settings.stream_key, str(other.stream_id))

        response = await fate(running_api, other)

        assert (response.status_code, response.json()["code"]) == (410, "position_lost")

    async def test_the_position_of_another_id_is_unknown(self, running_api: RunningApi):
        await running_api.leading.publish(HELLO)
        other = await running_api.leading.publish(HELLO._replace(id="other"))

        response = await running_api.get("/api/outcomes/k", entry=str(other))

        assert response.status_code == 404

    @pytest.mark.parametrize("entry", ["", "x", "1.1-1", "k"])
    async def test_what_is_no_position_is_refused(self, running_api: RunningApi, entry: str):
        response = await running_api.get("/api/outcomes/k", entry=entry)

        assert (response.status_code, response.json()["code"]) == (422, "invalid_argument")
