"""The ways by which events reach the stream: our client, the web process, and a bare XADD."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, asynccontextmanager
from http import HTTPStatus
from typing import Any, Final, Protocol

import httpx

from proof.history import Step
from sessions import wire
from sessions.errors import InvalidEvent, Retryable
from sessions.models import Position
from sessions.stream.redis import ERRORS, RedisClient, connect
from sessions.stream.turns import TurnStream

PREFIX: Final = "turnstream:"
# Answers of the web process after which nothing was published.
_REFUSALS: Final = frozenset({400, 413, 422})


class PublishRefused(Exception):
    """The events were certainly not taken, and never will be."""


class PublishUnconfirmed(Exception):
    """Nobody knows whether the events were taken; sending them again is safe."""


class EntryPoint(Protocol):
    """One way to publish."""

    atomic: bool
    """Whether all events of a call are taken or none, and each is checked."""

    async def publish(self, steps: Sequence[Step]) -> list[str]:
        """Publish; the stream ids. Raises PublishRefused or PublishUnconfirmed."""
        ...

    async def shows(self, event_id: str) -> bool | None:
        """Whether a fresh read shows a confirmed event; None where there is no answer."""
        ...


class ClientEntryPoint:
    """`TurnStream.publish`, as our own services use it."""

    atomic = True

    def __init__(self, stream: TurnStream) -> None:
        self._stream = stream

    @classmethod
    @asynccontextmanager
    async def opened(cls, url: str) -> AsyncGenerator[EntryPoint]:
        """The entry point, with its own connections."""
        async with aclosing(connect(url)) as redis:
            yield cls(TurnStream(redis, url=url, prefix=PREFIX))

    async def publish(self, steps: Sequence[Step]) -> list[str]:
        """Publish in one transaction of Redis."""
        try:
            events = [wire.parse(step.fields) for step in steps]
            positions = await self._stream.publish(events, patience=2.0)
        except InvalidEvent as error:
            raise PublishRefused(str(error)) from error
        except Retryable as error:
            # Full counts as unknown too: the try before it may have been executed.
            raise PublishUnconfirmed(str(error)) from error
        return [str(position.stream_id) for position in positions]

    async def shows(self, event_id: str) -> bool | None:
        """Nothing is read here."""
        return None


class XaddEntryPoint:
    """XADD as any program spells it, in a pipeline without a transaction."""

    atomic = False

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis

    @classmethod
    @asynccontextmanager
    async def opened(cls, url: str) -> AsyncGenerator[EntryPoint]:
        """The entry point, with its own connections."""
        async with aclosing(connect(url)) as redis:
            yield cls(redis)

    async def publish(self, steps: Sequence[Step]) -> list[str]:
        """Publish; some of the events may be taken and others not."""
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                for step in steps:
                    pipe.execute_command("XADD", f"{PREFIX}turns", "*", *_raw(step))
                return [reply.decode() for reply in await pipe.execute()]
        except ERRORS as error:
            raise PublishUnconfirmed(str(error)) from error

    async def shows(self, event_id: str) -> bool | None:
        """Nothing is read here."""
        return None


class HttpEntryPoint:
    """`POST /api/events`."""

    atomic = True

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    @classmethod
    @asynccontextmanager
    async def opened(cls, url: str, token: str) -> AsyncGenerator[EntryPoint]:
        """The entry point, with its own connections."""
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=15.0) as client:
            yield cls(client)

    async def publish(self, steps: Sequence[Step]) -> list[str]:
        """Publish in one request."""
        try:
            events = [step.fields for step in steps]
            response = await self._client.post("/api/events", json={"events": events})
        except httpx.HTTPError as error:
            raise PublishUnconfirmed(repr(error)) from error
        if response.status_code in _REFUSALS:
            raise PublishRefused(response.text)
        if response.status_code != HTTPStatus.ACCEPTED:
            raise PublishUnconfirmed(f"{response.status_code}: {response.text}")
        answer: dict[str, Any] = response.json()
        positions = [Position.parse(event["position"]) for event in answer["events"]]
        return [str(position.stream_id) for position in positions]

    async def shows(self, event_id: str) -> bool | None:
        """Ask for the event's outcome, without saying what to wait for."""
        try:
            response = await self._client.get(f"/api/outcomes/{event_id}")
        except httpx.HTTPError:
            return None
        answered = response.status_code in (HTTPStatus.OK, HTTPStatus.NOT_FOUND)
        return response.status_code == HTTPStatus.OK if answered else None


def _raw(step: Step) -> list[bytes]:
    """Names and values as bytes; what is not UTF-8 stands in the fields as lone surrogates."""
    return [part.encode(errors="surrogateescape") for pair in step.fields.items() for part in pair]
