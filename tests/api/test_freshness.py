"""Reads see what was published before them, or say that they do not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, closing

import httpx
import pytest
from fastapi import FastAPI

from api import freshness
from api.app import create_app
from harness.waiting import wait_until
from sessions.access.tokens import TokenFile
from sessions.models import Event, EventType, Position, StreamId
from sessions.process.settings import Settings
from sessions.store.factory import make_session_backend
from sessions.store.sqlite.library import sqlite3
from sessions.stream.redis import RedisClient, connect
from sessions.stream.replies.replies import Replies
from sessions.stream.turns import TurnStream
from tests.api.running_api import RunningApi

# Seconds: short for a reader, and enough for what a busy machine can answer at once.
IMPATIENT = pytest.mark.parametrize("patience", [0.5])
APPEND = Event("e1", EventType.APPEND, session="s", role="user", content="hello")


def position_of(response: httpx.Response) -> Position:
    """The position in an answer's header."""
    return Position.parse(response.headers["x-turnstream-position"])


def waiting(running_api: RunningApi) -> int:
    """How many readers wait now."""
    return running_api.app.state.api.service.freshness.waiting


class TestFreshByDefault:
    async def test_a_read_sees_all_that_was_published_before_it(self, running_api: RunningApi):
        for number in range(30):
            await running_api.say("s", f"{number}")

            data = await running_api.data("sessions_history", {"session_id": "s", "limit": 1})

            assert data["messages"][0]["content"] == f"{number}"

    async def test_a_reader_waits_until_the_writer_has_caught_up(self, running_api: RunningApi):
        await running_api.leading.pause()
        await running_api.say("s", "hello")

        reading = asyncio.create_task(running_api.contents("s"))
        await wait_until(lambda: waiting(running_api) == 1)
        await running_api.leading.resume()

        assert await reading == ["hello"]

    async def test_it_does_not_wait_for_what_comes_after_it(self, running_api: RunningApi):
        await running_api.leading.pause()
        await running_api.say("s", "one")
        reading = asyncio.create_task(running_api.contents("s"))
        await wait_until(lambda: waiting(running_api) == 1)
        await running_api.leading.catch_up()

        await running_api.say("s", "two")

        assert await reading == ["one"]

    @IMPATIENT
    async def test_a_wait_in_vain_says_how_far_behind_the_store_is(self, running_api: RunningApi):
        await running_api.leading.pause()
        await running_api.say("s", "one", "two")

        response = await running_api.tool("sessions_list")

        assert response.status_code == 503
        assert response.headers["retry-after"] == "1"
        assert response.json().items() >= {"code": "store_behind", "lag": 2}.items()

    async def test_nobody_watches_the_cursor_when_nobody_waits(self, running_api: RunningApi):
        await running_api.leading.pause()
        await running_api.say("s", "one")
        reading = asyncio.create_task(running_api.contents("s"))
        await wait_until(lambda: waiting(running_api) == 1)
        await running_api.leading.catch_up()
        await reading

        await wait_until(
            lambda: not any(task.get_name() == "cursor watch" for task in asyncio.all_tasks())
        )

    async def test_one_task_watches_for_all_who_wait(self, running_api: RunningApi):
        await running_api.leading.pause()
        await running_api.say("s", "one")
        reading = [asyncio.create_task(running_api.contents("s")) for _ in range(20)]
        await wait_until(lambda: waiting(running_api) == 20)

        watching = [t for t in asyncio.all_tasks() if t.get_name() == "cursor watch"]
        await running_api.leading.catch_up()

        assert len(watching) == 1
        assert await asyncio.gather(*reading) == [["one"]] * 20

    async def test_too_many_who_wait_are_turned_away(
        self, running_api: RunningApi, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr(freshness, "MOST_WAITERS", 2)
        await running_api.leading.pause()
        await running_api.say("s", "one")
        reading = [asyncio.create_task(running_api.contents("s")) for _ in range(2)]
        await wait_until(lambda: waiting(running_api) == 2)

        response = await running_api.tool("sessions_list")
        await running_api.leading.catch_up()

        assert (response.status_code, response.json()["code"]) == (503, "busy")
        assert "retry-after" in response.headers
        assert await asyncio.gather(*reading) == [["one"]] * 2


class TestAnyConsistency:
    async def test_it_takes_the_store_as_it_is(self, running_api: RunningApi):
        await running_api.say("s", "one")
        await running_api.contents("s")
        await running_api.leading.pause()
        await running_api.say("s", "two")

        data = await running_api.data("sessions_history", {"session_id": "s"}, consistency="any")

        assert [message["content"] for message in data["messages"]] == ["one"]


class TestAPosition:
    @pytest.mark.parametrize("place", ["1.99999999999999-0.", "1.99999999999999-0.e1", "2.1-1."])
    async def test_one_behind_the_streams_end_is_lost_and_not_waited_for(
        self, running_api: RunningApi, place: str
    ):
        await running_api.say("s", "one")
        await running_api.leading.pause()

        response = await running_api.get("/api/sessions", after=place)

        assert (response.status_code, response.json()["code"]) == (410, "position_lost")
        assert waiting(running_api) == 0

    @IMPATIENT
    async def test_a_reader_can_wait_for_it_alone(self, running_api: RunningApi):
        first = await running_api.say("s", "one")
        await running_api.contents("s")
        await running_api.leading.pause()
        await running_api.say("s", "two")

        known = await running_api.tool("sessions_list", after=str(first))
        by_header = await running_api.tool(
            "sessions_list", headers={"X-Turnstream-After": str(first)}
        )
        newest = await running_api.tool("sessions_list")

        assert [known.status_code, by_header.status_code, newest.status_code] == [200, 200, 503]

    async def test_a_reader_waits_until_it_is_reached(self, running_api: RunningApi):
        await running_api.leading.pause()
        position = await running_api.say("s", "one")
        reading = asyncio.create_task(
            running_api.data("sessions_history", {"session_id": "s"}, after=str(position))
        )
        await wait_until(lambda: waiting(running_api) == 1)

        await running_api.leading.catch_up()

        assert (await reading)["total"] == 1

    async def test_every_answer_has_one_that_its_data_includes(self, running_api: RunningApi):
        published = await running_api.say("s", "one")

        response = await running_api.get("/api/sessions")
        position = position_of(response)
        again = await running_api.get("/api/sessions", after=str(position))

        assert position.stream_id == published.stream_id
        assert again.status_code == 200

    async def test_of_a_change_it_is_the_changes_own(self, running_api: RunningApi):
        await running_api.say("s", "one")

        response = await running_api.tool(
            "sessions_send",
            {"session_id": "s", "message": "two"},
            headers={"Idempotency-Key": "mine"},
        )

        assert position_of(response).event_id == "mine"
        assert response.json()["position"] == response.headers["x-turnstream-position"]

    async def test_it_is_on_errors_too(self, running_api: RunningApi):
        response = await running_api.get("/api/outcomes/unknown")

        assert response.status_code == 404
        assert position_of(response).epoch == 1

    @pytest.mark.parametrize("position", ["x", "1.2.3", "1.1-1", "9" * 30 + ".1-1.", "1.1-1.é"])
    async def test_what_was_never_one_is_refused(self, running_api: RunningApi, position: str):
        response = await running_api.tool("sessions_list", after=position)

        assert response.status_code == 422

    async def test_the_start_of_a_stream_is_always_reached(self, running_api: RunningApi):
        response = await running_api.tool("sessions_list", after="0.0-0.")

        assert response.status_code == 200


class TestAnotherEpoch:
    async def test_a_position_of_a_lost_stream_is_gone(
        self, running_api: RunningApi, settings: Settings
    ):
        await running_api.leading.pause()
        lost = await running_api.say("s", "one")
        await empty_redis(settings)
        await running_api.leading.begin_epoch(above=lost.epoch)

        response = await running_api.tool("sessions_list", after=str(lost))

        assert (response.status_code, response.json()["code"]) == (410, "position_lost")

    async def test_before_that_is_said_the_new_stream_is_read(
        self, running_api: RunningApi, settings: Settings
    ):
        await running_api.leading.pause()
        lost = await running_api.leading.publish(APPEND)
        await empty_redis(settings)
        await running_api.leading.begin_epoch(above=lost.epoch)
        await running_api.leading.publish(APPEND)

        reading = asyncio.create_task(
            running_api.data("sessions_history", {"session_id": "s"}, after=str(lost))
        )
        await wait_until(lambda: waiting(running_api) == 1)
        await running_api.leading.catch_up()

        assert (await reading)["total"] == 1

    async def test_an_event_that_was_applied_stays_reached(
        self, running_api: RunningApi, settings: Settings
    ):
        applied = await running_api.leading.publish(APPEND)
        await running_api.contents("s")
        await empty_redis(settings)
        await running_api.leading.begin_epoch(above=applied.epoch)

        response = await running_api.tool("sessions_list", after=str(applied))

        assert response.status_code == 200

    @IMPATIENT
    async def test_a_stream_that_no_leader_has_looked_at_is_not_called_fresh(
        self, running_api: RunningApi, settings: Settings
    ):
        await running_api.say("s", "one")
        await running_api.contents("s")
        await running_api.leading.pause()
        await empty_redis(settings)

        emptied = await running_api.tool("sessions_list")
        await running_api.leading.begin_epoch()
        begun = await running_api.tool("sessions_list")

        assert (emptied.status_code, emptied.json()["code"]) == (503, "store_behind")
        assert begun.status_code == 200

    @IMPATIENT
    async def test_a_stream_that_went_backwards_is_not_called_fresh(
        self, running_api: RunningApi, settings: Settings
    ):
        await running_api.say("s", "one")
        await running_api.contents("s")
        await running_api.leading.pause()
        stream = running_api.leading.stream.key
        async with redis_of(settings) as redis:
            await redis.execute_command("DEL", stream)
            await redis.execute_command("XADD", stream, str(StreamId(5, 0)), "v", "1")

        response = await running_api.tool("sessions_list")

        assert (response.status_code, response.json()["code"]) == (503, "store_behind")


class TestPublishedChanges:
    @pytest.fixture
    async def held_up(self, running_api: RunningApi) -> RunningApi:
        """A session with one message, and nobody who applies anything more."""
        await running_api.leading.pause()
        await running_api.say("s", "one")
        await running_api.leading.catch_up()
        return running_api

    @IMPATIENT
    async def test_one_that_is_not_applied_in_time_is_pending(self, held_up: RunningApi):
        response = await held_up.tool("sessions_send", {"session_id": "s", "message": "two"})
        await held_up.leading.catch_up()

        assert response.status_code == 202
        body = response.json()
        assert (body["success"], body["outcome"], body["error"]) == (True, "pending", None)
        position = Position.parse(body["position"])
        outcome = (await held_up.get(f"/api/outcomes/{position.event_id}")).json()
        assert outcome["outcome"] == "applied"
        assert await held_up.contents("s") == ["one", "two"]

    @IMPATIENT
    @pytest.mark.parametrize(
        ("method", "path", "body"),
        [
            ("POST", "/api/sessions/s/messages", {"content": "two"}),
            ("PUT", "/api/sessions/s", {"name": "n"}),
            ("DELETE", "/api/sessions/s", None),
        ],
    )
    async def test_a_resource_says_so_too(
        self, held_up: RunningApi, method: str, path: str, body: object
    ):
        response = await held_up.call(method, path, json=body)

        assert (response.status_code, response.json()["outcome"]) == (202, "pending")


class TestTrouble:
    @pytest.fixture
    async def stream(self, settings: Settings) -> AsyncIterator[TurnStream]:
        """A stream on a Redis that is not there."""
        url = f"unix://{settings.workspace}/no-redis.sock"
        redis = connect(url)
        yield TurnStream(redis, url=url, prefix=settings.turnstream.prefix)
        await redis.aclose()

    @pytest.fixture
    async def stored(self, running_api: RunningApi) -> RunningApi:
        """A session with one message in the store."""
        await running_api.leading.pause()
        await running_api.say("s", "one")
        await running_api.leading.catch_up()
        return running_api

    async def test_without_redis_nothing_is_fresh(
        self, running_api: RunningApi, settings: Settings
    ):
        response = await running_api.tool("sessions_list")

        assert (response.status_code, response.json()["code"]) == (503, "stream_unavailable")
        assert "retry-after" in response.headers
        assert str(settings.workspace) not in response.text

    async def test_without_redis_the_store_can_be_read_as_it_is(self, stored: RunningApi):
        data = await stored.data("sessions_list", consistency="any")

        assert len(data["sessions"]) == 1

    @IMPATIENT
    async def test_a_change_that_redis_does_not_confirm_can_be_sent_again(self, stored: RunningApi):
        asked = {"session_id": "s", "message": "two"}

        response = await stored.tool("sessions_send", asked, consistency="any")
        again = await stored.tool(
            "sessions_send", asked, consistency="any", headers={"Idempotency-Key": "mine"}
        )

        assert (response.status_code, response.json()["code"]) == (503, "not_confirmed")
        assert response.json()["id"] in response.json()["error"]
        assert again.json()["id"] == "mine"


class TestTheWrongStore:
    async def test_an_api_with_another_store_than_the_streams_says_so(
        self, running_api: RunningApi, settings: Settings
    ):
        await running_api.leading.stream.announce(store_id="somebody-elses")

        read = await running_api.tool("sessions_list")
        ready = await running_api.get("/readyz", who=None)

        assert (read.status_code, read.json()["code"]) == (503, "store_mismatch")
        assert (ready.status_code, ready.json()["code"]) == (503, "store_mismatch")

    async def test_a_store_that_was_made_again_in_its_place_is_no_other_one(
        self, running_api: RunningApi, settings: Settings
    ):
        assert (await running_api.tool("sessions_list")).status_code == 200
        path = settings.workspace / "sessions" / "turnstream.db"
        with closing(sqlite3.connect(path)) as store, store:
            store.execute("UPDATE store SET store_id = 'another-store'")
        await running_api.leading.stream.announce(store_id="another-store")

        assert (await running_api.tool("sessions_list")).status_code == 200


class TestNoStoreYet:
    @pytest.fixture
    async def app(
        self, settings: Settings, stream: TurnStream, replies: Replies
    ) -> AsyncIterator[FastAPI]:
        """An api beside which no worker was ever started."""
        tokens = TokenFile(settings.workspace)
        async with make_session_backend(settings.workspace, "sqlite") as backend:
            yield create_app(
                settings,
                backend=backend,
                stream=stream,
                replies=replies,
                tokens=tokens,
                patience=0.1,
            )

    @pytest.fixture
    async def http(self, app: FastAPI, tokens: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
        transport = httpx.ASGITransport(app)
        headers = {"Authorization": f"Bearer {tokens['admin']}"}
        async with httpx.AsyncClient(
            transport=transport, base_url="http://localhost", headers=headers
        ) as http:
            yield http

    async def test_an_empty_stream_reads_as_empty(self, http: httpx.AsyncClient):
        response = await http.post("/api/tools/sessions_list")

        assert response.json()["output"] == "No active sessions found."

    async def test_with_events_waiting_it_does_not(
        self, http: httpx.AsyncClient, stream: TurnStream
    ):
        [position] = await stream.publish([APPEND])

        fresh = await http.post("/api/tools/sessions_list")
        after = await http.post(f"/api/tools/sessions_list?after={position}")

        assert (fresh.status_code, fresh.json()["lag"]) == (503, 1)
        assert after.status_code == 503

    async def test_a_store_that_cannot_be_opened_is_unavailable(
        self, http: httpx.AsyncClient, settings: Settings
    ):
        (settings.workspace / "sessions" / "turnstream.db").mkdir(parents=True)

        response = await http.post("/api/tools/sessions_list")

        assert (response.status_code, response.json()["code"]) == (503, "store_unavailable")
        assert str(settings.workspace) not in response.text


def redis_of(settings: Settings) -> aclosing[RedisClient]:
    """A plain connection to the test's Redis."""
    assert settings.redis_url is not None
    return aclosing(connect(settings.redis_url))


async def empty_redis(settings: Settings) -> None:
    """Lose everything that this test's stream has in Redis."""
    prefix = settings.turnstream.prefix
    async with redis_of(settings) as redis:
        await redis.execute_command("DEL", f"{prefix}turns", f"{prefix}store")
