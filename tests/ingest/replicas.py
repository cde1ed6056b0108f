"""Replicas of ingest in one test: each with lanes, turns and agents of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

import api.app
from ingest.agents.base import Agent, Progress, Reply
from ingest.app import client_within
from ingest.ids import new_id
from ingest.prompt import PromptMessage
from ingest.reads import ApiReads
from ingest.turns.live import LiveTurn, TurnEnd
from ingest.turns.liveness import keeping
from ingest.turns.queue import Delivery, TurnQueue
from ingest.turns.runner import TurnRunner
from sessions import times
from sessions.access.tokens import ensure_admin_token
from sessions.models import Message
from sessions.process.settings import Settings
from sessions.stream.lanes.inbound import Inbound
from sessions.stream.lanes.lanes import Lanes
from sessions.stream.redis import connect

# Seconds. Quick enough for a test, slow enough for a busy machine.
BEAT: Final = 0.05
DEAD_AFTER: Final = 0.6

Answer = Callable[[str, Sequence[PromptMessage], Progress], Awaitable[Reply]]


@dataclass
class ScriptedAgent:
    """Answers as the test says; remembers what it was asked. Echoes unless told otherwise."""

    script: Answer | None = None
    asked: list[str] = field(default_factory=list)
    provider: str = "script"
    model: str | None = None

    async def answer(
        self, session: str, lines: Sequence[PromptMessage], progress: Progress
    ) -> Reply:
        self.asked.append(lines[-1].written)
        if self.script is not None:
            return await self.script(session, lines, progress)
        return Reply(f"re: {lines[-1].written}")


class HeldScript:
    """An agent's script that waits until the test opens it."""

    def __init__(self) -> None:
        self.waiting = 0
        self._open = asyncio.Event()

    def open(self) -> None:
        self._open.set()

    async def __call__(
        self, session: str, lines: Sequence[PromptMessage], progress: Progress
    ) -> Reply:
        self.waiting += 1
        await self._open.wait()
        return Reply(f"re: {lines[-1].written}")


@dataclass
class Replica:
    """One replica: its queue, and a way to let it die as SIGKILL would."""

    queue: TurnQueue
    lanes: Lanes
    agent: ScriptedAgent
    _keeper: AsyncExitStack

    async def freeze(self) -> None:
        """Stop beating, sweeping and listening; whatever its turns do goes on."""
        await self._keeper.aclose()

    async def thaw(self) -> None:
        await self._keeper.enter_async_context(
            keeping(self.queue, beat=BEAT, look=BEAT, dead_after=DEAD_AFTER)
        )


@dataclass
class ReplicaFleet:
    """The api and any number of replicas on one store and one stream."""

    settings: Settings
    api: httpx.AsyncClient
    stack: AsyncExitStack

    @classmethod
    @asynccontextmanager
    async def of(cls, settings: Settings) -> AsyncIterator[ReplicaFleet]:
        token = ensure_admin_token(settings.workspace)
        async with (
            api.app.opened(settings) as app,
            client_within(app, token) as client,
            AsyncExitStack() as stack,
        ):
            yield cls(settings, client, stack)

    async def replica(
        self,
        script: Answer | None = None,
        *,
        delivery: Delivery | None = None,
        wait: float = 30.0,
        limit: float = 30.0,
        agents: dict[str, Agent] | None = None,
    ) -> Replica:
        url = self.settings.redis_url
        assert url is not None
        redis = await self.stack.enter_async_context(aclosing(connect(url)))
        lanes = Lanes(redis, url=url, prefix=self.settings.turnstream.prefix)
        agent = ScriptedAgent(script)
        runner = TurnRunner(lanes, ApiReads(self.api), agents or {"main": agent}, timeout=limit)
        queue = TurnQueue(lanes, runner, delivery, patience=wait, stop_grace=0.2)
        await self.stack.enter_async_context(queue)
        replica = Replica(
            queue, lanes, agent, await self.stack.enter_async_context(AsyncExitStack())
        )
        await replica.thaw()
        return replica

    async def messages(self, session: str = "s") -> list[tuple[str, str]]:
        """The stored messages as (role, content), oldest first, with all that was published."""
        rows = await self.rows(session)
        return [(row["role"], row["content"]) for row in rows]

    async def rows(self, session: str = "s") -> list[dict[str, str]]:
        answer = await self.api.post(
            "/api/tools/sessions_history", json={"session_id": session, "limit": 1000}
        )
        return answer.json()["data"]["messages"]

    async def state(self, session: str = "s") -> str:
        return (await self.api.get(f"/api/sessions/{session}/state")).json()["state"]


def message(text: str, *, session: str = "s", id: str | None = None, **more: Any) -> Inbound:
    return Inbound(id or new_id(), session, text, "main", times.now(), **more)


async def say(replica: Replica, text: str, *, attended: bool = True, **more: Any) -> LiveTurn:
    """Accept a message there; its turn is not waited for."""
    return await replica.queue.accept(message(text, **more), attended=attended)


async def ended(turn: LiveTurn) -> TurnEnd:
    async with asyncio.timeout(20):
        return await turn.end


__all__ = [
    "DEAD_AFTER",
    "HeldScript",
    "Message",
    "Replica",
    "ReplicaFleet",
    "ended",
    "message",
    "say",
]
