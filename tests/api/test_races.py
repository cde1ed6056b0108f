"""A session that became another agent's between the check and the change is left alone."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import httpx
import pytest

from harness.waiting import wait_until
from sessions.models import EventType
from sessions.process.settings import Settings
from tests.api.running_api import RunningApi, path_of

KEY: Final = "contested"
TOOLS: Final[dict[str, dict[str, Any]]] = {
    "sessions_send": {"session_id": KEY, "message": "bert was here"},
    "sessions_reset": {"session_id": KEY},
    "sessions_delete": {"session_id": KEY},
    "sessions_rename": {"session_id": KEY, "name": "bert's"},
}
ROUTES: Final[tuple[tuple[str, str, Any], ...]] = (
    ("POST", path_of(KEY, "messages"), {"content": "bert was here"}),
    ("PUT", path_of(KEY), {"name": "bert's"}),
    ("DELETE", path_of(KEY), None),
)
CALLS: Final = (*[("POST", f"/api/tools/{n}", a) for n, a in TOOLS.items()], *ROUTES)


async def changed_hands(running_api: RunningApi, **new: Any) -> None:
    """Delete bert's session and open it for somebody else, while the store still shows bert's."""
    await running_api.say(KEY, "bert's", agent="bert")
    await running_api.get("/api/sessions")
    await running_api.leading.pause()
    await running_api.publish(EventType.DELETE, KEY)
    await running_api.say(KEY, "anna's", **new)


async def called(running_api: RunningApi, method: str, path: str, body: Any) -> httpx.Response:
    """Bert's call, which finds the session in the store as it was; then the worker goes on."""
    freshness = running_api.app.state.api.service.freshness
    params = {"consistency": "any"}
    calling = asyncio.create_task(
        running_api.call(method, path, who="bert", params=params, json=body)
    )
    await wait_until(lambda: freshness.waiting == 1 or calling.done())
    await running_api.leading.resume()
    return await calling


def text_of(response: httpx.Response) -> tuple[int, dict[str, Any]]:
    """The answer without its position, which tells only how far the stream is."""
    return response.status_code, {**response.json(), "position": None}


@pytest.mark.parametrize("new", [{"agent": "anna"}, {"channel": "telegram.home"}, {}])
@pytest.mark.parametrize(("method", "path", "body"), CALLS)
async def test_a_change_does_not_reach_the_new_owners_session(
    running_api: RunningApi, method: str, path: str, body: Any, new: dict[str, str]
):
    nothing = await running_api.call(method, path, who="bert", json=body)
    await changed_hands(running_api, **new)

    response = await called(running_api, method, path, body)

    assert text_of(response) == text_of(nothing)
    assert await running_api.contents(KEY) == ["anna's"]
    [row] = (await running_api.data("sessions_list"))["sessions"]
    assert (row.get("name"), row["message_count"]) == (None, 1)
    assert row["agent_alias"] in ("anna", None)


class TestNeighbours:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        """The agents, of which bert may send to anna, and a third one."""
        agents = {name: agent.model_dump() for name, agent in settings.agents.items()}
        agents["bert"]["may_send_to"] = ["anna"]
        agents["carl"] = {}
        return Settings.model_validate({**settings.model_dump(), "agents": agents})

    async def test_a_send_is_for_the_agent_that_was_meant(self, running_api: RunningApi):
        await running_api.say(KEY, "anna's", agent="anna")
        await running_api.get("/api/sessions")
        await running_api.leading.pause()
        await running_api.publish(EventType.DELETE, KEY)
        await running_api.say(KEY, "carl's", agent="carl")

        response = await called(running_api, *CALLS[0])

        assert response.json()["error"].startswith(f"Session '{KEY}' not found.")
        assert await running_api.contents(KEY) == ["carl's"]
