"""A server that speaks as much of Slack as an app of ours uses: Web API, Socket Mode, Events API.

Shapes, names and texts are those of https://docs.slack.dev; the values are made up. It refuses what
Slack refuses: a wrong token, a missing scope, a method with a token of the other kind, and a
message that is empty or too long.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, cast
from urllib.parse import parse_qsl

import httpx
from fastapi import FastAPI, Request, Response, WebSocket, WebSocketDisconnect
from fastapi.responses import JSONResponse

TEAM: Final = "T0123TEAM"
# Characters of one message at most; Slack cuts off what is longer.
_LONGEST: Final = 40_000
# Seconds that Slack waits for an event to be accepted, and in which an envelope is acknowledged.
_PATIENCE: Final = 3.0
# Scopes that a method needs.
_SCOPES: Final[Mapping[str, str]] = {
    "chat.postMessage": "chat:write",
    "assistant.threads.setStatus": "chat:write",
    "users.info": "users:read",
}
ALL_SCOPES: Final = ("app_mentions:read", "chat:write", "im:history", "users:read")

_numbers = itertools.count(1)


@dataclass
class SlackApp:
    """One app in a workspace, as Slack's servers know it.

    `refusals` are the answers to the next messages that it posts. `unacknowledged` are the events
    that Slack has sent by a socket, or will, and that nobody has acknowledged.
    """

    id: str = "A0123APP"
    bot: str = "U0123BOT"
    bot_token: str = "xoxb-1234-of-the-bot"
    app_token: str = "xapp-1-A0123APP-of-the-app"
    signing_secret: str = "8f742231b10e8888abcd99yyyzzz85a5"
    scopes: tuple[str, ...] = ALL_SCOPES
    has_socket_mode: bool = True

    sent: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    statuses: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    refusals: list[Response] = field(default_factory=list[Response])
    names: dict[str, str] = field(default_factory=dict[str, str])
    unacknowledged: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    sockets: list[SocketSession] = field(default_factory=list["SocketSession"])
    most_sockets: int = 0
    # Told of each message that the bot posts.
    heard: Callable[[dict[str, Any]], object] = lambda _message: None
    junk: list[str] = field(default_factory=list[str])
    # What the next connections are answered instead of being opened.
    unopened: list[Response] = field(default_factory=list[Response])
    _tickets: set[str] = field(default_factory=set[str])

    # -- what people do ----------------------------------------------------------------------

    def event(self, text: str | None, **more: Any) -> dict[str, Any]:
        """A person's message, as the Events API wraps it: a direct one, unless `more` says else."""
        ts = f"{1_700_000_000 + next(_numbers)}.000100"
        inner: dict[str, Any] = {
            "type": "message",
            "channel": "D0123DIRECT",
            "channel_type": "im",
            "user": "U0123ADA",
            "ts": ts,
            "event_ts": ts,
            **({"text": text} if text is not None else {}),
            **more,
        }
        return self.wrapped(inner)

    def wrapped(self, inner: Mapping[str, Any]) -> dict[str, Any]:
        """An event in the envelope that all events have."""
        installation = {"team_id": TEAM, "user_id": self.bot, "is_bot": True}
        return {
            "token": "verification-token",
            "team_id": TEAM,
            "api_app_id": self.id,
            "type": "event_callback",
            "event_id": f"Ev{next(_numbers):08}",
            "event_time": int(time.time()),
            "authorizations": [{**installation, "enterprise_id": None}],
            "is_ext_shared_channel": False,
            "event_context": "4-context",
            "event": dict(inner),
        }

    def bring(self, payload: Mapping[str, Any]) -> str:
        """Send an event by the socket, again and again until it is acknowledged."""
        id = f"envelope-{next(_numbers)}"
        self.unacknowledged[id] = {
            "envelope_id": id,
            "type": "events_api",
            "accepts_response_payload": False,
            "retry_attempt": 0,
            "retry_reason": "",
            "payload": dict(payload),
        }
        for session in self.sockets:
            session.wake()
        return id

    def headers(self, raw: bytes, *, at: float | None = None) -> dict[str, str]:
        """What Slack adds to a request that it posts."""
        stamp = str(int(time.time() if at is None else at))
        key, text = self.signing_secret.encode(), f"v0:{stamp}:".encode() + raw
        return {
            "content-type": "application/json",
            "x-slack-request-timestamp": stamp,
            "x-slack-signature": f"v0={hmac.new(key, text, hashlib.sha256).hexdigest()}",
        }

    async def post(
        self, http: httpx.AsyncClient, path: str, payload: Any, *, retry: int = 0
    ) -> httpx.Response:
        """Post an event as Slack does, with its headers; those of a retry have a number."""
        raw = json.dumps(payload).encode()
        told = {"x-slack-retry-num": str(retry), "x-slack-retry-reason": "http_timeout"}
        headers = {**self.headers(raw), **(told if retry else {})}
        return await http.post(path, content=raw, headers=headers, timeout=_PATIENCE)

    @property
    def texts(self) -> list[str]:
        """What the bot has said, in order."""
        return [message["text"] for message in self.sent]

    # -- the Web API -------------------------------------------------------------------------

    async def call(self, method: str, request: Request) -> Response:
        """Answer a call, after the token that it shows."""
        given = await _given(request)
        if method == "apps.connections.open":
            return self._opened(request)
        if _shown(request) != self.bot_token:
            return refused("invalid_auth")
        scope = _SCOPES.get(method)
        if scope is not None and scope not in self.scopes:
            return refused("missing_scope", needed=scope, provided=",".join(self.scopes))
        answer = {
            "auth.test": self._test,
            "chat.postMessage": self._post_message,
            "assistant.threads.setStatus": self._set_status,
            "users.info": self._user_info,
        }.get(method)
        return answer(given) if answer is not None else refused("unknown_method")

    def _test(self, given: dict[str, Any]) -> Response:
        body = {"ok": True, "team_id": TEAM, "user_id": self.bot, "bot_id": "B0123BOT"}
        return JSONResponse(body, headers={"x-oauth-scopes": ",".join(self.scopes)})

    def _post_message(self, given: dict[str, Any]) -> Response:
        if self.refusals:
            return self.refusals.pop(0)
        text = given.get("text") or ""
        if not text.strip():
            return refused("no_text")
        if not str(given.get("channel", "")).startswith(("C", "D", "G")):
            return refused("channel_not_found")
        if len(text) > _LONGEST:
            return refused("msg_too_long")
        self.sent.append(given)
        self.heard(given)
        ts = f"{1_800_000_000 + len(self.sent)}.000200"
        return JSONResponse({"ok": True, "channel": given["channel"], "ts": ts})

    def _set_status(self, given: dict[str, Any]) -> Response:
        if not given.get("thread_ts"):
            return refused("invalid_thread_ts")
        self.statuses.append(given)
        return JSONResponse({"ok": True})

    def _user_info(self, given: dict[str, Any]) -> Response:
        name = self.names.get(str(given.get("user")))
        if name is None:
            return refused("user_not_found")
        user = {"id": given["user"], "name": name, "profile": {"display_name": name}}
        return JSONResponse({"ok": True, "user": user})

    # -- Socket Mode -------------------------------------------------------------------------

    def _opened(self, request: Request) -> Response:
        if self.unopened:
            return self.unopened.pop(0)
        if _shown(request) == self.bot_token:
            return refused("not_allowed_token_type")
        if _shown(request) != self.app_token:
            return refused("invalid_auth")
        if not self.has_socket_mode:
            return refused("socket_mode_not_enabled")
        ticket = f"ticket-{next(_numbers)}"
        self._tickets.add(ticket)
        base = str(request.url.replace(scheme="ws", query="")).rpartition("/")[0]
        return JSONResponse({"ok": True, "url": f"{base}/link/?ticket={ticket}&app_id={self.id}"})

    def takes_ticket(self, ticket: str) -> bool:
        """Whether the ticket is good; it is so once."""
        if ticket not in self._tickets:
            return False
        self._tickets.discard(ticket)
        return True

    async def refresh(self) -> None:
        """Have every connection replaced, as Slack does every few hours."""
        for session in tuple(self.sockets):
            await session.leave("refresh_requested")


class SocketSession:
    """One connection of an app."""

    def __init__(self, app: SlackApp, socket: WebSocket) -> None:
        self.is_silent = False
        self._app = app
        self._socket = socket
        self._came = asyncio.Event()
        self._sent: dict[str, float] = {}
        self._is_leaving = False

    def wake(self) -> None:
        """There is something to send."""
        self._came.set()

    async def run(self) -> None:
        """Send what is not acknowledged until the other side is gone."""
        await self._socket.accept()
        self._app.sockets.append(self)
        self._app.most_sockets = max(self._app.most_sockets, len(self._app.sockets))
        info = {"app_id": self._app.id}
        hello = {"type": "hello", "num_connections": len(self._app.sockets)}
        sending = asyncio.create_task(self._send_on({**hello, "connection_info": info}))
        try:
            while True:
                answer = json.loads(await self._socket.receive_text())
                self._app.unacknowledged.pop(answer.get("envelope_id"), None)
        except WebSocketDisconnect:
            pass
        finally:
            self._app.sockets.remove(self)
            sending.cancel()

    async def leave(self, reason: str) -> None:
        """Tell the other side to connect again, and close soon."""
        self._is_leaving = True
        with suppress(RuntimeError, WebSocketDisconnect):
            await self._send({"type": "disconnect", "reason": reason, "debug_info": {}})

    async def close(self) -> None:
        """Close at once."""
        with suppress(RuntimeError):
            await self._socket.close()

    async def _send_on(self, hello: Mapping[str, Any]) -> None:
        await self._send(hello)
        while True:
            self._came.clear()
            while self._app.junk and not self.is_silent:
                await self._socket.send_text(self._app.junk.pop(0))
            for id, envelope in tuple(self._app.unacknowledged.items()):
                if not self._is_leaving and not self.is_silent and self._is_due(id):
                    await self._send(envelope)
            with suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    await self._came.wait()

    def _is_due(self, id: str) -> bool:
        """Whether it was not sent here yet, or long ago."""
        now = time.monotonic()
        if now - self._sent.get(id, -_PATIENCE) < _PATIENCE:
            return False
        self._sent[id] = now
        return True

    async def _send(self, envelope: Mapping[str, Any]) -> None:
        await self._socket.send_text(json.dumps(envelope))


def slack_of(*apps: SlackApp) -> FastAPI:
    """Slack's servers, which know these apps."""
    server = FastAPI()

    async def call(method: str, request: Request) -> Response:
        shown = _shown(request)
        app = next((app for app in apps if shown in (app.bot_token, app.app_token)), None)
        if app is None:
            return refused("invalid_auth" if shown else "not_authed")
        return await app.call(method, request)

    async def link(socket: WebSocket) -> None:
        ticket = socket.query_params.get("ticket", "")
        app = next((app for app in apps if app.takes_ticket(ticket)), None)
        if app is None:
            await socket.close()
        else:
            await SocketSession(app, socket).run()

    server.add_api_route("/{method}", call, methods=["GET", "POST"])
    server.add_api_websocket_route("/link/", link)
    return server


def refused(error: str, **more: str) -> JSONResponse:
    """An error in the form that Slack gives it."""
    return JSONResponse({"ok": False, "error": error, **more})


def limited(seconds: int) -> JSONResponse:
    """The error that tells an app to wait."""
    body = {"ok": False, "error": "ratelimited"}
    return JSONResponse(body, 429, headers={"Retry-After": str(seconds)})


def _shown(request: Request) -> str:
    return request.headers.get("authorization", "").removeprefix("Bearer ")


async def _given(request: Request) -> dict[str, Any]:
    raw = await request.body()
    if request.headers.get("content-type", "").startswith("application/json"):
        return cast("dict[str, Any]", json.loads(raw or b"{}"))
    found: dict[str, Any] = {**request.query_params, **dict(parse_qsl(raw.decode()))}
    if isinstance(found.get("metadata"), str):
        found["metadata"] = json.loads(found["metadata"])
    return found
