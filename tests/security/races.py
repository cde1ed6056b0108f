"""One agent acts while the other's turn runs, or while a session changes hands unseen."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from random import Random
from typing import Any, Final
from urllib.parse import quote

from harness.waiting import wait_until
from sessions.ids import new_id
from sessions.models import Event, EventType
from tests.security.answers import answers, plain
from tests.security.cases import Call, Case, Talk, make_case
from tests.security.differ import Leak, Twins
from tests.security.scenes import Pair, Spot, scene
from tests.security.sockets import Frame, Socket
from tests.security.worlds import HOLD, World

# Sessions in which the owner's turns run at a time.
RUNNING: Final = 8
# Sessions that change hands at a time.
MOVING: Final = 24


# -- while a turn runs ---------------------------------------------------------------------------


async def try_during_turns(twins: Twins, name: str, count: int, serial: Any) -> None:
    """The owner's turns run in one world; its sessions rest in the other."""
    spots = [Spot(f"gw_{name}x{n}", Pair.TAKEN, reserved=False) for n in range(RUNNING)]
    busy, resting = twins.worlds
    rest = [e for s in spots for e in scene(twins.rng, s, twins.owner, first=True)]
    await resting.publish(rest)
    busy.gate.clear()
    async with AsyncExitStack() as stack:
        turns = [await _started(busy, twins.owner, spot, stack) for spot in spots]
        listening = [await _listening(twins, spot, stack) for spot in spots]
        aim = twins.aim(spots, serial)
        for _ in range(count):
            _, case = make_case(aim)
            twins.tally.add(case, race=True)
            await twins.both(case)
        # They wait for the turns, whose end the gate keeps back.
        async with asyncio.TaskGroup() as posts:
            for spot in spots:
                posts.create_task(_post(busy, spot))
            busy.gate.set()
        for spot, turn in zip(spots, turns, strict=True):
            await _ended(busy, spot, turn)
        for pair in listening:
            await _compare_heard(pair)


async def _started(world: World, agent: str, spot: Spot, stack: AsyncExitStack) -> Socket:
    """A turn of the agent that waits for the gate."""
    socket = await stack.enter_async_context(world.chat(agent, spot.key.removeprefix("gw_")))
    assert (await socket.next())["type"] == "session_start"
    before = world.held
    await socket.send({"type": "message", "content": f"{HOLD} {spot.key}", "id": spot.ids[0]})
    await wait_until(lambda: world.held > before)
    return socket


async def _listening(twins: Twins, spot: Spot, stack: AsyncExitStack) -> tuple[Socket, Socket]:
    """The other agent's client that only listens there, in each world."""
    id = spot.key.removeprefix("gw_")
    first, second = [
        await stack.enter_async_context(world.chat(twins.actor, id)) for world in twins.worlds
    ]
    return first, second


async def _post(world: World, spot: Spot) -> None:
    body = {"content": "posted"}
    await world.admin("POST", f"/api/sessions/{quote(spot.key)}/messages", json=body)


async def _ended(world: World, spot: Spot, turn: Socket) -> None:
    """The turn ends as if nobody had looked at it; raises Leak otherwise."""
    frames = await turn.until_last()
    expected = f"{HOLD} {spot.key}"
    if frames[-1].get("full_response") != f"re: {expected}":
        raise Leak(f"the turn in {spot.key} ended so: {frames}")
    asked = {"session_id": spot.key, "limit": 100}
    history = await world.admin("POST", "/api/tools/sessions_history", json=asked)
    said = [message["content"] for message in history["data"]["messages"]]
    if said != [expected, f"re: {expected}", "posted"]:
        raise Leak(f"{spot.key} holds {said}")


async def _compare_heard(pair: tuple[Socket, Socket]) -> None:
    heard = [await _heard(socket) for socket in pair]
    if heard[0] != heard[1]:
        raise Leak(f"a client that listened heard {heard[0]} in one world and {heard[1]}")


async def _heard(socket: Socket) -> list[Frame]:
    await socket.send({"type": "connect"})
    return [json.loads(plain(json.dumps(frame))) for frame in await socket.until_last()]


# -- while a session changes hands ---------------------------------------------------------------


@dataclass(frozen=True)
class Move:
    """A session that the actor had, and what it does while it loses it."""

    spot: Spot
    case: Case
    # Whether the owner has a session there in both worlds, and not in one only.
    both: bool


async def try_changing_hands(twins: Twins, name: str, count: int) -> None:
    """The actor's sessions are deleted and made again by the owner while the worker is paused."""
    for start in range(0, count, MOVING):
        moves = [_move(twins, f"gw_{name}x{start + n}") for n in range(min(MOVING, count - start))]
        for world in twins.worlds:
            await world.publish([_append(m.spot.key, "mine", twins.actor) for m in moves])
            await world.admin("GET", "/api/sessions", params={"limit": 1})
        found = await asyncio.gather(
            *(_moved(twins, w, moves, all=n == 0) for n, w in enumerate(twins.worlds))
        )
        for move, first, second in zip(moves, *found, strict=True):
            twins.tally.add(move.case, race=True)
            if first != second:
                raise Leak(f"{move}\n{first}\n{second}")


def _append(key: str, content: str, agent: str, **more: str) -> Event:
    fields: dict[str, Any] = {"role": "user", "content": content, "agent": agent, **more}
    return Event(new_id(), EventType.APPEND, key, **fields)


def _move(twins: Twins, key: str) -> Move:
    spot = Spot(key, Pair.TAKEN, reserved=False)
    if twins.rng.random() < 0.2:
        query = f"agent={twins.actor}&session_id={key.removeprefix('gw_')}"
        frame = json.dumps({"type": "message", "content": "hello"})
        return Move(spot, Talk("chat while changing hands", query, (frame,), twins.actor), True)
    return Move(spot, _change(twins.rng, key, twins.actor), False)


def _change(rng: Random, key: str, actor: str) -> Call:
    """A change of a session that the store, as it is, still shows."""
    at, stale = f"/api/sessions/{key}", "?consistency=any"
    named = {"session_id": key}
    method, path, body = rng.choice(
        [
            ("POST", "/api/tools/sessions_send", {**named, "message": "late"}),
            ("POST", "/api/tools/sessions_reset", named),
            ("POST", "/api/tools/sessions_delete", named),
            ("POST", "/api/tools/sessions_rename", {**named, "name": "late"}),
            ("POST", f"{at}/messages", {"content": "late"}),
            ("PUT", at, {"name": "late"}),
            ("DELETE", at, None),
        ]
    )
    who = rng.choice([actor, f"admin as {actor}"])
    headers = {} if rng.random() < 0.5 else {"idempotency-key": f"late-{key}"}
    kind = f"{method} {path.replace(at, 'session')} while changing hands"
    text = None if body is None else json.dumps(body)
    return Call(kind, who, method, path + stale, headers, text)


async def _moved(twins: Twins, world: World, moves: Sequence[Move], *, all: bool) -> list[Any]:
    """What the actor is told; raises Leak if it reaches what the owner made."""
    await world.leading.pause()
    taken = [move for move in moves if all or move.both]
    await world.publish([Event(new_id(), EventType.DELETE, move.spot.key) for move in moves])
    made = [_append(m.spot.key, "the owner's", twins.owner, by=twins.owner) for m in taken]
    await world.publish(made)
    tasks = [asyncio.create_task(answers(world, move.case)) for move in moves]
    freshness = world.app.state.api.service.freshness
    await wait_until(lambda: freshness.waiting + sum(t.done() for t in tasks) >= len(tasks))
    await world.leading.resume()
    found = await asyncio.gather(*tasks)
    for move in taken:
        await _untouched(world, move, twins.owner)
    return found


async def _untouched(world: World, move: Move, owner: str) -> None:
    asked = {"session_id": move.spot.key, "limit": 100}
    history = await world.admin("POST", "/api/tools/sessions_history", json=asked)
    listed = await world.admin("GET", "/api/sessions", params={"agent": owner, "limit": 1000})
    [row] = [r for r in listed["sessions"] if r["session_key"] == move.spot.key] or [{}]
    said = [message["content"] for message in (history["data"] or {"messages": []})["messages"]]
    if said != ["the owner's"] or row.get("name") is not None:
        raise Leak(f"{move}\nleft {said} under the name {row.get('name')}")


__all__ = ["try_changing_hands", "try_during_turns"]
