"""A program that signs what it posts, and is posted the replies: Standard Webhooks, both ways."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final

from fastapi import FastAPI, Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from tests.channels.kits.base import AGENTS, Abilities, Delivery, Person, Said
from tests.channels.kits.posting import PostingKit, told
from tests.channels.weather import RETRY_AFTER, Fault, PlatformServer

_OTHER_SECRET: Final = "a secret that nobody has set"
_PAGE: Final = "<html><body>A proxy's own page</body></html>"


class WebhookKit(PostingKit):
    """A program for each agent, all at one address."""

    name = "webhook"
    abilities = Abilities(names_deliveries=True)
    turns_away = ("401", "401", "401")
    answers_junk = ("400", "400", "400")

    def __init__(self) -> None:
        super().__init__()
        self._came: dict[tuple[str, str], list[Delivery]] = {}

    async def prepare(self, stack: AsyncExitStack) -> None:
        app = FastAPI()
        app.add_api_route("/replies/{agent}", self._take, methods=["POST"])
        self.server = await stack.enter_async_context(PlatformServer.serving(app, self.refusal))

    def settings(self) -> Mapping[str, Mapping[str, Any]]:
        assert self.server is not None
        return {
            f"channels.{self.channel(agent)}": {
                "secret": _secret_of(agent),
                "send_url": f"{self.server.url}/replies/{agent}",
            }
            for agent in AGENTS
        }

    def channel(self, agent: str) -> str:
        return f"webhook.shop-{agent}"

    def session(self, message: Said) -> str:
        return f"webhook_shop-{message.agent}_{message.person.name}_{message.person.name}"

    async def bring(self, message: Said, *, replica: int = 0) -> None:
        raw, id = _body_of(message), _id_of(message)
        # Signed again for each try, as a sender does whose message waits for long.
        headers = _signed(raw, id, _secret_of(message.agent))
        await self._poster.insist(_path(message.agent), raw, headers, replica=replica)

    def deliveries(self, person: Person, agent: str = AGENTS[0]) -> Sequence[Delivery]:
        return self._came.get((agent, person.name), [])

    async def intrude(self, message: Said) -> Sequence[str]:
        raw, id, path = _body_of(message), _id_of(message), _path(message.agent)
        right = _signed(raw, id, _secret_of(message.agent))
        ways = [
            {},
            _signed(raw, id, _OTHER_SECRET),
            {**right, "webhook-id": f"{id}-of-another"},
        ]
        return [told(await self._poster.post(path, raw, headers)) for headers in ways]

    async def bring_junk(self, note: str) -> Sequence[str]:
        agent = AGENTS[0]
        raws = [text.encode() for text in (f"{{{note}", f'["{note}"]', f'{{"content": "{note}"}}')]
        posts = [(raw, _signed(raw, "junk", _secret_of(agent))) for raw in raws]
        return [told(await self._poster.post(_path(agent), *post)) for post in posts]

    def refusal(self, fault: Fault) -> Response:
        return {
            Fault.BUSY: JSONResponse({}, 429, {"Retry-After": str(RETRY_AFTER)}),
            Fault.BROKEN: JSONResponse({}, 500),
            Fault.GARBAGE: HTMLResponse(_PAGE, 502),
            Fault.REVOKED: JSONResponse({}, 401),
        }[fault]

    async def _take(self, agent: str, request: Request) -> Response:
        raw, id = await request.body(), request.headers["webhook-id"]
        right = _signature(raw, id, request.headers["webhook-timestamp"], _secret_of(agent))
        if not hmac.compare_digest(request.headers["webhook-signature"], right):
            return JSONResponse({}, 401)
        reply = json.loads(raw)
        came = self._came.setdefault((agent, reply["recipient"]), [])
        came.append(Delivery(reply["content"], id))
        return JSONResponse({})


def _secret_of(agent: str) -> str:
    return f"the secret of {agent} and nobody else"


def _path(agent: str) -> str:
    return f"/channels/webhook/shop-{agent}"


def _body_of(message: Said) -> bytes:
    return json.dumps({"sender": message.person.name, "content": message.text}).encode()


def _id_of(message: Said) -> str:
    return f"msg_{message.number}"


def _signed(raw: bytes, id: str, secret: str) -> dict[str, str]:
    stamp = str(int(time.time()))
    return {
        "webhook-id": id,
        "webhook-timestamp": stamp,
        "webhook-signature": _signature(raw, id, stamp, secret),
    }


def _signature(raw: bytes, id: str, stamp: str, secret: str) -> str:
    """As the standard says it, without our own code."""
    digest = hmac.new(secret.encode(), f"{id}.{stamp}.".encode() + raw, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"
