"""Slack, which posts events or sends them by a socket: a Slack of our own, and two apps on it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, ClassVar, Final

from starlette.responses import HTMLResponse, JSONResponse, Response

from ingest.channels.base import ChannelMessage
from ingest.channels.keys import session_key
from ingest.channels.slack.channel import LONGEST
from proof.slackapi import SlackApp, limited, refused, slack_of
from tests.channels.kits.base import AGENTS, Abilities, Delivery, Kit, Person, Said
from tests.channels.kits.posting import PostingKit, told
from tests.channels.weather import RETRY_AFTER, Fault, PlatformServer

# Who may write: more people than the suite has.
_KNOWN: Final = tuple(f"U{number}" for number in range(1, 2000))
_STRANGER: Final = "U0000EVE"
_ROOM: Final = "C0123ROOM"
_PAGE: Final = "<html><body>A proxy's own page</body></html>"


class SlackKit(Kit):
    """What both modes share. An app's alias begins with that of the kit."""

    alias: ClassVar[str]
    mode: ClassVar[str]
    abilities = Abilities(names_deliveries=True, longest=LONGEST)

    def __init__(self) -> None:
        super().__init__()
        self.apps = {
            agent: SlackApp(
                id=f"A{self.alias}{agent}".upper(),
                bot=f"UBOT{agent}".upper(),
                bot_token=f"xoxb-{self.alias}-of-{agent}",
                app_token=f"xapp-{self.alias}-of-{agent}",
                signing_secret=f"the secret of {agent} and nobody else",
            )
            for agent in AGENTS
        }

    async def prepare(self, stack: AsyncExitStack) -> None:
        serving = PlatformServer.serving(slack_of(*self.apps.values()), self.refusal)
        self.server = await stack.enter_async_context(serving)

    def settings(self) -> Mapping[str, Mapping[str, Any]]:
        assert self.server is not None
        common = {"mode": self.mode, "api_base_url": self.server.url, "allowed_users": _KNOWN}
        return {
            f"channels.{self.channel(agent)}": {
                "bot_token": app.bot_token,
                "app_token": app.app_token,
                "signing_secret": app.signing_secret,
                **common,
            }
            for agent, app in self.apps.items()
        }

    def channel(self, agent: str) -> str:
        return f"slack.{self.alias}-{agent}"

    def session(self, message: Said) -> str:
        event = self._event(message)["event"]
        place = {"target": event["channel"], "thread": event.get("thread_ts")}
        said = ChannelMessage("i", "t", event["user"], address="", at=0, **place)
        return session_key(self.channel(message.agent), said)

    def deliveries(self, person: Person, agent: str = AGENTS[0]) -> Sequence[Delivery]:
        # In the order in which they came, from the direct messages and the room.
        return [
            Delivery(sent["text"], sent["metadata"]["event_payload"]["id"])
            for sent in self.apps[agent].sent
            if sent["channel"] == _direct(person) or sent.get("thread_ts") == _thread(person)
        ]

    def refusal(self, fault: Fault) -> Response:
        return {
            Fault.BUSY: limited(RETRY_AFTER),
            Fault.BROKEN: JSONResponse({"ok": False, "error": "internal_error"}, 500),
            Fault.GARBAGE: HTMLResponse(_PAGE),
            Fault.REVOKED: refused("token_revoked"),
        }[fault]

    def _event(self, message: Said, **more: Any) -> dict[str, Any]:
        person = message.person
        own = {"user": f"U{person.number}", "ts": f"{1_700_000_000 + message.number}.000100"}
        place: dict[str, Any] = {"channel": _direct(person), "channel_type": "im"}
        if message.in_group:
            place = {"channel": _ROOM, "channel_type": "channel", "thread_ts": _thread(person)}
        return self.apps[message.agent].event(message.text, **{**own, **place, **more})


class SocketSlack(SlackKit):
    """Slack sends by a WebSocket that ingest opens."""

    name = "slack-socket"
    alias, mode = "socket", "socket"
    turns_away = ("nothing",)
    answers_junk = ("nothing",) * 6

    async def bring(self, message: Said, *, replica: int = 0) -> None:
        self.apps[message.agent].bring(self._event(message))

    async def intrude(self, message: Said) -> Sequence[str]:
        self.apps[message.agent].bring(self._event(message, user=_STRANGER))
        return ["nothing"]

    async def bring_junk(self, note: str) -> Sequence[str]:
        app = self.apps[AGENTS[0]]
        app.junk += [f"{{{note}", f'["{note}"]', f'{{"type": "{note}"}}']
        for event in (note, {"type": note}, {"type": "message", "user": "U1", "text": note}):
            app.bring({**app.wrapped({}), "event": event})
        # Slack is told nothing of them: they are acknowledged.
        return ["nothing"] * len(self.answers_junk)


class PostedSlack(PostingKit, SlackKit):
    """Slack posts what is said."""

    name = "slack-http"
    alias, mode = "http", "http"
    turns_away = ("401", "401", "200: nothing taken")
    answers_junk = ("400", "400", "200: nothing taken", "200: nothing taken")

    async def bring(self, message: Said, *, replica: int = 0) -> None:
        raw = json.dumps(self._event(message)).encode()
        headers = self.apps[message.agent].headers(raw)
        await self._poster.insist(self._path(message.agent), raw, headers, replica=replica)

    async def intrude(self, message: Said) -> Sequence[str]:
        own, strange = (
            json.dumps(self._event(message, **more)).encode() for more in ({}, {"user": _STRANGER})
        )
        mine, other = (self.apps[agent] for agent in AGENTS)
        tries = [(own, {}), (own, other.headers(own)), (strange, mine.headers(strange))]
        return [await self._told(raw, headers) for raw, headers in tries]

    async def bring_junk(self, note: str) -> Sequence[str]:
        app = self.apps[AGENTS[0]]
        callback = {**app.wrapped({}), "event": {"text": note}}
        junk = [f"{{{note}", f'["{note}"]', f'{{"a": "{note}"}}', json.dumps(callback)]
        raws = [one.encode() for one in junk]
        return [await self._told(raw, app.headers(raw)) for raw in raws]

    def _path(self, agent: str) -> str:
        return f"/channels/{self.channel(agent).replace('.', '/')}"

    async def _told(self, raw: bytes, headers: Mapping[str, str]) -> str:
        return told(await self._poster.post(self._path(AGENTS[0]), raw, headers))


def _direct(person: Person) -> str:
    return f"D{person.number}"


def _thread(person: Person) -> str:
    """The thread in which the person writes in the room."""
    return f"{1_600_000_000 + person.number}.000100"
