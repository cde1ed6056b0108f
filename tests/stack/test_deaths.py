"""Kills of every service, cut networks, a hang: everything returns, and nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from collections.abc import AsyncIterator
from typing import Any, Final

import httpx

from harness.waiting import wait_until
from tests.stack.stack import Stack
from tests.stack.traffic import Talk

# Seconds of traffic and deaths in it; TURNSTREAM_STACK_SECONDS=60 for a short look.
_SECONDS: Final = float(os.environ.get("TURNSTREAM_STACK_SECONDS", "600"))
_KILLS: Final = max(4, round(_SECONDS / 30))
_VICTIMS: Final = ("proxy", "redis", "worker", "api", "ingest")
# Seconds for which an event may be refused: what was killed is back by then.
_REFUSED_AT_MOST: Final = 10.0
# Seconds for a chat's answer: the others take a dead replica's turn over after 10 s of silence.
_ANSWERED_WITHIN: Final = 20.0
# Seconds for a killed container to be healthy again: Docker waits longer after each quick death.
_RETURN: Final = 90.0
_PUBLISHERS: Final = 6
_CHATS: Final = 4
_PAGE: Final = 1000


@contextlib.asynccontextmanager
async def talking(stack: Stack) -> AsyncIterator[Talk]:
    """Traffic through the port meanwhile; behind the block all of it was taken."""
    talk = Talk(stack.url, stack.token())
    mark = f"{time.time():.0f}"
    async with asyncio.TaskGroup() as group:
        for number in range(_PUBLISHERS):
            group.create_task(talk.publish(f"p{mark}.{number}"))
        for number in range(_CHATS):
            group.create_task(talk.chat(f"c{mark}-{number}"))
        try:
            yield talk
        finally:
            talk.over.set()


async def history(admin: httpx.AsyncClient, session: str) -> list[dict[str, Any]]:
    """A whole session, oldest first, as soon as it can be read."""
    rows: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        query = {"limit": _PAGE, **({"cursor": cursor} if cursor else {})}

        async def page(query: dict[str, Any] = query) -> dict[str, Any] | None:
            found = await admin.get(f"/api/sessions/{session}/messages", params=query)
            return found.json() if found.is_success else None

        found = await wait_until(page, f"{session} can be read", within=60)
        assert found is not None
        rows = [*found["messages"], *rows]
        cursor = found.get("next_cursor")
        if cursor is None:
            return rows


async def check(talk: Talk, admin: httpx.AsyncClient) -> None:
    """Everything that was said is stored once and in its order, and each message was answered."""
    for session, said in talk.said.items():
        rows = await history(admin, session)
        users = [row["content"] for row in rows if row["role"] == "user"]
        assert users == said, session
        if session.startswith("gw_"):
            roles = [row["role"] for row in rows]
            assert roles == ["user", "assistant"] * len(said), session


async def all_healthy(stack: Stack, count: int) -> bool:
    names = await asyncio.to_thread(stack.containers)
    states = [await asyncio.to_thread(stack.health, name) for name in names]
    return len(names) == count and set(states) == {"healthy"}


async def test_kills_of_every_service_lose_double_and_reorder_nothing(
    stack: Stack, admin: httpx.AsyncClient
):
    seed = random.randrange(10**6)
    choice = random.Random(seed)
    count = len(stack.containers())
    away: list[tuple[float, float]] = []  # Redis
    async with talking(stack) as talk:
        for number in range(_KILLS):
            began = time.monotonic()
            service = _VICTIMS[number % len(_VICTIMS)]
            victim = choice.choice(await asyncio.to_thread(stack.containers, service))
            await asyncio.to_thread(stack.kill, victim)
            await wait_until(lambda: all_healthy(stack, count), victim, within=_RETURN, pause=1)
            if service == "redis":
                away.append((began, time.monotonic()))
            left = _SECONDS / _KILLS - (time.monotonic() - began)
            await asyncio.sleep(max(0.0, left * choice.uniform(0.5, 1.0)))
    await check(talk, admin)
    for waits, most in ((talk.taken, _REFUSED_AT_MOST), (talk.answered, _ANSWERED_WITHIN)):
        long = [took for began, took in waits if took > most and not _overlaps(began, took, away)]
        assert not long, f"seed {seed}: {long} s, and {most:g} s are allowed"


def _overlaps(began: float, took: float, spans: list[tuple[float, float]]) -> bool:
    return any(began < end and start < began + took for start, end in spans)


async def test_cut_networks_lose_nothing(stack: Stack, admin: httpx.AsyncClient):
    async with talking(stack) as talk:
        for service, network in (
            ("ingest", "front"),
            ("ingest", "store"),
            ("api", "front"),
            ("api", "store"),
            ("worker", "store"),
            ("redis", "store"),
        ):
            victim = stack.containers(service)[0]
            with stack.cut_off(victim, network):
                await asyncio.sleep(8)
            await asyncio.sleep(4)
    await check(talk, admin)
    count = len(stack.containers())
    await wait_until(lambda: all_healthy(stack, count), "all healthy", within=_RETURN, pause=1)


async def test_a_worker_that_hangs_is_unhealthy_and_a_standby_is_not(stack: Stack):
    hung, other = stack.containers("worker")
    stack.run_in(hung, "python", "-c", _STOP_ALL)
    try:
        await wait_until(lambda: stack.health(hung) == "unhealthy", within=90, pause=1)
        assert stack.health(other) == "healthy"
    finally:
        stack.kill(hung)
    await wait_until(lambda: stack.health(hung) == "healthy", within=_RETURN, pause=1)


# The supervisor first, which would kill the worker that it sees hang.
_STOP_ALL: Final = """
import os, signal
me = {os.getpid(), os.getppid(), 1}
for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
    if pid not in me:
        os.kill(pid, signal.SIGSTOP)
"""


async def test_a_missing_token_makes_ingest_not_ready_and_says_so_and_is_picked_up(stack: Stack):
    ingest = stack.containers("ingest")[0]
    worker = stack.containers("worker")[0]
    started, count = stack.inspect(ingest)["State"]["StartedAt"], len(stack.containers())
    away = "/secrets/ingest/token.away"
    stack.run_in(worker, "mv", "/secrets/ingest/token", away)
    try:
        await wait_until(lambda: stack.health(ingest) == "unhealthy", within=90, pause=1)
        told = stack.logs("ingest")
        assert any("there is no token in" in line for lines in told.values() for line in lines)
    finally:
        stack.compose("restart", "worker")
    await wait_until(lambda: all_healthy(stack, count), "all healthy", within=_RETURN, pause=1)
    assert stack.inspect(ingest)["State"]["StartedAt"] == started
    stack.run_in(stack.containers("worker")[0], "rm", away)
