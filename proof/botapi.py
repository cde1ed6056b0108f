"""A server that speaks as much of the Bot API as a bot of ours uses, over real HTTP.

Shapes and texts are those of https://core.telegram.org/bots/api; the values are made up.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from dataclasses import dataclass, field
from typing import Any, Final, cast
from urllib.parse import parse_qsl

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

TOKEN: Final = "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"
CHAT: Final = 1111111
# A value in an update that is sent as one that no parser reads to its end.
DEEP: Final = "@deep@"
_VERY_DEEP: Final = "[" * 100_000 + "]" * 100_000


def update(
    text: str | None = "Is the kettle on?",
    *,
    number: int = 10000,
    message: int = 1365,
    chat: int = CHAT,
    user: dict[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """An update with a message, as Telegram sends it for a private chat."""
    sender = user or {
        "id": chat,
        "is_bot": False,
        "first_name": "Ada",
        "last_name": "Test",
        "username": "Ada",
        "language_code": "en",
    }
    body: dict[str, Any] = {
        "message_id": message,
        "from": sender,
        "chat": {"id": chat, "type": "private", "first_name": "Ada", "username": "Ada"},
        "date": 1441645532,
        **({"text": text} if text is not None else {}),
        **more,
    }
    return {"update_id": number, "message": body}


@dataclass
class BotApi:
    """One bot as Telegram's servers know it.

    `refusals` are the answers to the next messages that it sends, `outages` those to its polls,
    `nameless` those to questions for its name. `floods` says of each next message for how many
    seconds the bot is asked to wait; None takes it.
    """

    name: str = "Home_bot"
    token: str = TOKEN

    queue: list[Any] = field(default_factory=list[Any])
    sent: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    calls: list[tuple[str, dict[str, str]]] = field(
        default_factory=list[tuple[str, dict[str, str]]]
    )
    refusals: list[JSONResponse] = field(default_factory=list[JSONResponse])
    floods: list[int | None] = field(default_factory=list[int | None])
    outages: list[Response] = field(default_factory=list[Response])
    nameless: list[JSONResponse] = field(default_factory=list[JSONResponse])
    webhook: dict[str, str] | None = None
    pollers: int = 0
    most_pollers: int = 0
    confirmed: int = 0
    _numbers: Any = field(default_factory=lambda: itertools.count(10000))
    _came: asyncio.Event = field(default_factory=asyncio.Event)
    _spoke: asyncio.Event = field(default_factory=asyncio.Event)

    def app(self) -> FastAPI:
        """The application that answers as the platform does."""
        return app_of(self)

    @property
    def number(self) -> int:
        """The bot's own id, with which its token begins."""
        return int(self.token.partition(":")[0])

    def say(self, text: str | None, **more: Any) -> dict[str, Any]:
        """Let a user write to the bot: the update that it becomes."""
        number = next(self._numbers)
        said = update(text, number=number, **{"message": number, **more})
        self.queue.append(said)
        self._came.set()
        return said

    @property
    def texts(self) -> list[str]:
        """The texts that the bot has sent, in order."""
        return [message["text"] for message in self.sent]

    def texts_in(self, chat: int) -> list[str]:
        """What the bot has said in that chat."""
        return [message["text"] for message in self.sent if message["chat_id"] == str(chat)]

    async def says(self, chat: int, *, place: int) -> str:
        """The text that it says there after `place` others, as soon as it does."""
        while len(texts := self.texts_in(chat)) <= place:
            self._spoke.clear()
            await self._spoke.wait()
        return texts[place]

    def bring(self, said: Any) -> None:
        """Put anything into the queue."""
        self.queue.append(said)
        self._came.set()

    async def call(self, method: str, given: dict[str, str]) -> Response:
        """Answer one call of a method."""
        self.calls.append((method, given))
        handle = getattr(self, f"_{method}", None)
        return await handle(given) if handle is not None else failed(404, "Not Found")

    async def _getMe(self, given: dict[str, str]) -> JSONResponse:
        if self.nameless:
            return self.nameless.pop(0)
        me = {"id": self.number, "is_bot": True, "first_name": "Home", "username": self.name}
        return JSONResponse({"ok": True, "result": me})

    async def _getUpdates(self, given: dict[str, str]) -> Response:
        if self.outages:
            return self.outages.pop(0)
        if self.webhook is not None:
            return failed(409, "Conflict: can't use getUpdates method while webhook is active")
        self.pollers += 1
        self.most_pollers = max(self.pollers, self.most_pollers)
        try:
            limit = int(given.get("limit", 100))
            return await self._updates(int(given.get("offset", 0)), int(given["timeout"]), limit)
        finally:
            self.pollers -= 1

    async def _updates(self, offset: int, seconds: int, limit: int) -> Response:
        self.confirmed = max(self.confirmed, offset)
        offset = 0 if self._is_unknown(offset) else offset
        self.queue = [one for one in self.queue if _stays(one, offset)]
        if not self.queue:
            self._came.clear()
            try:
                async with asyncio.timeout(min(seconds, 0.5)):
                    await self._came.wait()
            except TimeoutError:
                pass
        # ASCII, and NaN as it is: a queue may hold what no Bot API ever sent.
        text = json.dumps({"ok": True, "result": self.queue[:limit]})
        return Response(text.replace(f'"{DEEP}"', _VERY_DEEP), media_type="application/json")

    def _is_unknown(self, offset: int) -> bool:
        """Whether it lies so far beyond the newest update that Telegram begins at the oldest."""
        numbers = [number for one in self.queue if (number := _number_of(one)) is not None]
        return bool(numbers) and offset > max(numbers) + 10

    async def _sendMessage(self, given: dict[str, str]) -> JSONResponse:
        if self.refusals:
            return self.refusals.pop(0)
        if self.floods and (seconds := self.floods.pop(0)) is not None:
            return flooded(seconds)
        text = given["text"]
        if not text.strip():
            return failed(400, "Bad Request: message text is empty")
        if len(text.encode("utf-16-le")) // 2 > 4096:
            return failed(400, "Bad Request: message is too long")
        self.sent.append(given)
        self._spoke.set()
        chat = {"id": int(given["chat_id"]), "type": "private", "first_name": "Ada"}
        result = {"message_id": 5000 + len(self.sent), "date": 1441645600, "chat": chat}
        return JSONResponse({"ok": True, "result": {**result, "text": text}})

    async def _sendChatAction(self, given: dict[str, str]) -> JSONResponse:
        return JSONResponse({"ok": True, "result": True})

    async def _setWebhook(self, given: dict[str, str]) -> JSONResponse:
        self.webhook = given
        return JSONResponse({"ok": True, "result": True, "description": "Webhook was set"})

    async def _deleteWebhook(self, given: dict[str, str]) -> JSONResponse:
        self.webhook = None
        return JSONResponse({"ok": True, "result": True, "description": "Webhook was deleted"})


def app_of(*bots: BotApi) -> FastAPI:
    """The application that answers as the platform does, with these bots on it."""
    known = {bot.token: bot for bot in bots}

    async def call(token: str, method: str, request: Request) -> Response:
        given = dict(parse_qsl((await request.body()).decode(), keep_blank_values=True))
        bot = known.get(token)
        return failed(401, "Unauthorized") if bot is None else await bot.call(method, given)

    app = FastAPI()
    app.add_api_route("/bot{token}/{method}", call, methods=["POST"])
    return app


def _stays(one: Any, offset: int) -> bool:
    """Whether an update is not confirmed yet; what has no number goes with those before it."""
    number = _number_of(one)
    return number >= offset if number is not None else offset == 0


def _number_of(one: Any) -> int | None:
    update = cast("dict[str, Any]", one) if isinstance(one, dict) else {}
    number = update.get("update_id")
    return number if type(number) is int else None


def failed(code: int, description: str, **parameters: int) -> JSONResponse:
    """An error in the form that the platform gives it."""
    more = {"parameters": parameters} if parameters else {}
    return JSONResponse({"ok": False, "error_code": code, "description": description, **more}, code)


def flooded(seconds: int) -> JSONResponse:
    """The error that tells a bot to wait."""
    text = f"Too Many Requests: retry after {seconds}"
    return failed(429, text, retry_after=seconds)
