"""The web process with an agent on a model of the test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

import api.app
from ingest.app import client_within, joined
from ingest.ids import new_id
from ingest.reads import fresh_history
from ingest.services import Services
from ingest.turns.live import TurnEnd
from sessions import times
from sessions.access.tokens import TokenFile, TokenScope, create_token
from sessions.process.settings import Settings
from sessions.stream.lanes.inbound import Inbound
from tests.ingest.model_server import ModelServer, Script, model_server
from tests.ingest.replicas import ended


class ModelChat:
    """The web process with one agent, `anna`, on the test's model."""

    def __init__(self, app: FastAPI, model: ModelServer) -> None:
        self.app = app
        self.model = model
        self.services: Services = app.state.ingest

    async def chat(self, text: str, session: str = "gw_chat") -> TurnEnd:
        inbound = Inbound(new_id(), session, text, "anna", times.now())
        return await ended(await self.services.queue.accept(inbound, attended=True))

    async def stored(self, session: str = "gw_chat") -> list[tuple[str, str]]:
        services = self.services
        history = await fresh_history(services.reads, services.queue.lanes, session, "anna")
        return [(said.role, said.content) for said in history.messages]


@asynccontextmanager
async def model_chat(
    settings: Settings, script: Script, *, retries: int | None = None, **more: Any
) -> AsyncIterator[ModelChat]:
    """That process; `more` are settings of its agent, `retries` those of the client library."""
    async with model_server(script) as (model, url):
        agents = {
            **settings.agents,
            "anna": settings.agents["anna"].model_copy(
                update={"provider": "openai", "base_url": url, "model": "m", **more}
            ),
        }
        changed = settings.model_copy(update={"agents": agents})
        token, _ = create_token(settings.workspace, scope=TokenScope.SERVE)
        async with (
            api.app.opened(changed) as app,
            client_within(app, token) as within,
            joined(app, changed, tokens=TokenFile(settings.workspace), api=within),
        ):
            if retries is not None:
                # The library waits between its tries, which is not what is tested here.
                agent: Any = app.state.ingest.agents["anna"]
                agent._client.max_retries = retries
            yield ModelChat(app, model)
