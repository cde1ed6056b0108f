"""Discord: a server that speaks its gateway and REST API, and two bots on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final

from starlette.responses import HTMLResponse, Response

from ingest.channels.discord.channel import LONGEST
from proof.discordapi import DiscordBot, app_of, flooded, person, refused, snowflake
from tests.channels.kits.base import AGENTS, Abilities, Delivery, Kit, Person, Said
from tests.channels.weather import RETRY_AFTER, Fault, PlatformServer

# Who may write: more people than the suite has.
_KNOWN: Final = tuple(f"ada{number}" for number in range(1, 2000))
_STRANGER: Final = person(600_000_000_000_000_000, "eve")
# Added to a person's number: ids that look like Discord's.
_USERS: Final = 610_000_000_000_000_000
_CHANNELS: Final = 710_000_000_000_000_000
_THREADS: Final = 720_000_000_000_000_000
_BOTS: Final = 810_000_000_000_000_000
_PAGE: Final = "<html><body>A proxy's own page</body></html>"


class DiscordKit(Kit):
    """Each person writes in a channel of the server, and in groups in a thread of it."""

    name = "discord"
    abilities = Abilities(longest=LONGEST, drops_repeats=True)
    turns_away = ("nothing",)
    answers_junk = ("nothing",) * 5

    def __init__(self) -> None:
        super().__init__()
        self.bots = {
            agent: DiscordBot(number=_BOTS + number, name=f"{agent}_bot")
            for number, agent in enumerate(AGENTS)
        }
        # The same message of two accounts has the same id at both.
        self._ids: dict[int, str] = {}

    async def prepare(self, stack: AsyncExitStack) -> None:
        serving = PlatformServer.serving(app_of(*self.bots.values()), self.refusal)
        self.server = await stack.enter_async_context(serving)

    def settings(self) -> Mapping[str, Mapping[str, Any]]:
        assert self.server is not None
        common = {"api_base_url": f"{self.server.url}/api/v10", "allowed_users": _KNOWN}
        return {
            f"channels.{self.channel(agent)}": {"bot_token": bot.token, **common}
            for agent, bot in self.bots.items()
        }

    def channel(self, agent: str) -> str:
        return f"discord.suite-{agent}"

    def session(self, message: Said) -> str:
        user = _USERS + message.person.number
        return f"discord_suite-{message.agent}_{_place_of(message)}_{user}"

    async def bring(self, message: Said, *, replica: int = 0) -> None:
        bot, place = self.bots[message.agent], _place_of(message)
        if message.in_group:
            bot.threads.add(place)
        await bot.bring(self._shown(message, _user_of(message.person)))

    def deliveries(self, person: Person, agent: str = AGENTS[0]) -> Sequence[Delivery]:
        places = {str(_CHANNELS + person.number), str(_THREADS + person.number)}
        return [
            Delivery(sent["content"])
            for sent in self.bots[agent].sent
            if sent["channel_id"] in places
        ]

    async def intrude(self, message: Said) -> Sequence[str]:
        bot = self.bots[message.agent]
        shown = self._shown(message, _STRANGER)
        await bot.gateway.dispatch("MESSAGE_CREATE", bot.with_guild(shown))
        return ["nothing"]

    async def bring_junk(self, note: str) -> Sequence[str]:
        bot = self.bots[AGENTS[0]]
        whole = bot.with_guild(bot.message(note, channel=_CHANNELS, author=_STRANGER))
        for part in ({"author": note}, {"content": [note]}, {"id": note}, {"channel_id": None}):
            await bot.gateway.dispatch("MESSAGE_CREATE", {**whole, **part})
        await bot.gateway.dispatch("GUILD_CREATE", {"channels": [{"name": note}]})
        # Discord is told nothing of them.
        return ["nothing"] * len(self.answers_junk)

    def refusal(self, fault: Fault) -> Response:
        return {
            Fault.BUSY: flooded(RETRY_AFTER),
            Fault.BROKEN: refused(500, 0, "Internal Server Error"),
            Fault.GARBAGE: HTMLResponse(_PAGE),
            Fault.REVOKED: refused(401, 0, "401: Unauthorized"),
        }[fault]

    def _shown(self, message: Said, author: dict[str, Any]) -> dict[str, Any]:
        id = self._ids.setdefault(message.number, str(snowflake()))
        bot = self.bots[message.agent]
        return bot.message(message.text, channel=_place_of(message), author=author) | {"id": id}


def _user_of(one: Person) -> dict[str, Any]:
    return person(_USERS + one.number, one.name)


def _place_of(message: Said) -> int:
    return (_THREADS if message.in_group else _CHANNELS) + message.person.number
