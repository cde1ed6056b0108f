"""Agents that wake each other's sessions, in one web process with a bot, programs and chats."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
from fastapi import FastAPI

import api.app
from ingest.agents.base import Progress, Reply
from ingest.agents.tools import SessionTools
from ingest.app import client_within, joined
from ingest.prompt import PromptMessage
from ingest.services import Services
from proof.botapi import CHAT, TOKEN, BotApi
from sessions.access.tokens import TokenFile, TokenScope, create_token, ensure_admin_token
from sessions.process.settings import Settings
from sessions.stream.lanes.values import lane_of
from tests.ingest.botapi import bot_api
from tests.ingest.channel_fleet import SECRET, Shop, signed
from tests.ingest.replicas import Answer, ScriptedAgent
from tests.ingest.serving import serving
from tests.ingest.stand_ins import put_agent

SECRET_TOKEN: Final = "a-token-of-this-test"
# Everybody may send to the next one, and some further.
MAY_SEND: Final = {
    "anna": ["bert"],
    "bert": ["anna", "cara"],
    "cara": ["dora"],
    "dora": ["elsa"],
    "elsa": ["finn"],
    "finn": [],
}
# Anna's sessions on her bot and on her webhook, bert's on his webhook.
ON_TELEGRAM: Final = f"telegram_home_{CHAT}_Ada"
ON_SHOP: Final = "webhook_shop_ada_ada"
ON_CLUB: Final = "webhook_club_ada_ada"


@dataclass
class WakingTown:
    """What a test sees of them. `shop` and `club` are the programs that take replies."""

    settings: Settings
    app: FastAPI
    bot: BotApi
    shop: Shop
    club: Shop
    http: httpx.AsyncClient
    within: httpx.AsyncClient
    services: Services
    tokens: Mapping[str, str]
    agents: dict[str, ScriptedAgent] = field(default_factory=dict[str, ScriptedAgent])

    def script(self, agent: str, answer: Answer) -> None:
        self.agents[agent].script = answer

    async def send(
        self,
        session: str,
        message: str = "news?",
        *,
        who: str = "bert",
        key: str | None = None,
        inside: str | None = None,
        **more: Any,
    ) -> httpx.Response:
        """Call `sessions_send` over REST."""
        headers = {"Authorization": f"Bearer {self.tokens[who]}"}
        headers |= {"Idempotency-Key": key} if key else {}
        headers |= {"X-Turnstream-Session": inside} if inside else {}
        given = {"session_id": session, "message": message, **more}
        return await self.http.post("/api/tools/sessions_send", json=given, headers=headers)

    async def woken(self, session: str, message: str = "news?", **more: Any) -> dict[str, Any]:
        """The data of that call, with `wake`."""
        answer = await self.send(session, message, **{"wake": True, **more})
        assert answer.json()["success"], answer.text
        return answer.json()["data"]

    async def refused(self, session: str, **more: Any) -> tuple[str, str]:
        """The code and the text of a wake that is refused."""
        body = (await self.send(session, **{"wake": True, **more})).json()
        assert not body["success"], body
        return body["data"]["code"], body["error"]

    async def rows(self, session: str) -> list[dict[str, Any]]:
        headers = {"Authorization": f"Bearer {self.tokens['admin']}"}
        path = f"/api/sessions/{session}/messages"
        answer = await self.http.get(path, headers=headers)
        return answer.json()["messages"] if answer.is_success else []

    async def messages(self, session: str) -> list[tuple[str, str]]:
        return [(row["role"], row["content"]) for row in await self.rows(session)]

    async def says(self, session: str, agent: str, text: str = "hello") -> None:
        """Let a session come to be, by an event as a program publishes it."""
        headers = {"Authorization": f"Bearer {self.tokens[agent]}"}
        event = {"type": "append", "session": session, "role": "user", "content": text}
        answer = await self.http.post("/api/events", json=event, headers=headers)
        assert answer.status_code == 202, answer.text

    async def posts(self, alias: str, text: str = "hello", **more: str) -> None:
        """Let somebody write to a webhook."""
        raw = json.dumps({"sender": "ada", "content": text, **more}).encode()
        headers = signed(raw, id=f"{alias}-{text}")
        answer = await self.http.post(f"/channels/webhook/{alias}", content=raw, headers=headers)
        assert answer.is_success, answer.text

    def tools(self, agent: str) -> SessionTools:
        """The tools as a model of that agent calls them."""
        return SessionTools(self.within, agent=agent)

    async def use(self, agent: str, inside: str, **arguments: Any) -> str:
        """Let the agent call `sessions_send` in its turn, as a model does."""
        tools = self.tools(agent)
        await tools.offered()
        return await tools.call(inside, "sessions_send", json.dumps(arguments))

    def passes_on(self, agent: str, to: str, **more: Any) -> None:
        """Let the agent ask another session, and answer with what that says."""

        async def ask(session: str, lines: Sequence[PromptMessage], progress: Progress) -> Reply:
            arguments = {"session_id": to, "message": lines[-1].text, "await_reply": 30, **more}
            return Reply(f"{agent} heard: {await self.use(agent, session, **arguments)}")

        self.script(agent, ask)

    async def at_work(self, session: str, agent: str = "anna") -> bool:
        lane = lane_of(session, agent)
        return await self.services.queue.lanes.at_work(lane) is not None


def town_settings(settings: Settings, bot_url: str, shop: str, club: str) -> Settings:
    document = settings.model_dump()
    document["agents"] = {name: {"may_send_to": to} for name, to in MAY_SEND.items()}
    document["agents"]["anna"]["channels"] = ["telegram.home", "webhook.shop", "webhook.mute"]
    document["agents"]["bert"]["channels"] = ["webhook.club"]
    home = {"bot_token": TOKEN, "api_base_url": bot_url, "allowed_users": ["*"]}
    document["channels"]["telegram"] = {
        "home": {**home, "mode": "webhook", "secret_token": SECRET_TOKEN}
    }
    document["channels"]["webhook"] = {
        "shop": {"secret": SECRET, "send_url": f"http://{shop}/replies"},
        "club": {"secret": SECRET, "send_url": f"http://{club}/replies"},
        "mute": {"secret": SECRET},
    }
    return Settings.model_validate(document)


@asynccontextmanager
async def opened_town(settings: Settings) -> AsyncIterator[WakingTown]:
    async with AsyncExitStack() as stack:
        shop, club = Shop(), Shop()
        bot, bot_url = await stack.enter_async_context(bot_api())
        shop_address = await stack.enter_async_context(serving(shop.app()))
        club_address = await stack.enter_async_context(serving(club.app()))
        settings = town_settings(settings, bot_url, shop_address, club_address)
        tokens = {"admin": ensure_admin_token(settings.workspace)}
        for agent in MAY_SEND:
            scope = TokenScope.SEND
            tokens[agent], _ = create_token(settings.workspace, scope=scope, agent=agent)
        app = await stack.enter_async_context(api.app.opened(settings))
        within = await stack.enter_async_context(client_within(app, tokens["admin"]))
        files = TokenFile(settings.workspace)
        await stack.enter_async_context(joined(app, settings, tokens=files, api=within))
        address = await stack.enter_async_context(serving(app))
        http = httpx.AsyncClient(base_url=f"http://{address}", trust_env=False, timeout=70)
        await stack.enter_async_context(http)
        services: Services = app.state.ingest
        town = WakingTown(settings, app, bot, shop, club, http, within, services, tokens)
        for agent in MAY_SEND:
            town.agents[agent] = ScriptedAgent()
            put_agent(services, agent, town.agents[agent])
        yield town
