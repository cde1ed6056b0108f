"""What belongs to another agent does not exist: on every tool and every route, byte for byte."""

from __future__ import annotations

from typing import Any, Final

import pytest

from api.tools import TOOLS
from sessions.models import EventType
from sessions.process.settings import Settings
from tests.api.running_api import RunningApi

SECRET: Final = "annas_secret"
EVENT: Final = "event-of-anna"

# Every tool, with arguments that aim at the secret.
TOOL_CALLS: Final[dict[str, dict[str, Any]]] = {
    "sessions_list": {"limit": 1000},
    "sessions_history": {"session_id": SECRET},
    "sessions_send": {"session_id": SECRET, "message": "hi"},
    "sessions_current": {},
    "sessions_reset": {"session_id": SECRET},
    "sessions_delete": {"session_id": SECRET},
    "sessions_search": {"query": "password", "session_id": SECRET},
    "sessions_rename": {"session_id": SECRET, "name": "mine"},
}
# Every route, with a path and a body that aim at it; None where there is nothing to aim at.
ROUTE_CALLS: Final[dict[tuple[str, str], tuple[str, Any] | None]] = {
    ("GET", "/api/tools"): None,
    ("POST", "/api/tools/{name}"): ("/api/tools/sessions_search", {"query": "password"}),
    ("GET", "/api/tokens/self"): None,
    ("GET", "/api/outcomes/{event_id}"): (f"/api/outcomes/{EVENT}", None),
    ("GET", "/api/dead-letters"): ("/api/dead-letters", None),
    ("GET", "/api/dead-letters/{letter_id}"): ("/api/dead-letters/1-0-x", None),
    ("POST", "/api/dead-letters/{letter_id}/replay"): ("/api/dead-letters/1-0-x/replay", None),
    ("DELETE", "/api/dead-letters/{letter_id}"): ("/api/dead-letters/1-0-x", None),
    ("GET", "/asyncapi.json"): None,
    ("GET", "/api/owners"): ("/api/owners", None),
    ("POST", "/api/owners"): ("/api/owners", {"from": "anna", "to": "bert"}),
    ("PUT", "/api/sessions/{session_id}/owner"): (
        f"/api/sessions/{SECRET}/owner",
        {"agent": "bert"},
    ),
    ("POST", "/api/turns/history"): (
        "/api/turns/history",
        {"session": SECRET, "agent": "bert"},
    ),
    ("POST", "/api/turns/keys"): ("/api/turns/keys", {"former": SECRET}),
    ("POST", "/api/turns/message"): (
        "/api/turns/message",
        {"session": SECRET, "agent": "bert", "id": EVENT},
    ),
    ("POST", "/api/turns/unanswered"): ("/api/turns/unanswered", {"seconds": 0}),
    ("GET", "/api/replies"): ("/api/replies", None),
    ("POST", "/api/replies/{turn}/retry"): (f"/api/replies/{EVENT}/retry", None),
    ("DELETE", "/api/replies/{turn}"): (f"/api/replies/{EVENT}", None),
    ("GET", "/api/turns/outcome/{event_id}"): (f"/api/turns/outcome/{EVENT}", None),
    ("GET", "/api/sessions"): ("/api/sessions?q=password", None),
    ("GET", "/api/sessions/running"): ("/api/sessions/running", None),
    ("GET", "/api/sessions/{session_id}/messages"): (f"/api/sessions/{SECRET}/messages", None),
    ("POST", "/api/sessions/{session_id}/messages"): (
        f"/api/sessions/{SECRET}/messages",
        {"content": "hi"},
    ),
    ("PUT", "/api/sessions/{session_id}"): (f"/api/sessions/{SECRET}", {"name": "mine"}),
    ("DELETE", "/api/sessions/{session_id}"): (f"/api/sessions/{SECRET}", None),
    ("GET", "/api/sessions/{session_id}/state"): (f"/api/sessions/{SECRET}/state", None),
    ("POST", "/api/sessions/{session_id}/abort"): (f"/api/sessions/{SECRET}/abort", None),
    ("GET", "/api/sessions/{session_id}/queue"): (f"/api/sessions/{SECRET}/queue", None),
    ("DELETE", "/api/sessions/{session_id}/queue/{message_id}"): (
        f"/api/sessions/{SECRET}/queue/{EVENT}",
        None,
    ),
    ("GET", "/healthz"): None,
    ("GET", "/readyz"): None,
    ("GET", "/metrics"): None,
}


async def attempts(running_api: RunningApi, who: str) -> dict[str, tuple[int, str]]:
    """What each way of looking for the secret gives, without the positions in it."""
    found: dict[str, tuple[int, str]] = {}
    inside = {"X-Turnstream-Session": SECRET}
    for name, arguments in TOOL_CALLS.items():
        response = await running_api.tool(name, arguments, who=who, headers=inside)
        body = {**response.json(), "position": None}
        found[name] = (response.status_code, str(body))
    for (method, route), call in ROUTE_CALLS.items():
        if call is not None:
            response = await running_api.call(method, call[0], who=who, json=call[1])
            body = response.json()
            body.pop("position", None)
            found[f"{method} {route}"] = (response.status_code, str(body))
    return found


async def keep_secret(running_api: RunningApi, **owner: Any) -> None:
    """Make the session that the attempts aim at."""
    fields: dict[str, Any] = {"role": "user", "content": "the password is swordfish", **owner}
    await running_api.publish(EventType.APPEND, SECRET, id=EVENT, state="running", **fields)


class TestTwoAgents:
    def test_the_attempts_cover_every_tool_and_route(self, running_api: RunningApi):
        described = running_api.app.openapi()["paths"].items()
        routes = {(method.upper(), path) for path, methods in described for method in methods}

        assert routes == set(ROUTE_CALLS)
        assert {tool.name for tool in TOOLS} == set(TOOL_CALLS)

    @pytest.mark.parametrize(
        "owner",
        [
            *({"agent": "anna"}, {"channel": "telegram.home"}, {"channel": "discord.club.x"}, {}),
            {"agent": "anna", "channel": "discord.club"},
        ],
    )
    @pytest.mark.parametrize("who", ["bert", "bert-reads", "admin as bert", "bert as bert"])
    async def test_anothers_session_answers_as_one_that_does_not_exist(
        self, running_api: RunningApi, owner: dict[str, str], who: str
    ):
        before = await attempts(running_api, who)
        await keep_secret(running_api, **owner)
        after = await attempts(running_api, who)

        assert after == before
        assert "swordfish" not in str(after)
        assert await running_api.contents(SECRET) == ["the password is swordfish"]
        [row] = (await running_api.data("sessions_list"))["sessions"]
        assert (row["state"], row.get("name")) == ("running", None)

    @pytest.mark.parametrize("owner", [{"agent": "anna"}, {"channel": "telegram.home"}])
    async def test_the_owner_finds_all_of_it(self, running_api: RunningApi, owner: dict[str, str]):
        await keep_secret(running_api, **owner)

        found = await attempts(running_api, "anna-reads")

        for way in ("sessions_list", "sessions_history", "sessions_search", "sessions_current"):
            assert SECRET in found[way][1]
        assert found["GET /api/outcomes/{event_id}"][0] == 200
        assert SECRET in found["GET /api/sessions"][1]
        assert "swordfish" in found["GET /api/sessions/{session_id}/messages"][1]
        assert found["GET /api/sessions/{session_id}/state"][0] == 200

    @pytest.mark.parametrize("header", ["bert", "Bert", "", " ", "*", "bért"])
    async def test_an_agents_token_is_never_widened_by_a_header(
        self, running_api: RunningApi, header: str
    ):
        await keep_secret(running_api, agent="anna")
        narrowed = {"X-Turnstream-Agent": header}

        for method, path in (("GET", "/api/sessions"), ("GET", "/api/tools"), ("POST", "/mcp")):
            response = await running_api.call(method, path, who="anna", headers=narrowed)
            assert (response.status_code, response.json()["code"]) == (403, "forbidden")

    async def test_an_administrator_that_narrows_itself_to_an_agent_sends_as_that_one(
        self, running_api: RunningApi
    ):
        await running_api.say("berts", "x", agent="bert")
        whose = await running_api.call("GET", "/api/tokens/self", who="admin as bert")
        sent = await running_api.tool(
            "sessions_send", {"session_id": "berts", "message": "hi"}, who="admin as bert"
        )
        letters = await running_api.get("/api/dead-letters", who="admin as bert")

        assert whose.json() == {"agent": "bert", "scope": "send"}
        assert sent.json()["success"]
        assert letters.status_code == 403

    async def test_a_header_that_is_no_text_is_refused(self, running_api: RunningApi):
        response = await running_api.call(
            "GET", "/api/sessions", headers={"X-Turnstream-Agent": b"b\xe9rt"}
        )

        assert (response.status_code, response.json()["code"]) == (422, "invalid_argument")

    async def test_a_foreign_session_does_not_hide_an_own_one_of_the_same_id(
        self, running_api: RunningApi
    ):
        await running_api.say("abc", "anna's", agent="anna")
        await running_api.say("gw_abc", "bert's", agent="bert")

        data = await running_api.data("sessions_history", {"session_id": "abc"}, who="bert")

        assert [message["content"] for message in data["messages"]] == ["bert's"]

    async def test_lists_have_only_what_is_ones_own(self, running_api: RunningApi):
        await running_api.say("owned", "x", agent="bert")
        await running_api.say("in-channel", "x", channel="discord.club")
        await running_api.say("annas", "x", agent="anna", channel="discord.club")
        await running_api.say("nobodys", "x")

        bert = await running_api.get("/api/sessions", who="bert")
        as_anna = await running_api.get("/api/sessions", who="bert", agent="anna")
        searched = await running_api.get("/api/sessions", who="bert", q="x")

        assert [r["session_key"] for r in bert.json()["sessions"]] == ["in-channel", "owned"]
        assert as_anna.json()["sessions"] == []
        assert [r["session_key"] for r in searched.json()["sessions"]] == ["in-channel", "owned"]


class TestNeighbours:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        """The agents, of which bert may send to anna."""
        agents = {name: agent.model_dump() for name, agent in settings.agents.items()}
        agents["bert"]["may_send_to"] = ["anna"]
        return Settings.model_validate({**settings.model_dump(), "agents": agents})

    @pytest.mark.parametrize("owner", [{"agent": "anna"}, {"channel": "telegram.home"}])
    async def test_sends_and_only_sends_cross(self, running_api: RunningApi, owner: dict[str, str]):
        before = await attempts(running_api, "bert")
        await keep_secret(running_api, **owner)
        after = await attempts(running_api, "bert")

        assert before.pop("sessions_send")[1] != after["sessions_send"][1]
        assert f"Message sent to session '{SECRET}'." in after.pop("sessions_send")[1]
        assert after == before
        assert await running_api.contents(SECRET) == ["the password is swordfish", "hi"]

    async def test_it_does_not_go_the_other_way(self, running_api: RunningApi):
        await running_api.say("berts", "x", agent="bert")

        text = await running_api.text(
            "sessions_send", {"session_id": "berts", "message": "hi"}, who="anna"
        )

        assert text.startswith("Session 'berts' not found.")
        assert await running_api.contents("berts") == ["x"]
