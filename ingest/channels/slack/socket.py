"""Socket Mode: one WebSocket to Slack, held by one replica at a time.

Slack sends envelopes and wants each acknowledged. It sends again what was not. An envelope is
acknowledged when Redis has its message. Messages of one session are taken one after the other, and
one that is refused for now holds back its own session only.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NoReturn, Protocol, cast

from aiohttp import ClientWebSocketResponse, WSMsgType

from ingest.channels.base import ChannelMessage, Take, Undeliverable, Unreadable
from ingest.channels.failure_counts import ChannelFailure
from ingest.channels.holding import while_held
from ingest.channels.lease import ChannelLease
from ingest.channels.slack.api import SlackApi
from sessions.errors import InvalidEvent, RedisRefused, Retryable
from sessions.process.retry import OutageLog, Pauses, retry
from sessions.process.tasks import TaskWatcher, log_failure

log = logging.getLogger(__name__)

# Seconds without a ping or a message of Slack after which a connection is dead. Slack pings every
# few seconds; its own libraries give up after as long.
SILENCE: Final = 30.0
# Seconds that a connection may still be used after Slack has announced that it will close it.
_FAREWELL: Final = 30.0
# Seconds for which a message that is refused for now is tried again here. Slack sends what was not
# acknowledged again after a minute.
_PATIENCE: Final = 50.0
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 5.0
# Seconds between two tries to connect, growing, and after which the next failure is a new outage.
_AGAIN: Final = 1.0
_RARELY: Final = 15.0
_STEADY: Final = 10.0
# Seconds that a connection must have lived for the next one to be opened without a pause.
_SHORTEST: Final = 1.0
# Connections of one app that are well: ours, and the one that it replaces.
_USUAL: Final = 2
# Why Slack closes a connection that is well: another one shall replace it.
_REPLACED: Final = frozenset({"warning", "refresh_requested"})


class SocketSource(Protocol):
    """A channel, as far as Socket Mode needs it."""

    @property
    def alias(self) -> str:
        """Which one of its kind."""
        ...

    async def message_in(self, payload: Mapping[str, Any]) -> ChannelMessage | None:
        """The message in an event; None if there is none for us. Raises Unreadable."""
        ...

    def count(self, trouble: ChannelFailure) -> None:
        """Count what went wrong with an event."""
        ...


class SocketMode:
    """The connections of one app, one after the other."""

    def __init__(self, api: SlackApi, app_token: str, lease: ChannelLease) -> None:
        self._api = api
        self._app_token = app_token
        self._lease = lease

    async def listen(self, source: SocketSource, take: Take) -> None:
        """Take messages for ever while the lease is ours; whatever fails is tried again.

        Raises RedisRefused: a person must change what Redis permits.
        """
        outage = OutageLog(log, "slack.%s has no connection now: %s", source.alias)

        async def work() -> None:
            await self._connect_on(source, take, outage)

        await retry(
            lambda: while_held(self._lease, work),
            on=(Retryable, Undeliverable),
            pauses=Pauses(_AGAIN, _RARELY, settled=_STEADY, heeded=True),
            # No limit: without a connection nothing comes at all, and a token may be put right.
            patience=None,
            report=outage.failed,
        )

    async def _connect_on(self, source: SocketSource, take: Take, outage: OutageLog) -> NoReturn:
        """One connection after the other; the next one opens before Slack closes the last."""
        loop = asyncio.get_running_loop()
        async with TaskWatcher(log_failure) as links:
            while True:
                began = loop.time()
                socket = await self._api.connect(await self._api.socket_url(self._app_token))
                link = SocketLink(socket, source, take)
                links.start(link.run(), f"connection of slack.{source.alias}")
                await asyncio.wait([link.replaced], timeout=_STEADY)
                if not link.replaced.done():
                    outage.over()
                await link.replaced
                if loop.time() - began < _SHORTEST:
                    raise Retryable("Slack closes connections at once")


class SocketLink:
    """One connection. `replaced` is done when the next one is due, or raises why it broke."""

    def __init__(self, socket: ClientWebSocketResponse, source: SocketSource, take: Take) -> None:
        self.replaced: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._socket = socket
        self._source = source
        self._take = take
        self._last: dict[tuple[str | None, ...], asyncio.Task[None]] = {}
        self._dead_at = self._now() + SILENCE

    async def run(self) -> None:
        """Read until the connection ends, or is of no more use."""
        try:
            async with TaskWatcher(log_failure) as tasks:
                await self._read(tasks)
        except (Retryable, RedisRefused) as error:
            self._fail(error)
        except ConnectionError:
            self._fail(Retryable("the connection broke"))
        finally:
            self._fail(Retryable("the connection ended"))
            await self._socket.close()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def _read(self, tasks: TaskWatcher) -> None:
        while True:
            try:
                async with asyncio.timeout_at(self._dead_at):
                    message = await self._socket.receive()
            except TimeoutError:
                raise Retryable("Slack is silent") from None
            if not self.replaced.done():
                self._dead_at = self._now() + SILENCE
            if message.type is WSMsgType.TEXT:
                await self._read_text(str(message.data), tasks)
            elif message.type is WSMsgType.PING:
                await self._socket.pong(cast("bytes", message.data))
            else:
                raise Retryable(f"Slack closed the connection ({message.type.name})")

    async def _read_text(self, text: str, tasks: TaskWatcher) -> None:
        envelope = _envelope_of(text)
        match envelope.get("type"):
            case "hello":
                self._greet(envelope)
            case "disconnect":
                self._part(str(envelope.get("reason")))
            case "events_api":
                await self._read_event(envelope, tasks)
            case _:
                # Commands and buttons of the app, which nobody here handles.
                await self._acknowledge(envelope)

    def _greet(self, envelope: Mapping[str, Any]) -> None:
        connections = envelope.get("num_connections")
        if isinstance(connections, int) and connections > _USUAL:
            log.warning(
                "slack.%s: %d connections are open for this app; Slack gives each message to one "
                "of them only, so no other program may use its app token",
                self._source.alias,
                connections,
            )

    def _part(self, reason: str) -> None:
        """Slack is about to close this connection."""
        if reason not in _REPLACED:
            raise Retryable(f"Slack closes the connection: {reason[:40]}")
        if not self.replaced.done():
            self.replaced.set_result(None)
            self._dead_at = self._now() + _FAREWELL

    async def _read_event(self, envelope: Mapping[str, Any], tasks: TaskWatcher) -> None:
        try:
            incoming = await self._source.message_in(_table(envelope.get("payload")))
        except Unreadable as error:
            self._source.count(ChannelFailure.UNREADABLE)
            log.warning("slack.%s: an event is skipped: %s", self._source.alias, error)
            incoming = None
        if incoming is None:
            await self._acknowledge(envelope)
            return
        place = _place_of(incoming)
        before = self._last.get(place)
        task = tasks.start(self._accept(incoming, envelope, before), "message of Slack")
        self._last[place] = task
        task.add_done_callback(lambda done: self._forget(place, done))

    def _forget(self, place: tuple[str | None, ...], task: asyncio.Task[None]) -> None:
        if self._last.get(place) is task:
            del self._last[place]

    async def _accept(
        self,
        incoming: ChannelMessage,
        envelope: Mapping[str, Any],
        before: asyncio.Task[None] | None,
    ) -> None:
        """Take the message after the one before it, and acknowledge it."""
        if before is not None:
            await asyncio.wait([before])
        try:
            await self._insist(lambda: self._take(incoming))
        except InvalidEvent as error:
            self._source.count(ChannelFailure.LEFT_OUT)
            log.warning("slack.%s: a message is left out: %s", self._source.alias, error)
        except Retryable as error:
            # Slack sends it again.
            log.warning("slack.%s: a message is refused: %s", self._source.alias, error)
            return
        except RedisRefused as error:
            self._fail(error)
            return
        await self._acknowledge(envelope)

    async def _insist(self, take: Callable[[], Awaitable[None]]) -> None:
        await retry(
            take,
            on=Retryable,
            pauses=Pauses(_FIRST_PAUSE, _LONGEST_PAUSE, heeded=True),
            patience=_PATIENCE,
        )

    async def _acknowledge(self, envelope: Mapping[str, Any]) -> None:
        id = envelope.get("envelope_id")
        if not isinstance(id, str):
            return
        try:
            await self._socket.send_str(json.dumps({"envelope_id": id}))
        except ConnectionError:
            # Slack sends it again by another connection, and its id is known then.
            log.debug("slack.%s: an envelope could not be acknowledged", self._source.alias)

    def _fail(self, error: Exception) -> None:
        if not self.replaced.done():
            self.replaced.set_exception(error)
            # Nobody waits for it any more if the channel has ended.
            self.replaced.exception()


def _envelope_of(text: str) -> Mapping[str, Any]:
    try:
        return _table(json.loads(text))
    except (ValueError, RecursionError):
        return {}


def _place_of(incoming: ChannelMessage) -> tuple[str | None, ...]:
    """What tells sessions apart."""
    if incoming.by_room:
        return (incoming.target,)
    return (incoming.target, incoming.thread, incoming.sender)


def _table(found: object) -> Mapping[str, Any]:
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}
