"""A search is bounded in words, in time and in number, and its caller is told so."""

from __future__ import annotations

import asyncio

import pytest

from api import searches
from sessions.access.tokens import Principal, TokenScope
from sessions.process.settings import Settings
from tests.api.running_api import RunningApi

LONG = [
    " ".join(["word"] * 33),
    "x" * 1025,
    "ä" * 513,
    "\U0001f31e" * 257,
    " ".join(["word"] * 100_000),
]


class TestQueries:
    @pytest.mark.parametrize("query", LONG, ids=len)
    @pytest.mark.parametrize("session", [None, "s", "nothing"])
    async def test_one_that_is_too_long_is_refused(
        self, running_api: RunningApi, query: str, session: str | None
    ):
        await running_api.say("s", "word")
        asked = {"query": query, **({} if session is None else {"session_id": session})}

        response = await running_api.tool("sessions_search", asked)

        assert (response.status_code, response.json()["code"]) == (422, "search_too_long")
        assert "at most" in response.json()["error"]

    @pytest.mark.parametrize("query", LONG[:4], ids=len)
    async def test_it_is_refused_in_the_list_too(self, running_api: RunningApi, query: str):
        response = await running_api.get("/api/sessions", q=query)

        assert (response.status_code, response.json()["code"]) == (422, "search_too_long")

    @pytest.mark.parametrize("query", [" ".join(["word"] * 32), "x" * 1024, "", " "], ids=len)
    async def test_one_that_is_just_short_enough_is_answered(
        self, running_api: RunningApi, query: str
    ):
        response = await running_api.tool("sessions_search", {"query": query})

        assert response.json()["success"]


class TestTime:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        """Searches of a millisecond."""
        return settings.replace(search_timeout_ms=1)

    async def test_a_search_that_takes_too_long_is_ended_and_says_so(self, running_api: RunningApi):
        words = " ".join(f"word{number}" for number in range(30))
        text = " ".join([words] * 40)
        for _ in range(10):
            await running_api.say("s", *[text] * 30)

        tool = await running_api.tool("sessions_search", {"query": words, "limit": 1000})
        listed = await running_api.get("/api/sessions", q=words)

        for response in (tool, listed):
            assert (response.status_code, response.json()["code"]) == (422, "search_too_slow")
        assert (await running_api.get("/api/sessions")).status_code == 200


class TestNumber:
    @pytest.fixture(autouse=True)
    def hold(self) -> None:
        """A place for turns that are taken and not given back."""
        self.turns: list[object] = []

    async def occupied(self, running_api: RunningApi, *agents: str | None) -> None:
        """Searches of these agents that never end."""
        for agent in agents:
            turn = running_api.app.state.api.service.searches.slot(
                Principal(agent, TokenScope.READ)
            )
            await turn.__aenter__()
            # One that nothing holds on to would end by itself.
            self.turns.append(turn)

    @pytest.mark.parametrize("others", [("bert",), ("anna", None)])
    async def test_one_that_gets_no_turn_is_told_to_come_again(
        self,
        running_api: RunningApi,
        others: tuple[str | None, ...],
        monkeypatch: pytest.MonkeyPatch,
    ):
        monkeypatch.setattr(searches, "PATIENCE", 0.05)
        await self.occupied(running_api, *others)

        response = await running_api.tool("sessions_search", {"query": "x"}, who="bert")

        assert (response.status_code, response.json()["code"]) == (429, "too_many_searches")
        assert response.headers["retry-after"] == "1"

    async def test_one_agents_search_leaves_room_for_another_agents(self, running_api: RunningApi):
        await self.occupied(running_api, "bert")

        response = await running_api.tool("sessions_search", {"query": "x"}, who="anna")

        assert response.status_code == 200

    async def test_all_that_come_at_once_are_answered_in_turn(self, running_api: RunningApi):
        await running_api.say("annas", "word", agent="anna")
        asked = {"query": "word"}

        answers = await asyncio.gather(
            *(running_api.tool("sessions_search", asked, who=who) for who in ["anna", "bert"] * 20)
        )

        found = [len(answer.json()["data"]["messages"]) for answer in answers]
        assert found == [1, 0] * 20

    async def test_one_that_gave_up_keeps_no_turn(self, running_api: RunningApi):
        service = running_api.app.state.api.service
        anna = Principal("anna", TokenScope.READ)
        async with service.searches.slot(anna):
            waiting = asyncio.create_task(
                running_api.tool("sessions_search", {"query": "x"}, who="anna")
            )
            await asyncio.wait([waiting], timeout=0.05)
            waiting.cancel()
        await asyncio.wait([waiting])

        response = await running_api.tool("sessions_search", {"query": "x"}, who="anna")

        assert response.status_code == 200
