"""Telegram, which is polled or posts: a server that speaks the Bot API, and two bots on it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, ClassVar, Final

from starlette.responses import HTMLResponse, Response

from ingest.channels.telegram.channel import LONGEST
from proof.botapi import BotApi, app_of, failed, flooded, update
from tests.channels.kits.base import AGENTS, Abilities, Delivery, Kit, Person, Said
from tests.channels.kits.posting import PostingKit, told
from tests.channels.weather import RETRY_AFTER, Fault, PlatformServer

# Who may write: more people than the suite has.
_KNOWN: Final = tuple(f"ada{number}" for number in range(1, 2000))
_STRANGER: Final = {"id": 7, "is_bot": False, "first_name": "Eve", "username": "eve"}
_SECRET_TOKEN: Final = "a-token-of-the-suite"
# Added to a person's number: ids of users that look like Telegram's.
_USERS: Final = 100_000
_numbers = itertools.count(1)
_PAGE: Final = "<html><body>A proxy's own page</body></html>"


class TelegramKit(Kit):
    """What both modes share. A bot's alias begins with that of the kit."""

    alias: ClassVar[str]
    mode: ClassVar[str]
    first_number: ClassVar[int]
    abilities = Abilities(has_mentions=True, longest=LONGEST)

    def __init__(self) -> None:
        super().__init__()
        self.bots = {
            agent: BotApi(name=f"{self.alias}_{agent}_bot", token=f"{number}:secret-of-{agent}")
            for number, agent in enumerate(AGENTS, self.first_number)
        }

    async def prepare(self, stack: AsyncExitStack) -> None:
        serving = PlatformServer.serving(app_of(*self.bots.values()), self.refusal)
        self.server = await stack.enter_async_context(serving)

    def settings(self) -> Mapping[str, Mapping[str, Any]]:
        assert self.server is not None
        common = {"mode": self.mode, "api_base_url": self.server.url, "allowed_users": _KNOWN}
        return {
            f"channels.{self.channel(agent)}": {"bot_token": bot.token, **common, **self._own()}
            for agent, bot in self.bots.items()
        }

    def _own(self) -> Mapping[str, Any]:
        return {}

    def channel(self, agent: str) -> str:
        return f"telegram.{self.alias}-{agent}"

    def session(self, message: Said) -> str:
        alias = self.channel(message.agent).partition(".")[2]
        return f"telegram_{alias}_{_chat_of(message)['id']}_{message.person.name}"

    def deliveries(self, person: Person, agent: str = AGENTS[0]) -> Sequence[Delivery]:
        chat = _USERS + person.number
        # In the order in which they came, from the private chat and the group.
        places = {str(chat), str(-chat)}
        return [
            Delivery(sent["text"]) for sent in self.bots[agent].sent if sent["chat_id"] in places
        ]

    def refusal(self, fault: Fault) -> Response:
        return {
            Fault.BUSY: flooded(RETRY_AFTER),
            Fault.BROKEN: failed(500, "Internal Server Error"),
            Fault.GARBAGE: HTMLResponse(_PAGE),
            Fault.REVOKED: failed(401, "Unauthorized"),
        }[fault]


class PolledTelegram(TelegramKit):
    """Ingest fetches what is said."""

    name = "telegram-polling"
    alias, mode, first_number = "polled", "polling", 41
    turns_away = ("nothing",)
    answers_junk = ("nothing",) * 5

    async def bring(self, message: Said, *, replica: int = 0) -> None:
        bot = self.bots[message.agent]
        bot.say(message.text)["message"] = _update_of(message)["message"]

    async def intrude(self, message: Said) -> Sequence[str]:
        said = self.bots[message.agent].say(message.text)
        said["message"] = _update_of(message, user=_STRANGER)["message"]
        return ["nothing"]

    async def bring_junk(self, note: str) -> Sequence[str]:
        bot = self.bots[AGENTS[0]]
        for junk in (note, {}, {"message": note}):
            bot.bring(junk)
        for junk in (note, {"text": note, "date": note}):
            bot.say(note)["message"] = junk
        # Telegram is told nothing of them: they are confirmed.
        return ["nothing"] * len(self.answers_junk)


class PostedTelegram(PostingKit, TelegramKit):
    """Telegram posts what is said."""

    name = "telegram-webhook"
    alias, mode, first_number = "posted", "webhook", 51
    turns_away = ("401", "401", "200: nothing taken")
    answers_junk = ("400", "400", "200: nothing taken", "200: nothing taken")

    def _own(self) -> Mapping[str, Any]:
        return {"secret_token": _SECRET_TOKEN}

    async def bring(self, message: Said, *, replica: int = 0) -> None:
        path, raw = self._path(message.agent), json.dumps(_update_of(message)).encode()
        await self._poster.insist(path, raw, _shown(_SECRET_TOKEN), replica=replica)

    async def intrude(self, message: Said) -> Sequence[str]:
        own, strange = _update_of(message), _update_of(message, user=_STRANGER)
        tries = [(own, {}), (own, _shown("another")), (strange, _shown(_SECRET_TOKEN))]
        return [await self._told(json.dumps(said).encode(), shown) for said, shown in tries]

    async def bring_junk(self, note: str) -> Sequence[str]:
        junk = [
            f"{{{note}",
            f'["{note}"]',
            f'{{"a": "{note}"}}',
            f'{{"message": {{"text": "{note}"}}}}',
        ]
        return [await self._told(one.encode(), _shown(_SECRET_TOKEN)) for one in junk]

    def _path(self, agent: str) -> str:
        return f"/channels/{self.channel(agent).replace('.', '/')}"

    async def _told(self, raw: bytes, headers: Mapping[str, str]) -> str:
        return told(await self._poster.post(self._path(AGENTS[0]), raw, headers))


def _shown(token: str) -> dict[str, str]:
    return {"X-Telegram-Bot-Api-Secret-Token": token}


def _chat_of(message: Said) -> dict[str, Any]:
    user = _USERS + message.person.number
    if message.in_group:
        return {"id": -user, "type": "group", "title": "Kitchen"}
    return {"id": user, "type": "private", "first_name": "Ada"}


def _update_of(message: Said, *, user: dict[str, Any] | None = None) -> dict[str, Any]:
    own = {
        "id": _USERS + message.person.number,
        "is_bot": False,
        "first_name": "Ada",
        "username": message.person.name,
    }
    made = update(message.text, number=message.number, message=message.number, user=user or own)
    made["message"]["chat"] = _chat_of(message)
    return made
