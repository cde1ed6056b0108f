"""The same calls in two worlds that differ only in what another agent has, compared."""

from __future__ import annotations

import asyncio
import difflib
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest

from sessions.models import Event, EventType
from tests.security.answers import answers
from tests.security.cases import Aim, Case, Talk, make_case
from tests.security.scenes import WORDS, Pair, Spot, make_spot, scene
from tests.security.worlds import World, opened_world

# Keys that are set up together, and cases that aim at each of them.
SPOTS: Final = 40
CASES_PER_SPOT: Final = 12
# Whose things differ, and who calls: carl may send to bert, which then is no secret.
ROLES: Final = (("anna", "bert"), ("anna", "carl"), ("bert", "carl"), ("bert", "anna"))


class Leak(AssertionError):
    """Two answers differ, or something of the other agent's changed."""


@dataclass
class Tally:
    """How many cases were tried, by kind."""

    kinds: Counter[str] = field(default_factory=Counter[str])
    chats: int = 0
    races: int = 0

    @property
    def cases(self) -> int:
        """All of them."""
        return self.kinds.total()

    def add(self, case: Case, *, race: bool = False) -> None:
        """Count one."""
        self.kinds[case.kind] += 1
        self.chats += isinstance(case, Talk)
        self.races += race

    def report(self, node: pytest.Item) -> None:
        """Let the summary of the run add these (see conftest)."""
        node.user_properties.append(("security", {**self.kinds, "all": self.cases}))
        node.user_properties.append(("security", {"chats": self.chats, "races": self.races}))


@dataclass
class Twins:
    """Two worlds, and the agents of this run."""

    worlds: tuple[World, World]
    owner: str
    actor: str
    rng: Random
    tally: Tally

    def aim(self, spots: list[Spot], serial: Any) -> Aim:
        """What the next cases aim at."""
        neighbours = (self.owner, self.actor) == ("bert", "carl")
        return Aim(self.rng, self.actor, self.owner, spots, neighbours, serial)

    async def both(self, case: Case) -> None:
        """Make the call in both worlds; raises Leak if the answers differ."""
        try:
            first, second = await asyncio.gather(*(answers(world, case) for world in self.worlds))
        except (AssertionError, TimeoutError) as error:
            # Whatever the call waits for, in one of them it does not come.
            raise Leak(f"{case}\n{error!r}") from error
        if first != second:
            raise Leak(f"{case}\n{_difference(first, second)}")

    async def snapshots(self, spots: Sequence[Spot], taken: Sequence[set[str]]) -> list[Any]:
        """What an administrator sees of the owner's sessions, in each world."""
        (one, two), (first, second) = self.worlds, taken
        return [
            await _snapshot(one, spots, first, self.owner),
            await _snapshot(two, spots, second, self.owner),
        ]


async def _snapshot(
    world: World, spots: Sequence[Spot], taken: set[str], owner: str
) -> dict[str, Any]:
    listed = await world.admin("GET", "/api/sessions", params={"limit": 1000})
    rows = {row["session_key"]: row for row in listed["sessions"]}
    found: dict[str, Any] = {}
    for spot in spots:
        if spot.key in taken:
            asked = {"session_id": spot.key, "limit": 1000}
            history = await world.admin("POST", "/api/tools/sessions_history", json=asked)
            found[spot.key] = [rows.get(spot.key), history["data"], history["error"]]
        for id in (i for base in spot.ids for i in (base, f"{base}:reply")):
            path = f"/api/outcomes/{id}?consistency=any"
            found[id] = [await world.admin("GET", f"{path}{by}") for by in ("", f"&by={owner}")]
    return found


def _difference(first: Sequence[str], second: Sequence[str]) -> str:
    one, two = ("\n".join(each).splitlines() for each in (first, second))
    return "\n".join(difflib.unified_diff(one, two, "one world", "the other", lineterm="", n=1))


@asynccontextmanager
async def opened_twins(
    folder: Path, redis_url: str, rng: Random, roles: tuple[str, str], tally: Tally
) -> AsyncIterator[Twins]:
    """Two new worlds, in which the actor has some sessions of its own."""
    owner, actor = roles
    async with (
        opened_world(folder / "one", redis_url) as one,
        opened_world(folder / "two", redis_url) as two,
    ):
        for world in (one, two):
            await world.publish([*_own(actor)])
        yield Twins((one, two), owner, actor, rng, tally)


def _own(actor: str) -> list[Event]:
    return [
        Event(
            f"own-{number}:{at}",
            EventType.APPEND,
            f"own-{number}",
            role="user",
            content=word,
            agent=actor,
            by=actor,
        )
        for number in range(3)
        for at, word in enumerate(WORDS)
    ]


async def try_batch(twins: Twins, name: str, count: int, serial: Any) -> None:
    """Set up some keys, try `count` cases upon them, and look at what the owner has."""
    rng = twins.rng
    spots = [make_spot(rng, f"{name}x{n}", twins.owner, twins.actor) for n in range(SPOTS)]
    taken = (_taken(spots, first=True), _taken(spots, first=False))
    for first, world in zip((True, False), twins.worlds, strict=True):
        made = [e for spot in spots for e in scene(rng, spot, twins.owner, first=first)]
        await world.publish(made)
    before = await twins.snapshots(spots, taken)
    aim, tried = twins.aim(spots, serial), list[tuple[Spot, Case]]()
    for _ in range(count):
        spot, case = make_case(aim)
        tried.append((spot, case))
        twins.tally.add(case)
        try:
            await twins.both(case)
        except Leak as leak:
            raise Leak("\n".join([str(spot), *_aimed(tried, spot.key), str(leak)])) from None
    await _settle(twins, spots)
    check(before, await twins.snapshots(spots, taken), tried)


def _taken(spots: Sequence[Spot], *, first: bool) -> set[str]:
    return {s.key for s in spots if s.pair is Pair.TAKEN or (s.pair is Pair.EITHER and first)}


async def _settle(twins: Twins, spots: Sequence[Spot]) -> None:
    """Wait for the turns that lines at a terminal began."""
    keys = [spot.key for spot in spots if spot.claimable]
    for world in twins.worlds:
        await world.free(keys, twins.actor)


def check(before: Sequence[Any], after: Sequence[Any], tried: Sequence[tuple[Spot, Case]]) -> None:
    """Raises Leak if anything of the owner's changed; names the cases that aimed there."""
    for was, now in zip(before, after, strict=True):
        for name, value in was.items():
            if now[name] != value:
                changed = f"{name}: {value} became {now[name]}"
                raise Leak("\n".join([changed, *_aimed(tried, name)]))


def _aimed(tried: Sequence[tuple[Spot, Case]], name: str) -> list[str]:
    """The cases that aimed at a key, or at an id of its owner's."""
    return [str(case) for spot, case in tried if name in (spot.key, *spot.ids)]


__all__ = ["ROLES", "Leak", "Tally", "Twins", "opened_twins", "try_batch"]
