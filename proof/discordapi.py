"""A server that speaks as much of Discord's gateway and REST API as a bot of ours uses.

Shapes, codes and headers are those of https://docs.discord.com/developers; the values are made up.
"""

from __future__ import annotations

import base64
import itertools
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.responses import JSONResponse
from nacl.signing import SigningKey

from proof.discordgateway import GatewayServer

GUILD: Final = 900_000_000_000_000_001
# Snowflakes count milliseconds from here.
_EPOCH: Final = 1_420_070_400_000
_PAGE: Final = 100
# Flags of an application whose Message Content Intent is switched on.
_READS_CONTENT: Final = 1 << 19
_serials = itertools.count()


def snowflake() -> int:
    """An id as Discord makes one now."""
    return (int(time.time() * 1000) - _EPOCH) << 22 | next(_serials) % (1 << 22)


def token_of(number: int) -> str:
    """A token that holds the bot's number, as Discord's do."""
    head = base64.b64encode(str(number).encode()).decode().rstrip("=")
    return f"{head}.Xy_z12.a-secret-of-this-bot"


def person(number: int, name: str = "ada") -> dict[str, Any]:
    """A user as Discord shows one."""
    return {"id": str(number), "username": name, "discriminator": "0", "global_name": name}


@dataclass
class DiscordBot:
    """One bot, its guild and its direct conversations as Discord's servers know them.

    `refusals` are the answers to the next messages that it sends. With a `limit` it may send that
    many in `window` seconds.
    """

    number: int = 800_000_000_000_000_001
    name: str = "home_bot"
    reads_content: bool = True
    limit: int = 50
    window: float = 1.0
    sent: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    typed: list[str] = field(default_factory=list[str])
    commands: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    refusals: list[Response] = field(default_factory=list[Response])
    unreadable: set[int] = field(default_factory=set[int])
    channels: dict[int, list[dict[str, Any]]] = field(
        default_factory=dict[int, list[dict[str, Any]]]
    )
    threads: set[int] = field(default_factory=set[int])
    direct: set[int] = field(default_factory=set[int])
    # Told of each message that the bot sends.
    heard: Callable[[dict[str, Any]], object] = lambda _message: None
    signing: SigningKey = field(default_factory=SigningKey.generate)
    gateway: GatewayServer = field(init=False)
    _times: list[float] = field(default_factory=list[float])

    def __post_init__(self) -> None:
        self.gateway = GatewayServer(self)

    @property
    def token(self) -> str:
        """What the bot shows."""
        return token_of(self.number)

    @property
    def user(self) -> dict[str, Any]:
        """The bot as a user."""
        return {**person(self.number, self.name), "bot": True}

    @property
    def texts(self) -> list[str]:
        """The texts that the bot has sent, in order."""
        return [message["content"] for message in self.sent]

    def texts_in(self, channel: int) -> list[str]:
        """What the bot has said in that channel."""
        return [one["content"] for one in self.sent if one["channel_id"] == str(channel)]

    def heard_in(self, channel: int) -> int:
        """How many messages of people there are in that channel."""
        return sum(one["author"] != self.user for one in self.channels.get(channel, []))

    # -- what people do ----------------------------------------------------------------------

    async def say(
        self, content: str, *, channel: int, author: dict[str, Any] | None = None, **more: Any
    ) -> dict[str, Any]:
        """Let a user write in a channel of the guild, or in a direct conversation."""
        message = self.message(content, channel=channel, author=author, **more)
        await self.bring(message)
        return message

    def keep(self, message: dict[str, Any]) -> None:
        """Have a message in its channel's history, once."""
        said = self.channels.setdefault(int(message["channel_id"]), [])
        if message["id"] not in {one["id"] for one in said}:
            said.append(message)

    async def bring(self, message: dict[str, Any]) -> None:
        """Keep a message and bring it; one that is there is brought again."""
        self.keep(message)
        await self.gateway.dispatch("MESSAGE_CREATE", self.with_guild(message))

    def with_guild(self, message: dict[str, Any]) -> dict[str, Any]:
        """A message as the gateway shows it, which names the guild. REST does not."""
        is_direct = int(message["channel_id"]) in self.direct
        return message if is_direct else {**message, "guild_id": str(GUILD)}

    def message(
        self, content: str, *, channel: int, author: dict[str, Any] | None = None, **more: Any
    ) -> dict[str, Any]:
        """A message as REST shows it."""
        mentions = [self.user] if f"<@{self.number}>" in content else []
        return {
            "id": str(snowflake()),
            "type": 0,
            "channel_id": str(channel),
            "author": author or person(channel + 1),
            "content": content,
            "mentions": mentions,
            "attachments": [],
            "embeds": [],
            **more,
        }

    def sign(self, body: bytes, timestamp: str | None = None) -> dict[str, str]:
        """The headers by which Discord shows that an interaction is its own."""
        at = timestamp or str(int(time.time()))
        signature = self.signing.sign(at.encode() + body).signature.hex()
        return {"x-signature-ed25519": signature, "x-signature-timestamp": at}

    @property
    def public_key(self) -> str:
        """The application's public key."""
        return self.signing.verify_key.encode().hex()

    def guild(self) -> dict[str, Any]:
        """The guild as GUILD_CREATE shows it."""
        places = [
            {
                "id": str(number),
                "type": 11 if number in self.threads else 0,
                "name": "kitchen",
                "last_message_id": str(max(int(one["id"]) for one in said)) if said else None,
            }
            for number, said in self.channels.items()
            if number not in self.direct
        ]
        return {
            "id": str(GUILD),
            "name": "Home",
            "unavailable": False,
            "joined_at": "2026-01-01T00:00:00+00:00",
            "channels": [place for place in places if place["type"] == 0],
            "threads": [place for place in places if place["type"] == 11],
            "members": [],
        }

    # -- what the bot asks for ---------------------------------------------------------------

    def post(self, channel: int, body: dict[str, Any]) -> Response:
        """Send a message; one whose enforced nonce is there already is that one."""
        for message in self.sent:
            if body.get("enforce_nonce") and message.get("nonce") == body.get("nonce"):
                return JSONResponse(message)
        if (pause := self._pause()) > 0:
            return flooded(pause)
        if len(body.get("content", "")) > 2000:
            return refused(400, 50035, "Invalid Form Body")
        message = self.message(body["content"], channel=channel, author=self.user)
        message |= {"nonce": body.get("nonce"), "allowed_mentions": body.get("allowed_mentions")}
        self.sent.append(message)
        self.channels.setdefault(channel, []).append(message)
        self.heard(message)
        self._times.append(time.monotonic())
        left = self.limit - len(self._times)
        return JSONResponse(message, headers=_limits(self.limit, left, self.window))

    def _pause(self) -> float:
        now = time.monotonic()
        self._times = [at for at in self._times if now - at < self.window]
        return self._times[0] + self.window - now if len(self._times) >= self.limit else 0.0

    def history(self, channel: int, after: int, limit: int) -> Response:
        """The messages behind that one, newest first, as REST gives them."""
        if channel in self.unreadable:
            return refused(403, 50001, "Missing Access")
        said = [one for one in self.channels.get(channel, []) if int(one["id"]) > after]
        oldest = sorted(said, key=lambda one: int(one["id"]))[: min(limit, _PAGE)]
        return JSONResponse(oldest[::-1])

    def application(self) -> dict[str, Any]:
        """The application as it sees itself."""
        return {
            "id": str(self.number),
            "name": self.name,
            "description": "",
            "flags": _READS_CONTENT if self.reads_content else 0,
            "verify_key": self.public_key,
        }


def refused(status: int, code: int, message: str) -> JSONResponse:
    """A refusal as Discord writes it."""
    return JSONResponse({"message": message, "code": code}, status)


def flooded(seconds: float, *, is_global: bool = False) -> JSONResponse:
    """That the bot asked too often."""
    body = {"message": "You are being rate limited.", "retry_after": seconds, "global": is_global}
    headers = {**_limits(1, 0, seconds), "retry-after": str(int(seconds) + 1)}
    scope = {"x-ratelimit-scope": "user"} if not is_global else {"x-ratelimit-global": "true"}
    return JSONResponse(body, 429, headers={**headers, **scope})


def _limits(limit: int, left: int, seconds: float) -> dict[str, str]:
    return {
        "x-ratelimit-bucket": "80c17d2f203122d936070c88c8d10f33",
        "x-ratelimit-limit": str(limit),
        "x-ratelimit-remaining": str(max(0, left)),
        "x-ratelimit-reset": str(time.time() + seconds),
        "x-ratelimit-reset-after": str(seconds),
    }


def app_of(*bots: DiscordBot) -> FastAPI:
    """The application that answers these bots as Discord does."""
    app = FastAPI()
    server = _Server({f"Bot {bot.token}": bot for bot in bots})
    for method, path, answer in server.routes():
        app.add_api_route(path, server.guarded(answer), methods=[method])
    app.add_api_websocket_route("/gateway", server.gateway)
    return app


_Answer = Callable[[DiscordBot, Request], Awaitable[Response]]


class _Server:
    def __init__(self, bots: dict[str, DiscordBot]) -> None:
        self._bots = bots

    def routes(self) -> list[tuple[str, str, _Answer]]:
        return [
            ("GET", "/api/v10/gateway/bot", self._gateway_info),
            ("GET", "/api/v10/oauth2/applications/@me", self._application),
            ("GET", "/api/v10/applications/{id}/commands", self._commands),
            ("POST", "/api/v10/applications/{id}/commands", self._add_command),
            ("GET", "/api/v10/channels/{channel}/messages", self._history),
            ("POST", "/api/v10/channels/{channel}/messages", self._post),
            ("POST", "/api/v10/channels/{channel}/typing", self._type),
        ]

    def guarded(self, answer: _Answer) -> Callable[[Request], Awaitable[Response]]:
        async def guarded(request: Request) -> Response:
            bot = self._bots.get(request.headers.get("authorization", ""))
            if bot is None:
                return refused(401, 0, "401: Unauthorized")
            return await answer(bot, request)

        return guarded

    async def gateway(self, socket: WebSocket) -> None:
        await socket.accept()
        bots = {bot.token: bot.gateway for bot in self._bots.values()}
        await GatewayServer.serve(socket, bots)

    async def _gateway_info(self, bot: DiscordBot, request: Request) -> Response:
        limit = {"total": 1000, "remaining": 999, "reset_after": 86_400_000, "max_concurrency": 1}
        url = f"ws://{request.headers['host']}{request.scope['root_path']}/gateway"
        return JSONResponse({"url": url, "shards": 1, "session_start_limit": limit})

    async def _application(self, bot: DiscordBot, request: Request) -> Response:
        return JSONResponse(bot.application())

    async def _commands(self, bot: DiscordBot, request: Request) -> Response:
        return JSONResponse(bot.commands)

    async def _add_command(self, bot: DiscordBot, request: Request) -> Response:
        own = {
            "id": str(snowflake()),
            "application_id": str(bot.number),
            "version": str(snowflake()),
            "default_member_permissions": None,
        }
        bot.commands.append({**own, **json.loads(await request.body())})
        return JSONResponse(bot.commands[-1], 201)

    async def _history(self, bot: DiscordBot, request: Request) -> Response:
        wanted = request.query_params
        channel = int(request.path_params["channel"])
        return bot.history(channel, int(wanted.get("after", 0)), int(wanted.get("limit", 50)))

    async def _post(self, bot: DiscordBot, request: Request) -> Response:
        if bot.refusals:
            return bot.refusals.pop(0)
        return bot.post(int(request.path_params["channel"]), json.loads(await request.body()))

    async def _type(self, bot: DiscordBot, request: Request) -> Response:
        bot.typed.append(request.path_params["channel"])
        return Response(status_code=204)
