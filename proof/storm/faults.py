"""What happens to the system while messages come, and how long its sessions suffer from it."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from harness.waiting import Stuck, wait_until
from proof.storm.external import ExternalServers
from proof.storm.journal import Journal
from proof.storm.lane_probe import LaneView
from proof.storm.system import StormSystem

# Seconds that a frozen replica stays so, and that Redis stays away.
FROZEN: Final = 30.0
AWAY: Final = 20.0
# Seconds in which no platform takes a reply: longer than the first tries and some pauses.
PLATFORMS_AWAY: Final = 15.0
# Seconds within which parked replies must be sent when they are back, which is longer than any
# pause that a channel has then; and how many are sent before a sender is killed.
_SENT_WITHIN: Final = 60.0
_SENT_BEFORE: Final = 3
_QUICK_LOOK: Final = 0.01
# Seconds in which every living replica beats, on a busy machine too.
_BEATS: Final = 8
# Seconds between two looks at the sessions of a dead replica, and for which they are looked at.
_LOOK: Final = 0.1
_LOOK_FOR: Final = 40.0


@dataclass
class Casualty:
    """A session that suffers from the death of a replica, which had `waiting` messages in it.

    `turn` is the one that the replica ran, `opened` whether its message was published. In seconds
    from the death: `free` is when the lane was not the dead one's any more, `closed` when the
    store showed the turn's end, `asked` when the agent had the next message, None where none was
    waiting. The last one depends on how busy the machine is, as for every other session.
    """

    session: str
    turn: str | None
    opened: bool
    waiting: tuple[str, ...]
    followed: bool
    free: float = 0.0
    closed: float | None = None
    asked: float | None = None

    @property
    def usable(self) -> float:
        """Seconds until the session was as good as any other."""
        closed = _LOOK_FOR if self.closed is None else self.closed
        return max(self.free, closed) if self.opened else self.free


@dataclass
class Death:
    """A replica that died, or that the others must take for dead; by a monotonic clock."""

    at: float
    replica: str
    casualties: list[Casualty]
    # The turns whose replies were parked then: their sender may have died.
    parked: frozenset[str] = frozenset()

    def count_in_agent(self, journal: Journal) -> None:
        """Once all is over: when the agent was asked again where something waited."""
        for casualty in self.casualties:
            runs = [run.at - self.at for run in journal.runs_of(casualty.session)]
            if casualty.followed:
                casualty.asked = next((at for at in runs if at > casualty.usable), None)


async def kill(system: StormSystem, name: str) -> Death:
    """SIGKILL to a replica; returns when its sessions are usable. It is started again at once."""
    system.send(name, signal.SIGKILL)
    return await _suffer(system)


async def freeze(system: StormSystem, name: str) -> Death:
    """SIGSTOP to a replica, and SIGCONT when the others have long gone on without it."""
    pid = system.children.pids[name]
    system.send(name, signal.SIGSTOP)
    try:
        began = time.monotonic()
        death = await _suffer(system)
        await asyncio.sleep(began + FROZEN - time.monotonic())
    finally:
        system.send(name, signal.SIGCONT)
    if system.children.pids.get(name) != pid:
        raise Stuck(f"{name} ended while it was frozen")
    return death


async def send_redis_away(system: StormSystem) -> float:
    """End Redis, and start it again after a while; when it was back."""
    await system.children.end("redis")
    await asyncio.sleep(AWAY)
    await system.start_redis()
    return time.monotonic()


@dataclass(frozen=True)
class PlatformOutage:
    """The platforms took no replies; by a monotonic clock."""

    began: float
    over: float


async def send_platforms_away(
    system: StormSystem, outside: ExternalServers, journal: Journal
) -> PlatformOutage:
    """Have no reply taken for a while; returns when parked ones are being sent."""
    began, outside.away = time.monotonic(), True
    try:
        while time.monotonic() - began < PLATFORMS_AWAY:
            await asyncio.sleep(_LOOK)
            journal.parked |= await system.replies.kept()
    finally:
        outside.away = False
    outage = PlatformOutage(began, time.monotonic())
    journal.parked |= await system.replies.kept()
    if journal.parked:
        wanted = min(_SENT_BEFORE, len(journal.parked))
        await wait_until(
            lambda: journal.arrived(journal.parked) >= wanted,
            "parked replies are sent",
            within=_SENT_WITHIN,
            pause=_QUICK_LOOK,
        )
    return outage


async def _suffer(system: StormSystem) -> Death:
    at = time.monotonic()
    parked = frozenset(await system.replies.kept())
    lanes, beats = await system.lanes.lanes(), await system.lanes.beats()
    dead = await _find_dead(system, beats)
    death = Death(at, dead, [*_casualties(lanes, dead)], parked)
    await _watch(system, death)
    return death


async def _find_dead(system: StormSystem, before: dict[str, int]) -> str:
    """The one replica that beats no more."""
    silent = [*before]
    for _ in range(_BEATS):
        await asyncio.sleep(1.0)
        after = await system.lanes.beats()
        silent = [replica for replica in silent if after.get(replica) == before[replica]]
        if len(silent) < 2:
            break
    if len(silent) != 1:
        raise Stuck(f"{len(silent)} replicas stood still after the death of one")
    return silent[0]


def _casualties(lanes: dict[str, LaneView], dead: str) -> Iterable[Casualty]:
    for session, lane in lanes.items():
        if not lane.concerns(dead):
            continue
        held = lane.holder == dead
        turn = lane.queue[0][0] if held else None
        waiting = tuple(id for id, owner in lane.queue[1 if held else 0 :] if owner == dead)
        followed = held and len(lane.queue) > 1
        yield Casualty(session, turn, held and lane.stage == "opened", waiting, followed)


async def _watch(system: StormSystem, death: Death) -> None:
    """Note when each session was free of the dead replica, and its turn closed."""
    sessions = {casualty.session: casualty for casualty in death.casualties}
    open_turns = {casualty.turn: casualty for casualty in death.casualties if casualty.opened}
    while time.monotonic() - death.at < _LOOK_FOR:
        lanes = await system.lanes.lanes([*sessions])
        now = time.monotonic() - death.at
        for session, lane in lanes.items():
            if lane.is_stuck_with(death.replica):
                sessions[session].free = now
        for turn in system.store.known(f"{turn}:reply" for turn in open_turns):
            open_turns.pop(turn.removesuffix(":reply")).closed = now
        if death.replica not in await system.lanes.beats() and not open_turns:
            return
        await asyncio.sleep(_LOOK)
