"""Those who write: people at WebSockets, to a bot, in Slack and Discord; a platform; agents.

Each sends its message to a replica by chance, under one id, until it has the answer. What is
refused is sent again after a pause, what is cut off at once and elsewhere; and some messages are
sent once more although nobody asked for it, as platforms do.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, Final, Protocol

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from ingest.channels.webhook import sign
from ingest.failures import INTERRUPTED
from proof.discordapi import person
from proof.storm.external import SECRET, ExternalServers
from proof.storm.journal import ALIAS, Journal, StormMessage

# Messages of a session that are on their way at once: by webhook more than a lane takes, by
# WebSocket as many as a person might have windows open.
_AT_ONCE_BY_WEBHOOK: Final = 10
_AT_ONCE_BY_SOCKET: Final = 4
# Seconds between a refusal and the next try.
_PAUSE: Final = (1.0, 4.0)
# Share of messages that are sent again, and seconds after which that may be.
_AGAIN: Final = 0.3
_AGAIN_WITHIN: Final = 45.0
# Requests of the platform to one replica at the same time.
_REQUESTS: Final = 20
# Seconds for a request of a platform, and for an answer over a socket: longer than a lane's wait.
_POST_TIMEOUT: Final = 10.0
_PATIENCE: Final = 50.0
# Seconds for which an agent waits for the answer of the session that it has woken.
_AWAITED: Final = 20
# Seconds between two pings of a socket, and for each of them: so a frozen replica is left.
_PING: Final = 10.0
_RETRYABLE: Final = frozenset(
    {
        *("SESSION_QUEUE_FULL", "SESSION_QUEUE_TIMEOUT", "STORE_BEHIND", "STREAM_UNAVAILABLE"),
        *("STREAM_FULL", "STORE_UNAVAILABLE", "UNAVAILABLE", "RATE_LIMITED"),
    }
)
# Refusals after which nothing more can come over the socket for that message.
_SETTLED: Final = frozenset({"SESSION_QUEUE_FULL", "SESSION_QUEUE_TIMEOUT", "RATE_LIMITED"})
_NOWHERE: Final = "The message got no reply; send it again"


class SendRefused(Exception):
    """The message may be sent again; the text is the code."""


class Transport(Protocol):
    """A way to send messages; `at_once` is how many are on their way at a time."""

    at_once: int

    async def deliver(self, message: StormMessage, replica: int) -> str:
        """Send it to that replica; the answer. Raises SendRefused."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class SocketTransport:
    """One session's sockets. Each carries one message at a time: errors do not name theirs."""

    at_once = _AT_ONCE_BY_SOCKET

    def __init__(self, urls: Sequence[str], token: str, journal: Journal) -> None:
        self._urls = urls
        self._headers = {"Authorization": f"Bearer {token}"}
        self._journal = journal
        self._idle: dict[int, list[_Socket]] = {}

    async def deliver(self, message: StormMessage, replica: int) -> str:
        """Ask over a socket of that replica."""
        try:
            async with asyncio.timeout(_PATIENCE), self._socket(message, replica) as socket:
                return await socket.ask(message)
        except (OSError, WebSocketException, TimeoutError) as error:
            raise SendRefused(f"cut off ({type(error).__name__})") from error

    async def close(self) -> None:
        """Close the sockets that nobody uses."""
        for socket in [socket for sockets in self._idle.values() for socket in sockets]:
            await socket.connection.close()

    @asynccontextmanager
    async def _socket(self, message: StormMessage, replica: int) -> AsyncGenerator[_Socket]:
        """One that is free; it is used again where nothing is left open on it."""
        idle = self._idle.setdefault(replica, [])
        socket = idle.pop() if idle else await self._open(message, replica)
        try:
            yield socket
        except BaseException as error:
            # Whatever it is, being cancelled too: an answer may still come on this socket.
            if isinstance(error, SendRefused) and str(error) in _SETTLED:
                idle.append(socket)
            else:
                socket.connection.transport.abort()
            raise
        idle.append(socket)

    async def _open(self, message: StormMessage, replica: int) -> _Socket:
        url = self._urls[replica].replace("http", "ws", 1)
        connection = await connect(
            f"{url}/ws/chat?agent=main&session_id={message.session}",
            additional_headers=self._headers,
            compression=None,
            proxy=None,
            open_timeout=_PATIENCE,
            close_timeout=1.0,
            ping_interval=_PING,
            ping_timeout=_PING,
        )
        return await _Socket.greeted(connection, self._journal)


class _Socket:
    """A connection to one session on one replica."""

    def __init__(self, connection: ClientConnection, journal: Journal, *, watches: bool) -> None:
        self.connection = connection
        self._journal = journal
        # The end of the turn that was running when we came is told to us, too.
        self._watches = watches

    @classmethod
    async def greeted(cls, connection: ClientConnection, journal: Journal) -> _Socket:
        """After the greetings, so that a refusal does not end the connection."""
        start = json.loads(await connection.recv())
        await connection.send('{"type":"connect"}')
        return cls(connection, journal, watches=start.get("state") == "running")

    async def ask(self, message: StormMessage) -> str:
        """Send the message and wait for its end."""
        frame = {"type": "message", "id": message.name, "content": message.text}
        await self.connection.send(json.dumps(frame))
        while True:
            end = self._end_of(message, json.loads(await self.connection.recv()))
            if end is not None:
                return end

    def _end_of(self, message: StormMessage, frame: dict[str, Any]) -> str | None:
        """The end of our message, if the frame is that; raises SendRefused."""
        if frame["type"] == "done":
            if frame["full_response"] == message.answer:
                return message.answer
            self._watches = False
        elif frame["type"] == "error":
            return self._end_by_error(message, frame)
        return None

    def _end_by_error(self, message: StormMessage, frame: dict[str, Any]) -> str:
        code, text = frame.get("code"), frame["message"]
        if code in _RETRYABLE or text == _NOWHERE:
            raise SendRefused(str(code) if code in _RETRYABLE else "no reply")
        if self._watches and text == INTERRUPTED:
            raise SendRefused("whose end?")
        if text != INTERRUPTED:
            self._journal.surprises.append(f"{message.name} was answered {code}: {text}")
            raise SendRefused(str(code))
        return INTERRUPTED


class WebhookTransport:
    """The platform's way in: posts, and waits for the reply to be posted back."""

    at_once = _AT_ONCE_BY_WEBHOOK

    def __init__(
        self, gates: Sequence[WebhookClient], outside: ExternalServers, journal: Journal
    ) -> None:
        self._gates = gates
        self._outside = outside
        self._journal = journal

    async def deliver(self, message: StormMessage, replica: int) -> str:
        """Post until one takes it; the reply that comes back."""
        try:
            answer = await self._gates[replica].post(message)
        except httpx.HTTPError as error:
            raise SendRefused(f"cut off ({type(error).__name__})") from error
        if answer.status_code in (429, 503):
            raise SendRefused(answer.json()["code"].upper())
        if answer.status_code != HTTPStatus.OK:
            self._journal.surprises.append(f"{message.name}: {answer.status_code} {answer.text}")
            raise SendRefused(str(answer.status_code))
        self._journal.taken.add(message.name)
        return await self._outside.reply_to(message.turn)

    async def close(self) -> None:
        """The clients are others' as well."""


def _signed(message: StormMessage, body: bytes) -> dict[str, str]:
    stamp = str(int(time.time()))
    return {
        "webhook-id": message.name,
        "webhook-timestamp": stamp,
        "webhook-signature": sign(SECRET.encode(), message.name, stamp, body),
    }


class WebhookClient:
    """The platform's way to one replica, for all sessions: a few requests at a time."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._slots = asyncio.Semaphore(_REQUESTS)

    @classmethod
    @asynccontextmanager
    async def opened(cls, url: str) -> AsyncGenerator[WebhookClient]:
        """With connections of its own."""
        async with httpx.AsyncClient(
            base_url=url, timeout=_POST_TIMEOUT, trust_env=False
        ) as client:
            yield cls(client)

    async def post(self, message: StormMessage) -> httpx.Response:
        """Post a signed message."""
        body = json.dumps({"sender": message.session, "content": message.text}).encode()
        async with self._slots:
            return await self._client.post(
                f"/channels/webhook/{ALIAS}", content=body, headers=_signed(message, body)
            )


class BotTransport:
    """One person's chat with the bot, which fetches what is said there: no replica is chosen."""

    at_once = 1

    def __init__(self, outside: ExternalServers) -> None:
        self._bot = outside.bot
        self._journal = outside.journal

    async def deliver(self, message: StormMessage, replica: int) -> str:
        """Say it, and read what the bot says next."""
        user = {"id": message.chat, "is_bot": False, "first_name": "P", "username": message.session}
        self._bot.say(message.text, chat=message.chat, user=user, message=message.place)
        answer = await self._bot.says(message.chat, place=message.number)
        self._journal.note_reply(message.turn, answer)
        return answer

    async def close(self) -> None:
        """Nothing is open."""


class SlackTransport:
    """One person's direct messages, which Slack sends by its socket: no replica is chosen."""

    at_once = _AT_ONCE_BY_SOCKET

    def __init__(self, outside: ExternalServers) -> None:
        self._outside = outside

    async def deliver(self, message: StormMessage, replica: int) -> str:
        """Say it, and read the reply to it."""
        place = {"channel": message.direct, "user": message.session, "ts": message.ts}
        self._outside.slack.bring(self._outside.slack.event(message.text, **place))
        return await self._outside.reply_to(message.turn)

    async def close(self) -> None:
        """Nothing is open."""


class DiscordTransport:
    """One person's channel in a server, which the gateway brings: no replica is chosen."""

    at_once = _AT_ONCE_BY_SOCKET

    def __init__(self, outside: ExternalServers) -> None:
        self._outside = outside
        self._spoke = asyncio.Condition()

    async def deliver(self, message: StormMessage, replica: int) -> str:
        """Say it behind all that is earlier, and read the reply to it."""
        bot, author = self._outside.discord, person(message.chat, message.session)
        said = bot.message(message.text, channel=message.channel, author=author)
        self._outside.expect_in_discord(message.turn)
        async with self._spoke:
            await self._spoke.wait_for(lambda: message.number <= bot.heard_in(message.channel))
            said["id"] = str(message.snowflake)
            bot.keep(said)
            self._spoke.notify_all()
        await bot.bring(said)
        return await self._outside.reply_to(message.turn)

    async def close(self) -> None:
        """Nothing is open."""


class WakeTransport:
    """An agent that wakes another's session and waits for the answer; one key for each message."""

    at_once = 1

    def __init__(self, api: httpx.AsyncClient, token: str, outside: ExternalServers) -> None:
        self._api = api
        self._outside = outside
        self._headers = {"Authorization": f"Bearer {token}"}

    async def deliver(self, message: StormMessage, replica: int) -> str:
        """Call the tool at the one api; what it says that the session has answered."""
        self._outside.expect_in_discord(message.turn)
        headers = {**self._headers, "Idempotency-Key": message.wake_key}
        given = {"session_id": message.key, "message": message.text, "await_reply": _AWAITED}
        try:
            answer = await self._api.post(
                "/api/tools/sessions_send", json=given, headers=headers, timeout=_PATIENCE
            )
        except httpx.HTTPError as error:
            raise SendRefused(f"cut off ({type(error).__name__})") from error
        return self._told(message, answer)

    def _told(self, message: StormMessage, answer: httpx.Response) -> str:
        """The end of the turn that it opened; raises SendRefused."""
        body: dict[str, Any] = answer.json()
        if answer.status_code == HTTPStatus.ACCEPTED:
            raise SendRefused("pending")
        if answer.status_code in (429, 503):
            raise SendRefused(str(body.get("code", answer.status_code)).upper())
        if answer.status_code != HTTPStatus.OK or not body["success"]:
            text = f"{message.name}: {answer.status_code} {answer.text}"
            self._outside.journal.surprises.append(text)
            raise SendRefused(str(answer.status_code))
        return body["data"]["text"]

    async def close(self) -> None:
        """The client is others' as well."""


class Sender:
    """Sends the messages of one session, as many at once as it may, and some of them twice."""

    def __init__(
        self, transport: Transport, journal: Journal, chance: random.Random, replicas: int
    ) -> None:
        self._transport = transport
        self._journal = journal
        self._chance = chance
        self._replicas = replicas
        self._slots = asyncio.Semaphore(transport.at_once)

    async def send_all(self, messages: Sequence[StormMessage]) -> None:
        """Return when every message, and every second try of one, has its answer."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for message in messages:
                    tasks.create_task(self._send(message))
                    if self._chance.random() < _AGAIN:
                        tasks.create_task(self._send_again(message))
        finally:
            await self._transport.close()

    async def _send(self, message: StormMessage) -> None:
        async with self._slots:
            await self.send(message)

    async def send(self, message: StormMessage) -> None:
        """Return when the message has its answer."""
        self._journal.note_end(message, await self._insist(message))

    async def _send_again(self, message: StormMessage) -> None:
        """Once more, at any moment: before, during or after its turn, here or there."""
        await asyncio.sleep(self._chance.uniform(0.0, _AGAIN_WITHIN))
        self._journal.redelivered += 1
        self._journal.note_end(message, await self._insist(message))

    async def _insist(self, message: StormMessage) -> str:
        while True:
            try:
                replica = self._chance.randrange(self._replicas)
                return await self._transport.deliver(message, replica)
            except SendRefused as refusal:
                self._journal.refusals[str(refusal)] += 1
            await asyncio.sleep(self._chance.uniform(*_PAUSE))
