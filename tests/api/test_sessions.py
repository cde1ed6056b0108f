"""Sessions as resources: upstream's routes and bodies, with pages and filters."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from api.app import create_app
from sessions.access.tokens import TokenFile
from sessions.errors import LaneTimeout
from sessions.models import Event, EventType, Position
from sessions.process.settings import Settings
from sessions.store.factory import make_session_backend
from sessions.stream.lanes.lanes import Lanes
from sessions.stream.redis import connect
from sessions.stream.replies.replies import Replies
from sessions.stream.turns import TurnStream
from tests.api.running_api import RunningApi, path_of

EARLY, LATE = 1_700_000_000_000_000, 1_700_000_060_000_000


async def listed(running_api: RunningApi, **query: Any) -> list[str]:
    """The keys in a list of sessions."""
    response = await running_api.get("/api/sessions", **query)
    assert response.status_code == 200, response.text
    return [row["session_key"] for row in response.json()["sessions"]]


class TestTheList:
    async def test_rows_are_upstreams(self, running_api: RunningApi):
        await running_api.say("gw_abc", "hello", agent="anna", channel="telegram.home", at=EARLY)

        [row] = (await running_api.get("/api/sessions")).json()["sessions"]

        assert (
            row.items()
            >= {
                "session_id": "abc",
                "session_key": "gw_abc",
                "created_at": "2023-11-14T22:13:20+00:00",
                "last_activity": "2023-11-14T22:13:20+00:00",
                "message_count": 1,
                "agent_alias": "anna",
                "channel_id": "telegram.home",
            }.items()
        )
        assert "name" not in row

    async def test_a_channels_session_is_shown_under_the_agent_that_has_the_channel(
        self, running_api: RunningApi
    ):
        await running_api.say("s", "hello", channel="discord.club")

        [row] = (await running_api.get("/api/sessions")).json()["sessions"]

        assert row["agent_alias"] == "bert"

    async def test_nobodys_sessions_are_listed_with_nulls(self, running_api: RunningApi):
        await running_api.say("s", "hello")

        [row] = (await running_api.get("/api/sessions")).json()["sessions"]

        assert (row["agent_alias"], row["channel_id"]) == (None, None)

    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ({"agent": "anna"}, ["owned", "in-channel"]),
            ({"agent": "nobody"}, []),
            ({"channel": "telegram.home"}, ["in-channel"]),
            ({"state": "running"}, ["runs"]),
            ({"state": "idle"}, ["owned", "in-channel"]),
            ({"since": "2023-11-14T22:14:00Z"}, ["runs", "owned"]),
            ({"q": "umbrella"}, ["runs", "in-channel"]),
            ({"q": "umbrella", "state": "running"}, ["runs"]),
            ({"q": "umbrella", "agent": "anna"}, ["in-channel"]),
            ({"q": "umbrella", "channel": "telegram.home"}, ["in-channel"]),
            ({"q": "umbrella", "since": "2023-11-14T22:14:00Z"}, ["runs"]),
            ({"limit": 1}, ["runs"]),
        ],
    )
    async def test_it_can_be_narrowed(
        self, running_api: RunningApi, query: dict[str, Any], found: list[str]
    ):
        await running_api.say("in-channel", "umbrella", channel="telegram.home", at=EARLY)
        await running_api.say("owned", "hello", agent="anna", at=LATE)
        await running_api.say("runs", "umbrella", state="running", at=LATE + 1)

        assert await listed(running_api, **query) == found

    async def test_a_plus_in_since_may_come_unescaped(self, running_api: RunningApi):
        await running_api.say("s", "hello", at=EARLY)

        response = await running_api.call("GET", "/api/sessions?since=2023-11-14T23:13:20+01:00")

        assert len(response.json()["sessions"]) == 1

    async def test_pages_give_every_session_once(self, running_api: RunningApi):
        for number in range(5):
            await running_api.say(f"s{number}", "hello")
        first = (await running_api.get("/api/sessions", limit=3)).json()
        second = (
            await running_api.get("/api/sessions", limit=3, cursor=first["next_cursor"])
        ).json()

        rows = first["sessions"] + second["sessions"]
        assert [row["session_id"] for row in rows] == ["s4", "s3", "s2", "s1", "s0"]
        assert second["next_cursor"] is None

    @pytest.mark.parametrize(
        "query",
        [
            *({"limit": 0}, {"limit": 1001}, {"limit": "x"}, {"cursor": "x"}),
            *({"since": "yesterday"}, {"state": "asleep"}, {"consistency": "sometimes"}),
        ],
    )
    async def test_a_query_that_makes_no_sense_is_refused(
        self, running_api: RunningApi, query: dict[str, Any]
    ):
        response = await running_api.get("/api/sessions", **query)

        assert (response.status_code, response.json()["code"]) == (422, "invalid_argument")


class TestRunning:
    async def test_only_the_gateways_running_sessions_are_listed(self, running_api: RunningApi):
        await running_api.say("gw_runs", "hello", state="running", at=EARLY)
        await running_api.say("gw_rests", "hello")
        await running_api.say("telegram_runs", "hello", state="running")

        sessions = (await running_api.get("/api/sessions/running")).json()["sessions"]

        assert sessions == [
            {
                "session_id": "runs",
                "created_at": "2023-11-14T22:13:20+00:00",
                "last_activity": "2023-11-14T22:13:20+00:00",
                "message_count": 1,
            }
        ]


class TestMessages:
    async def test_they_come_oldest_first_under_the_id_that_was_asked(
        self, running_api: RunningApi
    ):
        await running_api.say("gw_abc", "one", at=EARLY)
        await running_api.say("gw_abc", "two", role="assistant")

        body = (await running_api.get(path_of("abc", "messages"))).json()

        assert body["session_id"] == "abc"
        assert body["session_persistence"] is True
        assert [(m["role"], m["content"]) for m in body["messages"]] == [
            ("user", "one"),
            ("assistant", "two"),
        ]
        assert body["messages"][0]["created_at"] == "2023-11-14T22:13:20+00:00"

    async def test_an_unknown_session_has_none(self, running_api: RunningApi):
        response = await running_api.get(path_of("nobody", "messages"))

        assert response.status_code == 200
        assert response.json()["messages"] == []

    async def test_one_that_is_posted_is_the_agents(self, running_api: RunningApi):
        await running_api.say("gw_abc", "one")

        response = await running_api.call(
            "POST", path_of("abc", "messages"), json={"content": " two "}
        )

        assert response.status_code == 200
        assert response.json() == {
            "status": "ok",
            "session_id": "abc",
            "message": {"role": "assistant", "content": " two "},
            "session_persistence": True,
        }
        assert await running_api.contents("gw_abc") == ["one", " two "]

    @pytest.mark.parametrize(
        ("session", "body", "status", "error"),
        [
            ("nobody", {"content": "x"}, 404, "Session not found"),
            ("s", {"content": " "}, 400, "content is required"),
            ("s", {}, 422, "Missing 'content' parameter"),
            ("s", {"content": "x", "role": "user"}, 422, "Invalid 'role': "),
        ],
    )
    async def test_what_cannot_be_posted_is_refused(
        self, running_api: RunningApi, session: str, body: dict[str, str], status: int, error: str
    ):
        await running_api.say("s", "one")

        response = await running_api.call("POST", path_of(session, "messages"), json=body)

        assert response.status_code == status
        assert response.json()["error"].startswith(error)
        assert await running_api.contents("s") == ["one"]


class BusyLane:
    """Stands where the lanes are: a turn runs, and does not end."""

    async def publish(self, event: Event, agent: str | None) -> Position:
        raise LaneTimeout(event.session)


class TestMessagesInATurn:
    @pytest.fixture
    async def app(self, settings: Settings, stream: TurnStream, replies: Replies, leading: object):
        async with make_session_backend(settings.workspace, "sqlite") as backend:
            yield create_app(
                settings,
                backend=backend,
                stream=stream,
                replies=replies,
                tokens=TokenFile(settings.workspace),
                between=BusyLane(),
            )

    async def test_who_waited_too_long_gets_upstreams_answer(self, running_api: RunningApi):
        await running_api.say("s", "one")

        answer = await running_api.call("POST", path_of("s", "messages"), json={"content": "two"})

        assert (answer.status_code, answer.json()) == (
            408,
            {"error": "Timed out waiting for session queue", "code": "session_queue_timeout"},
        )
        assert await running_api.contents("s") == ["one"]


class TestChanges:
    async def test_a_session_is_deleted(self, running_api: RunningApi):
        await running_api.say("gw_abc", "one")

        response = await running_api.call("DELETE", path_of("abc"))

        assert response.json() == {"deleted": True, "session_id": "abc"}
        assert await listed(running_api) == []

    async def test_a_session_is_renamed(self, running_api: RunningApi):
        await running_api.say("gw_abc", "one")

        response = await running_api.call("PUT", path_of("abc"), json={"name": " Kitchen "})

        assert response.json() == {"session_id": "abc", "name": "Kitchen"}
        [row] = (await running_api.get("/api/sessions")).json()["sessions"]
        assert row["name"] == "Kitchen"

    @pytest.mark.parametrize("body", [{}, {"name": ""}, {"name": "  "}])
    async def test_a_name_is_required(self, running_api: RunningApi, body: dict[str, str]):
        response = await running_api.call("PUT", path_of("s"), json=body)

        assert response.status_code == 400
        assert response.json()["error"] == "name is required"

    @pytest.mark.parametrize(("method", "body"), [("DELETE", None), ("PUT", {"name": "n"})])
    async def test_an_unknown_session_is_404(
        self, running_api: RunningApi, method: str, body: object
    ):
        response = await running_api.call(method, path_of("nobody"), json=body)

        assert response.status_code == 404
        assert response.json() == {"error": "Session not found", "code": "not_found"}

    async def test_the_same_key_twice_has_one_effect(self, running_api: RunningApi):
        await running_api.say("s", "one")
        options: dict[str, Any] = {
            "headers": {"Idempotency-Key": "again"},
            "json": {"content": "two"},
        }

        await running_api.call("POST", path_of("s", "messages"), **options)
        await running_api.call("POST", path_of("s", "messages"), **options)

        assert await running_api.contents("s") == ["one", "two"]


class TestState:
    async def test_a_running_turn_is_named(self, running_api: RunningApi):
        await running_api.publish(
            EventType.APPEND,
            "gw_abc",
            id="t1",
            role="user",
            content="x",
            state="running",
        )

        body = (await running_api.get(path_of("abc", "state"))).json()

        assert body.items() >= {"session_id": "abc", "state": "running", "turn_id": "t1"}.items()
        assert body["turn_started_at"].endswith("+00:00")

    async def test_a_resting_session_has_no_turn(self, running_api: RunningApi):
        await running_api.say("s", "one")

        assert (await running_api.get(path_of("s", "state"))).json() == {
            "session_id": "s",
            "state": "idle",
        }

    async def test_an_unknown_session_is_404(self, running_api: RunningApi):
        response = await running_api.get(path_of("nobody", "state"))

        assert response.status_code == 404


class RecordingAborter:
    """Stands where ingest will be: stops every turn, and remembers which."""

    def __init__(self) -> None:
        self.stopped: list[tuple[str, str | None]] = []

    async def abort(self, session: str, agent: str | None) -> bool:
        self.stopped.append((session, agent))
        return True


class TestAbort:
    @pytest.fixture
    def aborter(self) -> RecordingAborter:
        return RecordingAborter()

    @pytest.fixture
    async def app(
        self,
        settings: Settings,
        stream: TurnStream,
        replies: Replies,
        leading: object,
        aborter: RecordingAborter,
    ):
        async with make_session_backend(settings.workspace, "sqlite") as backend:
            yield create_app(
                settings,
                backend=backend,
                stream=stream,
                replies=replies,
                tokens=TokenFile(settings.workspace),
                aborter=aborter,
            )

    async def test_a_running_turn_is_stopped_by_the_replica_that_runs_it(
        self, running_api: RunningApi, aborter: RecordingAborter
    ):
        await running_api.say("gw_abc", "hello", state="running", agent="anna")

        response = await running_api.call("POST", path_of("abc", "abort"))

        assert response.json() == {"status": "aborted"}
        assert aborter.stopped == [("gw_abc", "anna")]

    @pytest.mark.parametrize("session", ["rests", "nobody"])
    async def test_without_a_turn_there_is_nothing_to_stop(
        self, running_api: RunningApi, aborter: RecordingAborter, session: str
    ):
        await running_api.say("rests", "hello")

        response = await running_api.call("POST", path_of(session, "abort"))

        assert (response.status_code, response.json()) == (200, {"status": "no_active_response"})
        assert aborter.stopped == []

    async def test_a_session_that_is_deleted_has_its_turn_stopped(
        self, running_api: RunningApi, aborter: RecordingAborter
    ):
        await running_api.say("s", "hello", state="running", channel="telegram.home")

        await running_api.call("DELETE", path_of("s"))

        assert aborter.stopped == [("s", "anna")]


class TestQueueWithoutRedis:
    @pytest.fixture
    async def app(self, settings: Settings, stream: TurnStream, replies: Replies, leading: object):
        nowhere = "redis://127.0.0.1:1/0"
        lanes = Lanes(connect(nowhere), url=nowhere, prefix="x:")
        async with make_session_backend(settings.workspace, "sqlite") as backend:
            yield create_app(
                settings,
                backend=backend,
                stream=stream,
                replies=replies,
                tokens=TokenFile(settings.workspace),
                queues=lanes.queues,
            )

    async def test_what_waits_cannot_be_told_and_that_is_said(self, running_api: RunningApi):
        await running_api.say("s", "hello", agent="anna")
        answer = await running_api.get(path_of("s", "queue"), who="anna")
        assert (answer.status_code, answer.json()["code"]) == (503, "stream_unavailable")
        assert answer.headers["retry-after"]


class TestPaths:
    @pytest.mark.parametrize(
        "key", ["a/b", "a%2Fb", "a%b", "ключ", "日本", "a?b#c", "a/messages", "running"]
    )
    async def test_every_key_has_a_path_of_its_own(self, running_api: RunningApi, key: str):
        await running_api.say("a", "another")
        await running_api.say(key, "hello")

        messages = (await running_api.get(path_of(key, "messages"))).json()["messages"]
        state = (await running_api.get(path_of(key, "state"))).json()
        renamed = await running_api.call("PUT", path_of(key), json={"name": "n"})
        deleted = await running_api.call("DELETE", path_of(key))

        assert [message["content"] for message in messages] == ["hello"]
        assert state["session_id"] == key
        assert renamed.json() == {"session_id": key, "name": "n"}
        assert deleted.json() == {"deleted": True, "session_id": key}
        assert await listed(running_api) == ["a"]

    async def test_a_slash_that_is_not_escaped_is_no_part_of_a_key(self, running_api: RunningApi):
        await running_api.say("a/b", "hello")

        response = await running_api.get("/api/sessions/a/b/messages")

        assert response.status_code == 404
        assert "%2F" in response.json()["error"]

    @pytest.mark.parametrize("path", ["/api/sessions/%ff/messages", "/api/sessions/%C3/state"])
    async def test_what_is_no_utf8_is_refused(self, running_api: RunningApi, path: str):
        response = await running_api.get(path)

        assert (response.status_code, response.json()["code"]) == (400, "invalid_path")

    async def test_under_a_root_path_the_key_is_the_same(
        self, app: FastAPI, running_api: RunningApi
    ):
        await running_api.say("a/b", "hello")
        transport = httpx.ASGITransport(app, root_path="/turnstream")
        token = {"Authorization": f"Bearer {running_api.tokens['admin']}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            response = await http.get(f"/turnstream{path_of('a/b', 'messages')}", headers=token)

        assert [m["content"] for m in response.json()["messages"]] == ["hello"]
