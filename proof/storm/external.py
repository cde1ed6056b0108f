"""What the replicas talk with: a model that takes its time, and platforms that take replies."""

from __future__ import annotations

import asyncio
import json
import random
import re
import socket
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Final

import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.types import Receive, Scope, Send

from ingest.channels.discord.rest import nonce_of
from proof.botapi import TOKEN, BotApi
from proof.discordapi import DiscordBot, app_of
from proof.slackapi import SlackApp, slack_of
from proof.storm.journal import AGENT, AIDE, ALIAS, AgentRun, Journal

# What webhooks are signed with.
SECRET: Final = "a secret that only storms know of"

_NAME: Final = re.compile(r"message (\S+), please answer\Z")
# Where platforms take replies.
_TAKES_REPLIES: Final = re.compile(
    r"/replies|/telegram/.*/sendMessage|/slack/chat\.postMessage|/discord/.*/messages"
)


class ExternalServers:
    """All servers, on one address. `held` sessions get no answer until they are let go.

    While the platforms are `away` they bring messages, but take no reply.
    """

    def __init__(self, journal: Journal, *, seed: str, longest: float) -> None:
        """The agent takes up to `longest` seconds for an answer, the same for a name and seed."""
        self.url = ""
        self.held: dict[str, asyncio.Event] = {}
        self.away = False
        self.bot = BotApi()
        self.slack = SlackApp(heard=self._hear)
        self.discord = DiscordBot(heard=self._hear_discord)
        self.journal = journal
        self._nonces: dict[str, str] = {}
        self._seed = seed
        self._longest = longest
        self._news: dict[str, asyncio.Event] = {}
        self._app = Starlette(
            routes=[
                Route("/v1/chat/completions", self._complete, methods=["POST"]),
                Route("/replies", self._take_reply, methods=["POST"]),
                Mount("/telegram", self.bot.app()),
                Mount("/slack", slack_of(self.slack)),
                Mount("/discord", app_of(self.discord)),
            ]
        )

    @asynccontextmanager
    async def served(self) -> AsyncGenerator[None]:
        """Answer on a port of its own while the context is open."""
        with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
            self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            server = _Server(
                uvicorn.Config(self._answer, interface="asgi3", log_config=None, lifespan="off")
            )
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            try:
                yield
            finally:
                server.should_exit = server.force_exit = True
                with suppress(asyncio.CancelledError):
                    await serving

    def settings(self) -> str:
        """A settings file of a system that talks with them."""
        return f"""\
[agents.{AGENT}]
provider = "openai"
base_url = {json.dumps(f"{self.url}/v1")}
model = "storm"
channels = ["webhook.{ALIAS}", "telegram.{ALIAS}"]
may_send_to = ["{AIDE}"]

[agents.{AIDE}]
provider = "openai"
base_url = {json.dumps(f"{self.url}/v1")}
model = "storm"
channels = ["slack.{ALIAS}", "discord.{ALIAS}"]
may_send_to = ["{AGENT}"]

[channels.webhook.{ALIAS}]
secret = {json.dumps(SECRET)}
send_url = {json.dumps(f"{self.url}/replies")}

[channels.telegram.{ALIAS}]
bot_token = {json.dumps(TOKEN)}
api_base_url = {json.dumps(f"{self.url}/telegram")}
allowed_users = ["*"]

[channels.slack.{ALIAS}]
bot_token = {json.dumps(self.slack.bot_token)}
app_token = {json.dumps(self.slack.app_token)}
api_base_url = {json.dumps(f"{self.url}/slack")}
allowed_users = ["*"]

[channels.discord.{ALIAS}]
bot_token = {json.dumps(self.discord.token)}
api_base_url = {json.dumps(f"{self.url}/discord/api/v10")}
allowed_users = ["*"]
"""

    async def reply_to(self, turn: str) -> str:
        """The reply that the platform was sent for a turn, as soon as it has it."""
        await self._news.setdefault(turn, asyncio.Event()).wait()
        return self.journal.replies[turn][0].text

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.away and scope["type"] == "http" and _takes_reply(scope):
            await Response(status_code=503)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _complete(self, request: Request) -> Response:
        try:
            messages: list[dict[str, Any]] = (await request.json())["messages"]
        except ClientDisconnect:
            # The replica that asked was killed; there is nobody to answer.
            return Response(status_code=400)
        found = _NAME.search(messages[-1]["content"])
        if found is None:
            self.journal.surprises.append(f"the agent was asked {messages[-1]['content']!r}")
            return JSONResponse({"error": {"message": "no message"}}, 400)
        self.journal.runs.append(AgentRun(found[1], len(messages), time.monotonic()))
        return StreamingResponse(self._chunks(found[1]), media_type="text/event-stream")

    async def _chunks(self, name: str) -> AsyncGenerator[str]:
        """The answer in two pieces, with the wait between them."""
        yield _chunk("an answer to ")
        held = self.held.get(name.partition("/")[0])
        if held is not None:
            await held.wait()
        else:
            await asyncio.sleep(random.Random(f"{self._seed}/{name}").uniform(0.05, self._longest))
        yield _chunk(f"{name} for you", finish="stop")
        yield "data: [DONE]\n\n"

    async def _take_reply(self, request: Request) -> Response:
        body: dict[str, Any] = await request.json()
        self._note_reply(body["turn"], body["content"])
        return Response(status_code=204)

    def _hear(self, message: dict[str, Any]) -> None:
        """Slack has a message of the app, which tells the reply that it is."""
        reply: str = message["metadata"]["event_payload"]["id"]
        self._note_reply(reply.removesuffix(":reply"), message["text"])

    def expect_in_discord(self, turn: str) -> None:
        """Know the reply to that turn by its nonce."""
        self._nonces[nonce_of(f"{turn}:reply")] = turn

    def _hear_discord(self, message: dict[str, Any]) -> None:
        self._note_reply(self._nonces[message["nonce"]], message["content"])

    def _note_reply(self, turn: str, text: str) -> None:
        self.journal.note_reply(turn, text)
        self._news.setdefault(turn, asyncio.Event()).set()


def _takes_reply(scope: Scope) -> bool:
    return scope["method"] == "POST" and _TAKES_REPLIES.fullmatch(scope["path"]) is not None


class _Server(uvicorn.Server):
    """uvicorn that leaves the signals to the program."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


def _chunk(text: str, *, finish: str | None = None) -> str:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "storm"}
    return f"data: {json.dumps({**head, 'choices': [choice]})}\n\n"
