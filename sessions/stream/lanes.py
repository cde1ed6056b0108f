"""Lanes: one turn at a time for each session and agent, over all replicas, in order of arrival.

A lane is a bounded list of messages in Redis, as durable as the stream. It belongs to a session and
an agent, so that what one agent sends to a session key takes no place of another agent's. The
replica that put a message there takes the lane when the message is first; the replicas watch each
other's heartbeats and take over what a dead one held or had waiting. Every hold has a fencing
token, and what is published in a turn goes through a script that compares it first: a lost lane
publishes nothing.

This file knows what Redis holds; who beats, sweeps and runs turns is the business of its users.
The keys are listed in lua/lane_common.lua. They exist only while a lane is in use.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import resources
from typing import Any, Final, NamedTuple, cast

from sessions import wire
from sessions.errors import DeclaredDead, LaneFull, LaneLost, LaneTimeout, StoreBehind
from sessions.models import Event, Position, StreamId
from sessions.stream.redis import ERRORS, RedisClient, Script, explain, patiently

# Messages in one lane, the one at work included: what upstream's gateway allows.
DEPTH: Final = 8
# Seconds that a call goes on while Redis is away, before its caller is told.
PATIENCE: Final = 8.0
# Seconds for which a heartbeat must have been seen unchanged until its replica counts as dead.
DEAD_AFTER: Final = 10.0
# Seconds that one look at the heartbeats can vouch for: a sweeper that was frozen itself between
# two looks has not seen anybody stand still.
_LONGEST_LOOK: Final = 2.0
# Seconds that an abort waits for its turn's end: as long as it takes to notice that the replica
# which ran it is dead, and to close the turn.
ABORT_PATIENCE: Final = 15.0
# Seconds between two looks whether the aborted turn has ended.
_ABORT_LOOK: Final = 0.02
# Entries of a backlog that are looked through for a session's own, some 5 ms of Redis.
_NEWEST_LOOKS: Final = 2000
# Seconds that the listener for signals waits before it looks whether it shall go on.
_LISTEN: Final = 1.0


# Stands for the byte 255, which no UTF-8 holds: no session key and no agent's name can imitate it.
_MARK: Final = "\udcff"


def lane_of(session: str, agent: str) -> str:
    """The name of an agent's lane in a session."""
    return f"{_MARK}{agent}{_MARK}{session}"


def former_lane_of(session: str) -> str:
    """The name that the session's lane had before lanes had agents. Its messages are still run."""
    return session


def session_of(lane: str) -> str:
    """The session of a lane, also of one with a former name."""
    return lane.rpartition(_MARK)[2]


class Stage(StrEnum):
    """How far a turn has come on the stream, which is what a takeover must know."""

    TAKEN = "taken"
    """Nothing of it was published."""
    OPENED = "opened"
    """Its user append was published."""
    ENDED = "ended"
    """Its end was published."""


@dataclass(frozen=True, slots=True)
class Hold:
    """A lane that this replica holds, for the message at work. `message` is the caller's text.

    `opened` is the entry of the user append, None before `Stage.OPENED`.
    """

    lane: str
    token: str
    id: str
    stage: Stage
    opened: StreamId | None
    message: str


class Place(NamedTuple):
    """Where an enqueued message is: at work here (`hold`), waiting, or known elsewhere.

    `waiting` counts the messages before it; `known` is true where another replica has the same
    message in the lane and will run it.
    """

    hold: Hold | None = None
    waiting: int = 0
    known: bool = False


class Withdrawal(NamedTuple):
    """What became of a withdrawn message; `next` is a hold that the withdrawal gave us."""

    done: bool
    running: bool
    next: Hold | None


@dataclass(frozen=True, slots=True)
class Pulse:
    """What a beat learned, as names of lanes: lost, to be aborted, free to take."""

    lost: frozenset[str]
    aborted: frozenset[str]
    free: frozenset[str]


class Sweep(NamedTuple):
    """What a sweep found: lanes taken over now, lanes that this replica held before, and the
    (lane, message id) of its own messages whose turn has come. `former` are the sessions whose
    lanes of an older version are still in use."""

    taken: list[Hold]
    held: list[Hold]
    due: list[tuple[str, str]]
    former: frozenset[str] = frozenset()


class Running(NamedTuple):
    """A turn at work. Its end is published under the id `{turn}:reply`."""

    turn: str
    token: str


class Signal(NamedTuple):
    """A hint from another replica: `free` (look at your waiting messages) or `abort`."""

    word: str
    lane: str


class Lanes:
    """The lanes of one prefix, as one replica sees them. Safe for concurrent use in one loop.

    Every method can be repeated: after a cut connection it says the same again. They raise
    StreamUnavailable where Redis is away for longer than PATIENCE, and StreamFull where it has no
    room for a message or an entry; moving, ending and freeing work in a full Redis too.
    """

    def __init__(
        self,
        redis: RedisClient,
        *,
        url: str,
        prefix: str,
        max_content: int = wire.DEFAULT_MAX_CONTENT,
    ) -> None:
        self.replica = ""
        self._redis = redis
        self._url = url
        self._prefix = prefix
        self.max_content = max_content
        self._scripts = {name: redis.register_script(_script(name)) for name in _NAMES}

    async def register(self, *, patience: float = PATIENCE) -> None:
        """Show this replica to the others, each time under a new name; before anything else."""
        self.replica = uuid.uuid4().hex
        await self._patiently(
            lambda: self._redis.execute_command("HSETNX", self._beats_key, self.replica, 0),
            patience=patience,
        )

    async def unregister(self) -> None:
        """Leave: what still waits here is taken over at the others' next sweep. Tried once."""
        await self._patiently(
            lambda: self._redis.execute_command("HDEL", self._beats_key, self.replica), patience=0
        )

    # -- messages ----------------------------------------------------------------------------

    async def enqueue(
        self,
        lane: str,
        id: str,
        message: str,
        *,
        depth: int = DEPTH,
        urgent: bool = False,
        former: str = "",
    ) -> Place:
        """Put a message at the end of the lane, once; take the lane if it is free.

        A message that is in the lane already stays where it is. With `urgent` the turn at work
        is asked to end, the first time that the message comes; `former` is the id that the same
        message has for a process of an older version. Raises LaneFull where `depth`
        messages are in the lane, DeclaredDead where the others gave this replica up: in both
        cases nothing was stored.
        """
        word, *rest = await self._run("enqueue", lane, id, message, depth, int(urgent), former)
        if word == b"stranger":
            raise DeclaredDead(_DEAD)
        if word == b"full":
            raise LaneFull(session_of(lane), rest[0])
        return _place(word, rest)

    async def take(self, lane: str, id: str) -> Place | None:
        """Take the lane if the message is first and the lane free; None where it is not there.

        Raises DeclaredDead where the others gave this replica up.
        """
        word, *rest = await self._run("take", lane, id)
        if word == b"stranger":
            raise DeclaredDead(_DEAD)
        return None if word == b"gone" else _place(word, rest)

    async def withdraw(self, lane: str, id: str) -> Withdrawal:
        """Take a waiting message back; `running` where its turn has begun, so that it stays."""
        word, *rest = await self._run("withdraw", lane, id)
        return Withdrawal(
            done=word == b"withdrawn",
            running=word == b"running",
            next=_hold(rest[0]) if rest else None,
        )

    async def waiting(self, hold: Hold) -> list[str]:
        """The messages behind the one at work, first come first; raises LaneLost."""
        word, *rest = await self._run("waiting", hold.lane, hold.token)
        if word == b"lost":
            raise LaneLost(_LOST.format(session=session_of(hold.lane)))
        return [message.decode() for message in rest[0]]

    # -- a turn ------------------------------------------------------------------------------

    async def publish(
        self, hold: Hold, events: Sequence[Event], *, stage: Stage, patience: float = PATIENCE
    ) -> list[Position]:
        """Put all events on the stream if the lane is still ours, and bring the turn to `stage`.

        Done once for each stage: a repetition answers with the first one's positions. Raises
        InvalidEvent as `TurnStream.publish` does, and LaneLost where nothing was published and
        nothing ever will be.
        """
        arguments: list[str | int] = []
        for event in events:
            fields = wire.encode(event)
            wire.parse(fields, max_content=self.max_content)
            arguments += [2 * len(fields), *(part for pair in fields.items() for part in pair)]
        epoch, *rest = await self._run(
            *("publish", hold.lane, hold.token, stage),
            *(f"{self._prefix}turns", f"{self._prefix}store", *arguments),
            patience=patience,
        )
        if epoch == b"lost":
            raise LaneLost(_LOST.format(session=session_of(hold.lane)))
        return [
            Position(int(epoch), StreamId.parse(entry), event.id)
            for entry, event in zip(rest[0], events, strict=True)
        ]

    async def finish(self, hold: Hold) -> Hold | None:
        """End the turn and let the lane go on; what this replica holds next, if anything.

        Nothing happens where the lane is not ours any more.
        """
        word, *rest = await self._run("finish", hold.lane, hold.token)
        return _hold(rest[0]) if word == b"free" else None

    async def contains(self, lane: str, id: str) -> bool:
        """Whether a message is in the lane, at work or waiting."""
        key = _bytes(f"{self._prefix}lane:{lane}")
        return bool(
            await self._patiently(lambda: self._redis.execute_command("HEXISTS", key, f"+{id}"))
        )

    async def at_work(self, lane: str) -> Running | None:
        """The turn that is at work in the lane now; None where there is none."""
        return _running(await self._run("at_work", lane))

    async def request_abort(
        self, session: str, agent: str | None, *, once: str = "", former: str = ""
    ) -> Running | None:
        """Ask for the agent's turn in a session to be aborted, wherever it runs; None without one.

        `once` is the id of the message that asks: delivered again it asks for nothing. `former` is
        the id that the same message has for a process of an older version.
        """
        lanes = [] if agent is None else [lane_of(session, agent)]
        asked = [*lanes, former_lane_of(session)]
        return _running(await self._run("abort", once, former, *asked))

    async def abort(
        self, session: str, agent: str | None, *, patience: float = ABORT_PATIENCE
    ) -> bool:
        """Abort the agent's turn at work in a session; False where there is none.

        Without an agent only a turn that an older version left can be meant. Returns when the
        turn's end is on the stream. Raises LaneTimeout where that has not come after `patience`
        seconds.
        """
        running = await self.request_abort(session, agent)
        deadline = asyncio.get_running_loop().time() + patience
        lanes = [lane_of(session, agent)] if agent is not None else []
        while running is not None and await self._is_at_work(
            running, [*lanes, former_lane_of(session)]
        ):
            if asyncio.get_running_loop().time() > deadline:
                raise LaneTimeout(session)
            await asyncio.sleep(_ABORT_LOOK)
        return running is not None

    async def _is_at_work(self, running: Running, lanes: Sequence[str]) -> bool:
        for lane in lanes:
            if await self.at_work(lane) == running:
                return True
        return False

    async def newest(self, session: str, after: Position) -> Position | None:
        """The session's newest entry behind a point up to which the store was read.

        So a turn waits for what its own session still has in the stream, and for nothing else.
        Behind a long backlog the answer is the end of the stream. Raises StoreBehind while the
        store reads another epoch of the stream than the one that there is now.
        """
        epoch, last, found = await self._run(
            *(
                "newest",
                session,
                str(after.stream_id),
                f"{self._prefix}turns",
                f"{self._prefix}store",
            ),
            _NEWEST_LOOKS,
        )
        if int(epoch) != after.epoch or StreamId.parse(last) < after.stream_id:
            raise StoreBehind("the store has not taken up the stream that there is now", lag=None)
        return Position(after.epoch, StreamId.parse(found)) if found else None

    # -- the replicas ------------------------------------------------------------------------

    async def beat(self, holds: Collection[Hold], waiting: Collection[str]) -> Pulse:
        """Show that this replica lives, and learn what changed for its lanes.

        Tried once: the next beat follows anyway. Raises DeclaredDead where the others gave this
        replica up; then every hold is lost.
        """
        pairs = [part for hold in holds for part in (hold.lane, hold.token)]
        word, *rest = await self._run("beat", len(holds), *pairs, *waiting, patience=0)
        if word == b"stranger":
            raise DeclaredDead(_DEAD)
        return Pulse(*(frozenset(map(_text, found)) for found in rest))

    async def beats(self) -> dict[str, int]:
        """Every replica's heartbeat. Tried once."""
        found = await self._patiently(
            lambda: self._redis.execute_command("HGETALL", self._beats_key), patience=0
        )
        return {replica.decode(): int(count) for replica, count in found.items()}

    async def sweep(self, dead: Mapping[str, int]) -> Sweep:
        """Take over all lanes of these replicas, and of those that nobody knows.

        `dead` maps each to the beat at which it stood still; one that has beaten since is left
        alone, and of several sweepers one gets a lane. Tried once.
        """
        pairs = [part for pair in dead.items() for part in pair]
        taken, held, due, former = await self._run("sweep", *pairs, patience=0)
        return Sweep(
            [_held(item) for item in taken],
            [_held(item) for item in held],
            [(_text(lane), message.decode()) for lane, message in due],
            frozenset(map(_text, former)),
        )

    async def signals(self) -> AsyncGenerator[Signal | None]:
        """Hints of the other replicas as they come, None at least every second without one.

        A hint can get lost, so nothing may depend on one: beats say the same, later. Raises
        StreamUnavailable where the connection breaks.
        """
        pubsub = cast("Any", self._redis).pubsub(ignore_subscribe_messages=True)
        try:
            await pubsub.subscribe(f"{self._prefix}lane_hints")
            while True:
                found = await pubsub.get_message(timeout=_LISTEN)
                yield _signal(found["data"]) if found else None
        except ERRORS as error:
            raise explain(error, self._url) from error
        finally:
            await pubsub.aclose()

    # ----------------------------------------------------------------------------------------

    @property
    def _beats_key(self) -> str:
        return f"{self._prefix}lane_beats"

    async def _run(self, name: str, *arguments: object, patience: float = PATIENCE) -> list[Any]:
        script: Script = self._scripts[name]
        # An older version looks at the second one only, and cannot read the names in the first.
        keys = [f"{self._prefix}lane_names", f"{self._prefix}lanes"]
        args = [self._prefix, self.replica, *map(_bytes, arguments)]
        return await self._patiently(lambda: script(keys=keys, args=args), patience=patience)

    async def _patiently(
        self, call: Callable[[], Awaitable[Any]], *, patience: float = PATIENCE
    ) -> Any:
        return await patiently(call, self._url, patience)


@dataclass(slots=True)
class Watch:
    """What a sweeper has itself seen of the heartbeats, by a clock that cannot be set."""

    dead_after: float = DEAD_AFTER
    _seen: dict[str, tuple[int, float]] = field(default_factory=lambda: {})
    _looked: float | None = None

    def look(self, beats: Mapping[str, int], *, ignore: str) -> dict[str, int]:
        """Take one look; the replicas that stood still for too long, with their last beat."""
        now = asyncio.get_running_loop().time()
        passed = 0.0 if self._looked is None else min(now - self._looked, _LONGEST_LOOK)
        self._looked = now
        before = self._seen
        self._seen = {
            replica: (beat, before[replica][1] + passed if self._stands(replica, beat) else 0.0)
            for replica, beat in beats.items()
            if replica != ignore
        }
        return {
            replica: beat
            for replica, (beat, still) in self._seen.items()
            if still >= self.dead_after
        }

    def forget(self) -> None:
        """Begin anew: Redis did not answer, so that nobody can be blamed for standing still."""
        self._seen.clear()
        self._looked = None

    def _stands(self, replica: str, beat: int) -> bool:
        return replica in self._seen and self._seen[replica][0] == beat


def _running(found: list[bytes]) -> Running | None:
    return Running(found[0].decode(), found[1].decode()) if found else None


def _place(word: bytes, rest: list[Any]) -> Place:
    if word == b"taken":
        return Place(hold=_held(rest[0]))
    return Place(waiting=rest[0], known=word == b"known")


def _hold(found: list[Any]) -> Hold | None:
    return _held(found) if found else None


def _held(found: list[bytes]) -> Hold:
    lane, token, message_id, stage, opened, message = map(_text, found)
    entry = StreamId.parse(opened) if opened else None
    return Hold(lane, token, message_id, Stage(stage), entry, message)


def _signal(data: bytes) -> Signal:
    word, _, lane = _text(data).partition(" ")
    return Signal(word, lane)


def _text(data: bytes) -> str:
    return data.decode(errors="surrogateescape")


def _bytes(value: object) -> object:
    return value.encode(errors="surrogateescape") if isinstance(value, str) else value


def _script(name: str) -> str:
    folder = resources.files("sessions.stream.lua")
    return "\n".join(
        folder.joinpath(f"lane_{part}.lua").read_text(encoding="utf-8") for part in ("common", name)
    )


_NAMES: Final = (
    *("enqueue", "take", "withdraw", "waiting", "publish", "finish", "abort", "at_work"),
    *("beat", "sweep", "newest"),
)
_DEAD: Final = "the other replicas took this one for dead; it must register under a new name"
_LOST: Final = "the lane of session {session} was taken over by another replica"

__all__ = [
    "DEAD_AFTER",
    "DEPTH",
    "Hold",
    "Lanes",
    "Place",
    "Pulse",
    "Running",
    "Signal",
    "Stage",
    "Sweep",
    "Watch",
    "Withdrawal",
    "former_lane_of",
    "lane_of",
    "session_of",
]
