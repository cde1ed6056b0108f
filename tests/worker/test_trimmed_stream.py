"""A stream whose last entries are gone has nothing to wait for: what is stored is all there is."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from api.app import opened
from harness.system import STREAM, SystemUnderTest
from harness.waiting import wait_until
from sessions.access.tokens import ensure_admin_token
from sessions.ids import new_id
from sessions.models import Event, EventType, Position
from sessions.process.settings import Settings


@asynccontextmanager
async def api_of(system: SystemUnderTest) -> AsyncIterator[httpx.AsyncClient]:
    own = {"workspace": str(system.workspace), "redis_url": system.redis_url}
    headers = {"Authorization": f"Bearer {ensure_admin_token(system.workspace)}"}
    async with opened(Settings.model_validate({"turnstream": own})) as app:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://localhost", headers=headers
        ) as http:
            yield http


async def is_fresh(system: SystemUnderTest, *texts: str) -> None:
    """Everything says that nothing waits, and fresh reads show what is stored."""
    async with api_of(system) as http:
        await wait_until(lambda: _is_ready(http))
        ready = (await http.get("/readyz")).json()
        assert (ready["ready"], ready["lag"]) == (True, 0), ready
        listed = await http.get("/api/sessions")
        assert listed.status_code == 200, listed.text
        if texts:
            page = await http.get("/api/sessions/s/messages")
            assert [row["content"] for row in page.json()["messages"]] == [*texts]


async def _is_ready(http: httpx.AsyncClient) -> bool:
    return (await http.get("/readyz")).status_code == 200


async def publish(system: SystemUnderTest, *contents: str) -> Position:
    events = [Event(new_id(), EventType.APPEND, "s", "user", content) for content in contents]
    return (await system.stream.publish(events))[-1]


async def store_that_went_back(system: SystemUnderTest) -> Position:
    """One message is stored; two more were published, which neither store nor stream has."""
    worker = await system.worker()
    await system.append("e1", "one")
    await system.outcome("e1")
    assert await worker.stop() == 0
    last = await publish(system, "two", "three")
    await system.redis_says("XTRIM", STREAM, "MAXLEN", 0)
    return last


async def test_a_restored_store_on_a_stream_that_was_trimmed_to_nothing_is_fresh(
    system: SystemUnderTest,
) -> None:
    await store_that_went_back(system)
    worker = await system.worker()
    await is_fresh(system, "one")
    await worker.says("2 stream entries vanished")


async def test_a_new_store_that_adopts_a_stream_that_was_trimmed_to_nothing_is_fresh(
    system: SystemUnderTest,
) -> None:
    await store_that_went_back(system)
    system.workspace = system.workspace.with_name("elsewhere")
    await system.close_store()
    await system.worker("--adopt-stream")
    await is_fresh(system)


async def test_a_store_is_fresh_when_the_last_entries_were_deleted_before_they_were_read(
    system: SystemUnderTest,
) -> None:
    worker = await system.worker()
    await system.append("e1", "one")
    await system.outcome("e1")
    assert await worker.stop() == 0
    last = await publish(system, "two")
    await system.redis_says("XDEL", STREAM, str(last.stream_id))
    await system.worker()
    await is_fresh(system, "one")


async def test_who_waits_for_an_entry_that_is_gone_is_shown_what_there_is(
    system: SystemUnderTest,
) -> None:
    last = await store_that_went_back(system)
    await system.worker()
    async with api_of(system) as http:
        page = await http.get("/api/sessions/s/messages", params={"after": str(last)})
        assert page.status_code == 200, page.text
        assert [row["content"] for row in page.json()["messages"]] == ["one"]


@pytest.mark.parametrize("behind", [0, 1])
async def test_what_comes_behind_entries_that_are_gone_is_waited_for(
    system: SystemUnderTest, behind: int
) -> None:
    await store_that_went_back(system)
    worker = await system.worker()
    if behind:
        worker.freeze()
    last = await publish(system, "four")
    async with api_of(system) as http:
        page = await http.get("/api/sessions/s/messages", params={"after": str(last)})
        if behind:
            assert page.status_code == 503, page.text
            assert json.loads(page.text)["lag"] == 1
            worker.thaw()
            page = await http.get("/api/sessions/s/messages")
        assert [row["content"] for row in page.json()["messages"]] == ["one", "four"]
