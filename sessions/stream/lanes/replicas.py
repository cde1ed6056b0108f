"""The replicas that share the lanes: who lives, and what became of those that do not."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Collection, Mapping
from typing import Any, Final, cast

from sessions.errors import DeclaredDead
from sessions.stream.lanes.scripts import DEAD, PATIENCE, LaneScripts, to_hold, to_text
from sessions.stream.lanes.values import Hold, Pulse, Signal, Sweep
from sessions.stream.redis import ERRORS, explain

# Seconds that the listener for signals waits before it looks whether it shall go on.
_LISTEN: Final = 1.0


class Replicas:
    """The replicas of one prefix, as one of them sees them. Safe for concurrent use in one loop."""

    def __init__(self, scripts: LaneScripts) -> None:
        self._scripts = scripts

    @property
    def name(self) -> str:
        """The name of this replica now, "" before it has one."""
        return self._scripts.replica

    async def register(self, *, patience: float = PATIENCE) -> None:
        """Show this replica to the others, each time under a new name; before anything else."""
        self._scripts.replica = uuid.uuid4().hex
        await self._scripts.execute("HSETNX", self._beats_key, self.name, 0, patience=patience)

    async def unregister(self) -> None:
        """Leave: what still waits here is taken over at the others' next sweep. Tried once."""
        await self._scripts.execute("HDEL", self._beats_key, self.name, patience=0)

    async def beat(self, holds: Collection[Hold], waiting: Collection[str]) -> Pulse:
        """Show that this replica lives, and learn what changed for its lanes.

        Tried once: the next beat follows anyway. Raises DeclaredDead where the others gave this
        replica up; then every hold is lost.
        """
        pairs = [part for hold in holds for part in (hold.lane, hold.token)]
        word, *rest = await self._scripts.run("beat", len(holds), *pairs, *waiting, patience=0)
        if word == b"declared_dead":
            raise DeclaredDead(DEAD)
        return Pulse(*(frozenset(map(to_text, found)) for found in rest))

    async def beats(self) -> dict[str, int]:
        """Every replica's heartbeat. Tried once."""
        found = await self._scripts.execute("HGETALL", self._beats_key, patience=0)
        return {replica.decode(): int(count) for replica, count in found.items()}

    async def sweep(self, dead: Mapping[str, int]) -> Sweep:
        """Take over all lanes of these replicas, and of those that nobody knows.

        `dead` maps each to the beat at which it stood still; one that has beaten since is left
        alone, and of several sweepers one gets a lane. Tried once.
        """
        pairs = [part for pair in dead.items() for part in pair]
        taken, held, due, former, woken = await self._scripts.run("sweep", *pairs, patience=0)
        return Sweep(
            [to_hold(item) for item in taken],
            [to_hold(item) for item in held],
            [(to_text(lane), message.decode()) for lane, message in due],
            frozenset(map(to_text, former)),
            [to_hold(item) for item in woken],
        )

    async def signals(self) -> AsyncGenerator[Signal | None]:
        """Hints of the other replicas as they come, None at least every second without one.

        A hint can get lost, so nothing may depend on one: beats say the same, later. Raises
        StreamUnavailable where the connection breaks.
        """
        pubsub = cast("Any", self._scripts.redis).pubsub(ignore_subscribe_messages=True)
        try:
            await pubsub.subscribe(f"{self._scripts.prefix}lane_hints")
            while True:
                found = await pubsub.get_message(timeout=_LISTEN)
                yield _signal(found["data"]) if found else None
        except ERRORS as error:
            raise explain(error, self._scripts.url) from error
        finally:
            await pubsub.aclose()

    @property
    def _beats_key(self) -> str:
        return f"{self._scripts.prefix}lane_beats"


def _signal(data: bytes) -> Signal:
    word, _, lane = to_text(data).partition(" ")
    return Signal(word, lane)
