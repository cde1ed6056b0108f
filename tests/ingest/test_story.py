"""Agents used to be told `No active sessions found` and made ids up; this is why we exist.

One agent talks with somebody over the gateway's socket and with somebody on Telegram. Asked from
either of them who else there is, it really sees both, because its tools, the gateway and the
channels look into one store.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from websockets.asyncio.client import connect

import api.app
from harness.waiting import wait_until
from ingest.app import client_within, joined
from ingest.ids import new_id
from proof.botapi import CHAT, TOKEN, BotApi
from sessions.access.tokens import TokenFile, ensure_admin_token
from sessions.models import Event, EventType
from sessions.process.settings import Settings
from tests.ingest.botapi import bot_api
from tests.ingest.channel_fleet import with_channels
from tests.ingest.model_server import ModelServer, model_server
from tests.ingest.serving import serving
from tests.leading import Leading

QUESTION = "who else talks to you?"
ON_TELEGRAM = f"telegram_home_{CHAT}_Ada"
ON_THE_SOCKET = "gw_desk"


def model(request: dict[str, Any]) -> Any:
    """A model that looks into the list of sessions before it answers that question."""
    last = request["messages"][-1]
    if last["role"] == "tool":
        return f"I see: {last['content']}"
    return [("sessions_list", {})] if QUESTION in last["content"] else "hello to you"


@dataclass
class Town:
    """The web process with the agent `anna`, who has a bot and a chat window."""

    address: str
    token: str
    bot: BotApi
    model: ModelServer

    async def chat(self, text: str) -> str:
        """Say something over the socket: the answer."""
        url = f"ws://{self.address}/ws/chat?agent=anna&session_id=desk"
        headers = {"Authorization": f"Bearer {self.token}"}
        async with connect(url, additional_headers=headers) as socket, asyncio.timeout(15):
            await socket.send(json.dumps({"type": "message", "content": text}))
            while (frame := json.loads(await socket.recv()))["type"] != "done":
                assert frame["type"] != "error", frame
            return frame["full_response"]

    async def telegram(self, text: str) -> str:
        """Say something to the bot: the answer."""
        before = len(self.bot.sent)
        self.bot.say(text)
        await wait_until(lambda: len(self.bot.sent) > before)
        return self.bot.texts[-1]

    async def listed(self) -> set[str]:
        """The sessions as anybody who may see all of them finds them."""
        async with httpx.AsyncClient(base_url=f"http://{self.address}", trust_env=False) as http:
            headers = {"Authorization": f"Bearer {self.token}"}
            answer = await http.post("/api/tools/sessions_list", json={}, headers=headers)
        return {row["session_key"] for row in answer.json()["data"]["sessions"]}


@asynccontextmanager
async def town(settings: Settings) -> AsyncIterator[Town]:
    async with model_server(model) as (server, model_url), bot_api() as (bot, bot_url):
        home = {"bot_token": TOKEN, "api_base_url": bot_url, "allowed_users": ["*"]}
        document = with_channels(settings, telegram={"home": home}).model_dump()
        document["agents"]["anna"] |= {"provider": "openai", "base_url": model_url, "model": "m"}
        changed = Settings.model_validate(document)
        token = ensure_admin_token(changed.workspace)
        async with (
            api.app.opened(changed) as app,
            client_within(app, token) as within,
            joined(app, changed, tokens=TokenFile(changed.workspace), api=within),
            serving(app) as address,
        ):
            yield Town(address, token, bot, server)


async def test_an_agent_sees_the_sessions_of_all_its_channels_from_any_of_them(
    settings: Settings, leading: Leading
):
    of_another_agent = Event(
        new_id(),
        EventType.APPEND,
        session="discord_club_7_eve",
        role="user",
        content="hi",
        channel="discord.club",
    )
    await leading.publish(of_another_agent)
    async with town(settings) as place:
        assert await place.chat("good morning") == "hello to you"
        assert await place.telegram("good morning") == "hello to you"

        for seen in (await place.chat(QUESTION), await place.telegram(QUESTION)):
            assert seen.startswith("I see: Found 2 session(s)")
            assert ON_TELEGRAM in seen
            assert ON_THE_SOCKET in seen
            assert "discord_club_7_eve" not in seen, "another agent's session is not shown"

        asked = [request["messages"][-1]["role"] for request in place.model.requests]
        assert asked.count("tool") == 2, "the model itself asked, and read the list"
        assert await place.listed() == {ON_TELEGRAM, ON_THE_SOCKET, "discord_club_7_eve"}
