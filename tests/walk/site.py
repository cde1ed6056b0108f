"""What the walk starts beside `system`: the web process, a chat in it, and a model for the agent.

`system`, from `tests/conftest.py`, is an empty workspace and a Redis of the test's own.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect

from harness.program import Program
from harness.system import SystemUnderTest
from sessions.access.tokens import ensure_admin_token
from tests.ingest.model_server import ModelServer, Script, model_server


class Chat:
    """A web chat with an agent."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    async def say(self, text: str) -> None:
        """Send a message."""
        await self._socket.send(json.dumps({"type": "message", "content": text}))

    async def hears(self, wanted: str) -> dict[str, Any]:
        """Read frames up to the first one of this type: that one."""
        while (frame := json.loads(await self._socket.recv()))["type"] != wanted:
            pass
        return frame


class Site:
    """The web process: its HTTP routes, called as an administrator, its chat, and its log."""

    def __init__(self, http: httpx.AsyncClient, program: Program) -> None:
        self.http = http
        self.program = program

    @asynccontextmanager
    async def chat(self, session: str, *, agent: str = "main") -> AsyncIterator[Chat]:
        """A chat whose session is kept under `gw_` and this name."""
        query = {"agent": agent, "session_id": session}
        url = self.http.base_url.copy_with(scheme="ws", path="/ws/chat", params=query)
        headers = {"Authorization": self.http.headers["Authorization"]}
        async with connect(str(url), additional_headers=headers) as socket:
            yield Chat(socket)

    async def messages(self, session: str) -> list[tuple[str, str]]:
        """The role and the text of each message of a session, as a program reads them."""
        answer = await self.http.get(f"/api/sessions/{session}/messages")
        rows = answer.raise_for_status().json()["messages"]
        return [(row["role"], row["content"]) for row in rows]


@asynccontextmanager
async def running_site(system: SystemUnderTest, **settings: str) -> AsyncIterator[Site]:
    """The web process of `turnstream up`; `settings` are variables by their names."""
    token = ensure_admin_token(system.workspace)
    program = system.start("cli.supervision.web", port="0", **settings)
    url = await program.address()
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False) as http:
        yield Site(http, program)


@asynccontextmanager
async def site_with_model(
    system: SystemUnderTest, script: Script, **settings: str
) -> AsyncIterator[tuple[Site, ModelServer]]:
    """The same with a model for the agent `main`; `script` makes its answer of each request."""
    async with model_server(script) as (model, url):
        config = system.workspace.parent / "turnstream.toml"
        config.write_text(f'[agents.main]\nprovider = "openai"\nbase_url = "{url}"\nmodel = "m"\n')
        async with running_site(system, config=str(config), **settings) as site:
            yield site, model
