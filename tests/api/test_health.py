"""Health, readiness and metrics: what works, told by what progresses."""

from __future__ import annotations

import httpx
import pytest

from api import readiness
from harness.waiting import wait_until
from sessions.models import Event, EventType
from tests.api.running_api import RunningApi


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer must show itself within tenths of a second."""
    monkeypatch.setattr(readiness, "STALE", 0.2)
    monkeypatch.setattr(readiness, "_LAST_CHANCE", 0.3)


async def test_the_process_is_healthy_whatever_else_is(running_api: RunningApi):
    await running_api.leading.pause()

    response = await running_api.get("/healthz", who=None)

    assert (response.status_code, response.json()) == (200, {"status": "ok"})


class TestReadiness:
    @pytest.mark.usefixtures("quick")
    async def test_a_writer_that_works_makes_it_ready(self, running_api: RunningApi):
        await running_api.get("/readyz", who=None)
        await running_api.leading.backend.renew()

        response = await running_api.get("/readyz", who=None)

        assert response.status_code == 200
        assert response.json() == {
            "ready": True,
            "backend": "sqlite",
            "store_id": await running_api.leading.backend.store_id(),
            "epoch": 1,
            "lag": 0,
        }

    async def test_the_first_look_waits_for_a_sign(self, running_api: RunningApi):
        async def renewed() -> httpx.Response | None:
            await running_api.leading.backend.renew()
            response = await running_api.get("/readyz", who=None)
            return response if response.status_code == 200 else None

        assert await wait_until(renewed)

    @pytest.mark.usefixtures("quick")
    async def test_one_that_shows_nothing_makes_it_not_ready(self, running_api: RunningApi):
        await running_api.get("/readyz", who=None)

        response = await running_api.get("/readyz", who=None)

        assert (response.status_code, response.json()["code"]) == (503, "no_progress")

    @pytest.mark.usefixtures("quick")
    async def test_one_that_renews_but_does_not_apply_is_not_working(self, running_api: RunningApi):
        await running_api.leading.pause()
        await running_api.leading.publish(
            Event("e1", EventType.APPEND, session="s", role="user", content="x")
        )
        await running_api.get("/readyz", who=None)
        await running_api.leading.backend.renew()

        response = await running_api.get("/readyz", who=None)

        assert response.status_code == 503
        assert response.json().items() >= {"code": "no_progress", "lag": 1, "ready": False}.items()

    async def test_without_a_leader_it_is_not_ready(self, running_api: RunningApi):
        await running_api.leading.pause()
        await running_api.leading.backend.release()

        response = await running_api.get("/readyz", who=None)

        assert (response.status_code, response.json()["code"]) == (503, "no_leader")


@pytest.mark.usefixtures("quick")
class TestMetrics:
    async def test_they_count_requests_by_route_and_tools_by_door(self, running_api: RunningApi):
        await running_api.say("s", "hello")
        await running_api.get("/api/sessions/s/messages")
        await running_api.text("sessions_list")

        page = (await running_api.get("/metrics", who=None)).text

        assert (
            'turnstream_api_requests_total{method="GET",'
            'route="/api/sessions/{session_id}/messages",status="200"} 1.0'
        ) in page
        assert (
            'turnstream_api_tool_calls_total{door="rest",success="true",tool="sessions_list"} 1.0'
        ) in page

    async def test_they_know_sizes_and_lag(self, running_api: RunningApi):
        await running_api.say("s", "one", "two")
        await running_api.contents("s")
        await running_api.leading.pause()
        await running_api.say("s", "three")

        page = (await running_api.get("/metrics")).text

        for line in (
            *("turnstream_sessions 1.0", "turnstream_messages 2.0", "turnstream_lag_entries 1.0"),
            *("turnstream_stream_entries 3.0", "turnstream_stream_epoch 1.0"),
            *("turnstream_dead_letters 0.0", "turnstream_waiting_readers 0.0"),
        ):
            assert f"{line}\n" in page

    @pytest.mark.parametrize(
        ("address", "headers", "who", "status"),
        [
            ("127.0.0.1", {}, None, 200),
            ("::1", {}, None, 200),
            ("127.0.0.1", {"X-Forwarded-For": "10.0.0.7"}, None, 401),
            ("10.0.0.7", {}, None, 401),
            ("10.0.0.7", {}, "anna", 403),
            ("10.0.0.7", {}, "serve", 403),
            ("10.0.0.7", {}, "metrics as anna", 403),
            ("10.0.0.7", {}, "metrics", 200),
            ("10.0.0.7", {}, "admin", 200),
        ],
    )
    async def test_they_are_for_this_machine_and_for_administrators(
        self,
        running_api: RunningApi,
        address: str,
        headers: dict[str, str],
        who: str | None,
        status: int,
    ):
        transport = httpx.ASGITransport(running_api.app, client=(address, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            running_api.http = http
            response = await running_api.call("GET", "/metrics", who=who, headers=headers)

        assert response.status_code == status


class TestDocuments:
    async def test_the_routes_are_described(self, running_api: RunningApi):
        document = (await running_api.get("/openapi.json", who="anna-reads")).json()

        assert document["openapi"].startswith("3.")
        assert "/api/tools/{name}" in document["paths"]

    async def test_the_stream_is_described(self, running_api: RunningApi):
        document = (await running_api.get("/asyncapi.json", who="anna-reads")).json()

        assert document["asyncapi"] == "3.0.0"
        assert document["channels"]["turns"]["address"] == running_api.leading.stream.key
        assert set(document["components"]["messages"]) == set(EventType)
        append = document["components"]["messages"]["append"]["payload"]
        assert append["required"] == ["v", "id", "type", "session", "role", "content"]


async def test_a_browser_is_shown_a_page_for_people(running_api: RunningApi):
    """Without a token, and with nothing of what is stored."""
    await running_api.say("gw_secret", "hello")

    response = await running_api.get("/", who=None)

    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert "/readyz" in response.text
    assert "gw_secret" not in response.text
