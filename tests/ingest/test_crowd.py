"""Many clients at once: what they wait for must not keep a replica from its turns and lanes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
from fastapi import FastAPI
from websockets.asyncio.client import ClientConnection, connect

import api.app
from harness.waiting import wait_until
from ingest.app import api_client, client_within, joined
from ingest.services import Services
from sessions import times
from sessions.access.tokens import ShownToken, TokenFile, ensure_admin_token
from sessions.process.settings import Settings
from sessions.stream.lanes.inbound import Inbound
from sessions.stream.lanes.lanes import Lanes
from sessions.stream.lanes.values import Hold, Stage
from sessions.stream.redis import connect as redis_client
from tests.ingest.serving import serving
from tests.leading import Leading


class CrowdSite:
    """A web process with a client, and another replica that has a message of the same session."""

    def __init__(self, socket: ClientConnection, lanes: Lanes, hold: Hold) -> None:
        self.socket = socket
        self.lanes = lanes
        self.hold = hold
        self.asked: list[str] = []
        self.looks = 0

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(10):
            return json.loads(await self.socket.recv())

    async def until(self, kind: str) -> dict[str, Any]:
        while (frame := await self.next())["type"] != kind:
            pass
        return frame

    def watch(self, services: Services) -> None:
        """Count what the process asks the api, and how often it looks at the lane."""
        look = services.queue.lanes.contains

        async def ask(request: Any) -> None:
            self.asked.append(request.url.path)

        async def contains(lane: str, id: str) -> bool:
            self.looks += 1
            return await look(lane, id)

        services.api.event_hooks["request"].append(ask)
        services.queue.lanes.contains = contains


MESSAGE = Inbound("m1", "gw_one", "hello", "anna", times.now())


@pytest.fixture
async def site(settings: Settings, leading: Leading) -> AsyncIterator[CrowdSite]:
    token = ensure_admin_token(settings.workspace)
    url = settings.redis_url
    assert url is not None
    async with (
        api.app.opened(settings) as app,
        client_within(app, token) as within,
        joined(app, settings, tokens=TokenFile(settings.workspace), api=within),
        serving(app) as address,
        aclosing(redis_client(url)) as redis,
    ):
        lanes = Lanes(redis, url=url, prefix=settings.turnstream.prefix)
        await lanes.replicas.register()
        place = await lanes.enqueue(MESSAGE.lane, MESSAGE.id, MESSAGE.dump())
        assert place.hold is not None
        await lanes.publish(place.hold, [MESSAGE.opening()], stage=Stage.OPENED)
        async with connect(
            f"ws://{address}/ws/chat?agent=anna&session_id=one",
            additional_headers={"Authorization": f"Bearer {token}"},
        ) as socket:
            site = CrowdSite(socket, lanes, place.hold)
            assert (await site.next())["state"] == "running"
            site.watch(app.state.ingest)
            yield site


async def test_a_client_that_waits_for_another_replicas_turn_asks_nothing_of_the_api(
    site: CrowdSite,
):
    await wait_until(lambda: site.looks >= 3)
    assert site.asked == []


async def test_the_end_of_another_replicas_turn_is_told_when_it_left_its_lane(site: CrowdSite):
    reply = MESSAGE.answer("reply", "assistant", "good day", at=times.now(), state="idle")
    await site.lanes.publish(site.hold, [reply], stage=Stage.ENDED)
    await site.lanes.finish(site.hold)
    assert (await site.until("done"))["full_response"] == "good day"


async def test_requests_to_the_api_wait_for_their_place():
    app, at_once, most = FastAPI(), 0, 0
    gate = asyncio.Event()

    @app.get("/")
    async def answer() -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await gate.wait()
        at_once -= 1

    async with serving(app) as address, api_client(f"http://{address}", ShownToken()) as client:
        requests = [asyncio.create_task(client.get("/")) for _ in range(100)]
        await wait_until(lambda: most >= 32)
        gate.set()
        answers = await asyncio.gather(*requests)
    assert most == 32
    assert all(answer.is_success for answer in answers)
