"""Event ids belong to their publisher: nobody learns of another agent's, or uses it up."""

from __future__ import annotations

from typing import Any, Final

import pytest

from sessions.ids import stored_id
from sessions.models import Event, EventType, Position, StreamId
from tests.api.running_api import RunningApi, path_of

KEY: Final = {"Idempotency-Key": "k"}
ANNAS: Final = stored_id("k", "anna")
BERTS: Final = stored_id("k", "bert")


def message(session: str, content: str = "hello", **fields: Any) -> Event:
    """A user's message under the id `k`."""
    return Event("k", EventType.APPEND, session=session, role="user", content=content, **fields)


def ancient(event_id: str) -> str:
    """A position of a time before there was any worker: only an outcome can reach it."""
    return str(Position(0, StreamId(0, 1), event_id))


async def told(running_api: RunningApi, who: str) -> list[tuple[int, str]]:
    """All that one may learn of an event `k` without changing anything."""
    asked = [
        await running_api.get("/api/outcomes/k", who=who),
        await running_api.get("/api/outcomes/k", who=who, by="anna"),
        await running_api.get(f"/api/outcomes/{ANNAS}", who=who),
        *[
            await running_api.get("/api/outcomes/k", who=who, entry=ancient(event_id))
            for event_id in ("k", ANNAS, BERTS)
        ],
        *[
            await running_api.get("/api/sessions/running", who=who, after=ancient(event_id))
            for event_id in ("k", ANNAS, BERTS)
        ],
    ]
    return [(response.status_code, response.text) for response in asked]


class TestAnothersEvent:
    @pytest.mark.parametrize("by", ["anna", None])
    @pytest.mark.parametrize("who", ["bert", "bert-reads", "admin as bert", "serve as bert"])
    async def test_nothing_tells_that_there_is_one(
        self, running_api: RunningApi, by: str | None, who: str
    ):
        await running_api.say("berts", "x", agent="bert")
        before = await told(running_api, who)

        await running_api.leading.publish(message("annas", agent="anna", by=by))
        after = await told(running_api, who)

        assert after == before
        assert {status for status, _ in before} == {404, 410}

    @pytest.mark.parametrize("by", ["anna", None])
    async def test_its_id_is_free_for_ones_own(self, running_api: RunningApi, by: str | None):
        await running_api.say("berts", "x", agent="bert")
        await running_api.leading.publish(message("annas", agent="anna", by=by))

        sent = await running_api.answer(
            "sessions_send", {"session_id": "berts", "message": "hi"}, who="bert", headers=KEY
        )
        own = (await running_api.get("/api/outcomes/k", who="bert")).json()

        assert sent["success"]
        assert await running_api.contents("berts") == ["x", "hi"]
        assert (own["id"], own["session"], own["outcome"]) == ("k", "berts", "applied")
        assert (own["duplicates"], own["position"]) == (0, sent["position"])

    async def test_an_operators_event_in_ones_own_session_is_known(self, running_api: RunningApi):
        position = await running_api.leading.publish(message("berts", agent="bert"))

        outcome = await running_api.get("/api/outcomes/k", who="bert")
        waited = await running_api.get("/api/sessions/running", who="bert", after=ancient("k"))

        assert (outcome.status_code, outcome.json()["position"]) == (200, str(position))
        assert waited.status_code == 200

    async def test_a_delete_of_ones_own_session_is_known_and_nobody_elses(
        self, running_api: RunningApi
    ):
        """A channel publishes it for the command that begins a session again."""
        await running_api.say("berts", "x", agent="bert")
        await running_api.leading.publish(
            Event("k", EventType.DELETE, session="berts", agent="bert")
        )

        own = await running_api.get("/api/outcomes/k", who="bert")
        others = await running_api.get("/api/outcomes/k", who="anna")

        assert (own.status_code, own.json()["outcome"]) == (200, "applied")
        assert others.status_code == 404

    @pytest.mark.parametrize("life", ["applied", "without effect"])
    async def test_an_event_of_a_former_owners_session_stays_unknown(
        self, running_api: RunningApi, life: str
    ):
        agent = "anna" if life == "applied" else "carl"
        await running_api.say("k", "anna's", agent="anna")
        await running_api.leading.publish(message("k", agent=agent))
        await running_api.publish(EventType.DELETE, "k", agent="anna")
        await running_api.say("k", "bert's", agent="bert", at=0)

        assert {status for status, _ in await told(running_api, "bert")} == {404, 410}

    async def test_ones_own_event_goes_before_an_operators(self, running_api: RunningApi):
        await running_api.leading.publish(message("berts", "operator's", agent="bert"))
        own = await running_api.leading.publish(message("berts", "own", agent="bert", by="bert"))

        outcome = await running_api.get("/api/outcomes/k", who="bert")

        assert outcome.json()["position"] == str(own)


class TestAdministrators:
    async def test_they_name_the_agent_whose_event_they_mean(self, running_api: RunningApi):
        operators = await running_api.leading.publish(message("s"))
        annas = await running_api.leading.publish(message("annas", agent="anna", by="anna"))

        plain = (await running_api.get("/api/outcomes/k")).json()
        named = (await running_api.get("/api/outcomes/k", by="anna")).json()
        nobodys = await running_api.get("/api/outcomes/k", by="bert")

        assert (plain["id"], plain["position"]) == ("k", str(operators))
        assert (named["id"], named["position"]) == ("k", str(annas))
        assert nobodys.status_code == 404

    async def test_histories_say_who_published(self, running_api: RunningApi):
        await running_api.leading.publish(message("annas", agent="anna"))
        await running_api.answer(
            "sessions_send", {"session_id": "annas", "message": "hi"}, who="anna", headers=KEY
        )

        tool = (await running_api.data("sessions_history", {"session_id": "annas"}))["messages"]
        route = (await running_api.get(path_of("annas", "messages"))).json()["messages"]
        found = (await running_api.data("sessions_search", {"query": "hi"}))["messages"]

        assert [row.get("by") for row in tool] == [None, "anna"]
        assert "by" not in tool[0]
        assert route == tool
        assert found == [{"session": "annas", **tool[1]}]

    async def test_dead_letters_say_who_published(self, running_api: RunningApi):
        await running_api.leading.publish(message("annas", agent="anna", by="anna"))
        await running_api.leading.publish(message("annas", "other", agent="anna", by="anna"))
        await running_api.leading.publish(message("s"), message("s", "other"))

        letters = (await running_api.get("/api/dead-letters")).json()["dead_letters"]

        assert [letter.get("by") for letter in letters] == [None, "anna"]
        assert [letter["event_id"] for letter in letters] == ["k", "k"]
