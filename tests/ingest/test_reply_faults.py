"""Parked replies while the processes that send them die, stand still, or lose Redis."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from harness.program import Program
from harness.system import SystemUnderTest
from harness.waiting import wait_until
from sessions.ids import new_id
from tests.ingest.channel_fleet import SECRET, Shop, signed
from tests.ingest.serving import serving

PEOPLE: Final = ("ada", "bea", "cy")
# Processes are started one after the other, and a lease has to end.
pytestmark = pytest.mark.timeout(180)
# Seconds: longer than a lease lives, and than its next holder looks for it.
LEASE_OVER: Final = 40.0


class Installation:
    """A worker, an api and ingests as processes, and the shop that they post replies to."""

    def __init__(
        self, system: SystemUnderTest, shop: Shop, config: Path, stack: AsyncExitStack
    ) -> None:
        self.system = system
        self.shop = shop
        self.ingests: list[tuple[httpx.AsyncClient, Program]] = []
        self.token = ""
        self._config = str(config)
        self._stack = stack

    async def start(self) -> None:
        """Start everything but the ingests."""
        await self.system.worker(config=self._config)
        self.token = (self.system.workspace / "token").read_text().strip()
        self.url, _ = await self.system.serving("api", config=self._config)
        self.api = await self._client(self.url)

    async def join(self) -> None:
        """Start one more ingest."""
        own = {"config": self._config, "api_url": self.url, "token": self.token}
        url, program = await self.system.serving("ingest", **own)
        self.ingests.append((await self._client(url), program))

    async def _client(self, url: str) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {self.token}"}
        http = httpx.AsyncClient(base_url=url, headers=headers, trust_env=False, timeout=30)
        return await self._stack.enter_async_context(http)

    async def post(self, number: int, content: str, sender: str) -> None:
        """Post a message to one of the ingests."""
        http = self.ingests[number][0]
        request = httpx.Request("POST", "http://_", json={"sender": sender, "content": content})
        headers = signed(request.content, id=new_id())
        answer = await http.post("/channels/webhook/shop", content=request.content, headers=headers)
        assert answer.status_code == 200, answer.text

    async def listed(self) -> list[dict[str, Any]]:
        """The replies that were not taken."""
        answer = await self.api.get("/api/replies")
        return answer.json()["replies"] if answer.is_success else []

    async def are_parked(self, count: int) -> None:
        """Wait until so many replies are parked."""

        async def enough() -> bool:
            return len(await self.listed()) == count

        await wait_until(enough, pause=0.2, within=30)

    async def all_sent(self, count: int) -> None:
        """Wait until the shop has so many replies, and none waits any more."""

        async def is_done() -> bool:
            return len(self.shop.replies) >= count and await self.listed() == []

        await wait_until(is_done, pause=0.2, within=LEASE_OVER)

    def said_to(self, sender: str) -> list[str]:
        """What the shop was told for one person, in order."""
        return [one["content"] for one in self.shop.replies if one["recipient"] == sender]


@pytest.fixture
async def installation(tmp_path: Path) -> AsyncIterator[Installation]:
    shop = Shop()
    async with (
        SystemUnderTest.running(tmp_path) as system,
        serving(shop.app()) as address,
        AsyncExitStack() as stack,
    ):
        config = tmp_path / "turnstream.toml"
        config.write_text(
            "[channels]\nreply_park_secs = 1\n[channels.webhook.shop]\n"
            f'secret = "{SECRET}"\nsend_url = "http://{address}/replies"\n'
        )
        found = Installation(system, shop, config, stack)
        await found.start()
        yield found


async def test_all_arrive_in_order_once_though_one_is_killed_one_frozen_and_redis_restarted(
    installation: Installation,
) -> None:
    shop, system = installation.shop, installation.system
    await installation.join()
    await installation.join()
    shop.trouble = 503
    for turn in range(3):
        for number, sender in enumerate(PEOPLE):
            await installation.post(number % 2, f"{sender} {turn}", sender)
    await installation.are_parked(9)
    # One of the first two has the lease.
    await installation.join()
    assert shop.replies == []
    await system.redis.kill()
    await system.redis.start()
    await installation.ingests[0][1].stop(signal.SIGKILL)
    frozen = installation.ingests[1][1]
    frozen.freeze()
    shop.trouble = None
    await installation.all_sent(9)
    frozen.thaw()
    # Long enough for one that stood still to send again, if it would.
    await asyncio.sleep(3)
    for sender in PEOPLE:
        assert installation.said_to(sender) == [f"{sender} {turn}" for turn in range(3)]
    await installation.post(2, "back", "ada")
    await wait_until(lambda: installation.said_to("ada")[-1] == "back")


async def test_an_undelivered_one_is_sent_by_the_command(installation: Installation) -> None:
    shop, system = installation.shop, installation.system
    shop.trouble = 410
    await installation.join()
    await installation.post(0, "hello", "ada")
    await installation.are_parked(1)
    [row] = await installation.listed()
    assert row["state"] == "undelivered"
    shop.trouble = None
    own = {"api_url": installation.url, "token": installation.token}
    command = system.start("cli", "replies", "retry", row["turn"], **own)
    assert await command.ended() == 0, command.log
    await wait_until(lambda: shop.texts == ["hello"])
    await installation.all_sent(1)
