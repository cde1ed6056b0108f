"""Outcomes and dead letters, as administrators look at them."""

from __future__ import annotations

import base64
from contextlib import aclosing
from typing import Any

import pytest

from sessions import wire
from sessions.models import Event, EventType
from sessions.process.settings import Settings
from sessions.stream.redis import connect
from tests.api.running_api import RunningApi

HELLO = Event("e1", EventType.APPEND, session="s", role="user", content="hello")


async def add(settings: Settings, **fields: str | bytes) -> None:
    """Put an entry into the stream as it is, as a program without our client may."""
    assert settings.redis_url is not None
    async with aclosing(connect(settings.redis_url)) as redis:
        pairs = [part for pair in fields.items() for part in pair]
        await redis.execute_command("XADD", settings.stream_key, "*", *pairs)


async def letters(running_api: RunningApi, **query: Any) -> dict[str, Any]:
    """The list of dead letters."""
    response = await running_api.get("/api/dead-letters", **query)
    assert response.status_code == 200
    return response.json()


class TestOutcomes:
    async def test_an_applied_event_says_so(self, running_api: RunningApi):
        position = await running_api.leading.publish(HELLO)

        body = (await running_api.get("/api/outcomes/e1")).json()

        assert body == {
            "id": "e1",
            "outcome": "applied",
            "reason": None,
            "session": "s",
            "position": str(position),
            "duplicates": 0,
            "detail": None,
        }

    async def test_one_without_effect_says_why(self, running_api: RunningApi):
        await running_api.leading.publish(Event("r1", EventType.RESET, session="nobody"))

        body = (await running_api.get("/api/outcomes/r1")).json()

        assert (body["outcome"], body["reason"]) == ("noop", "no_session")

    async def test_an_unknown_one_is_404(self, running_api: RunningApi):
        response = await running_api.get("/api/outcomes/e1")

        assert (response.status_code, response.json()["code"]) == (404, "not_found")


class TestDeadLetters:
    async def test_what_cannot_be_applied_is_listed_newest_first(
        self, running_api: RunningApi, settings: Settings
    ):
        await add(settings, v="1", id="a", type="sing", session="s")
        await add(settings, v="9", id="b", type="append", session="t")

        body = await letters(running_api)

        assert [letter["reason"] for letter in body["dead_letters"]] == [
            "unknown_version",
            "unknown_type",
        ]
        [newest, _] = body["dead_letters"]
        assert set(newest) == {"id", "reason", "session", "event_id", "size", "at"}
        assert (newest["session"], newest["event_id"]) == ("t", "b")
        assert body["next_cursor"] is None

    async def test_pages_give_each_once(self, running_api: RunningApi, settings: Settings):
        for number in range(5):
            await add(settings, v="9", id=f"e{number}", type="append")
        first = await letters(running_api, limit=3)
        second = await letters(running_api, limit=3, cursor=first["next_cursor"])

        found = [letter["event_id"] for letter in first["dead_letters"] + second["dead_letters"]]
        assert found == ["e4", "e3", "e2", "e1", "e0"]

    async def test_one_shows_what_it_holds_readable_and_exact(
        self, running_api: RunningApi, settings: Settings
    ):
        await add(settings, v="1", id="a", type="append", session="s", role="user", content=b"\xff")
        [listed] = (await letters(running_api))["dead_letters"]

        letter = (await running_api.get(f"/api/dead-letters/{listed['id']}")).json()

        assert letter["reason"] == "undecodable"
        assert letter["fields"][-2:] == ["content", "\\xff"]
        assert wire.unframe(base64.b64decode(letter["payload"]))[-1] == b"\xff"

    async def test_a_cut_payload_is_shown_as_far_as_it_goes(
        self, running_api: RunningApi, settings: Settings
    ):
        fields = {"v": "1", "id": "a", "type": "append", "session": "s", "role": "user"}
        await add(settings, **fields, content="x" * 1_000_000)
        [listed] = (await letters(running_api))["dead_letters"]

        letter = (await running_api.get(f"/api/dead-letters/{listed['id']}")).json()

        assert letter["size"] > 1_000_000
        assert letter["fields"][:2] == ["v", "1"]
        assert 60_000 < len(letter["fields"][-1]) < 70_000
        assert set(letter["fields"][-1]) == {"x"}

    async def test_one_is_purged(self, running_api: RunningApi, settings: Settings):
        await add(settings, v="9", id="a", type="append")
        [listed] = (await letters(running_api))["dead_letters"]
        path = f"/api/dead-letters/{listed['id']}"

        purged = await running_api.call("DELETE", path)
        again = await running_api.call("DELETE", path)

        assert purged.status_code == 200
        assert (purged.json()["action"], purged.json()["outcome"]) == ("purge", "applied")
        assert again.status_code == 404
        assert (await letters(running_api))["dead_letters"] == []

    async def test_one_that_still_cannot_be_applied_stays(
        self, running_api: RunningApi, settings: Settings
    ):
        await add(settings, v="9", id="a", type="append")
        [listed] = (await letters(running_api))["dead_letters"]

        response = await running_api.call("POST", f"/api/dead-letters/{listed['id']}/replay")

        assert (response.status_code, response.json()["code"]) == (409, "still_dead")
        assert len((await letters(running_api))["dead_letters"]) == 1

    @pytest.mark.parametrize(
        ("method", "path"),
        [("GET", "/x"), ("DELETE", "/x"), ("POST", "/x/replay")],
    )
    async def test_an_unknown_one_is_404(self, running_api: RunningApi, method: str, path: str):
        response = await running_api.call(method, f"/api/dead-letters{path}")

        assert response.status_code == 404
