"""The messages in lanes and the turns at work, as one replica sees them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any, Final

from sessions import wire
from sessions.errors import (
    DeclaredDead,
    LaneChanged,
    LaneFull,
    LaneLost,
    LaneTimeout,
    StoreBehind,
)
from sessions.models import Event, Position, StreamId
from sessions.process.tracing import traced
from sessions.stream.lanes.queues import LaneQueues
from sessions.stream.lanes.replicas import Replicas
from sessions.stream.lanes.scripts import DEAD, PATIENCE, LaneScripts, to_bytes, to_hold
from sessions.stream.lanes.values import (
    Hold,
    Origin,
    Place,
    RunningTurn,
    Stage,
    Withdrawal,
    former_lane_of,
    lane_of,
    session_of,
)
from sessions.stream.publish_counts import PublishCounts
from sessions.stream.redis import RedisClient

# Messages in one lane, the one at work included: what upstream's gateway allows.
DEPTH: Final = 8
# Seconds that an abort waits for its turn's end: as long as it takes to notice that the replica
# which ran it is dead, and to close the turn.
ABORT_PATIENCE: Final = 15.0
# Seconds between two looks whether the aborted turn has ended.
_ABORT_LOOK: Final = 0.02
# Entries of a backlog that are looked through for a session's own, some 5 ms of Redis.
_NEWEST_LOOKS: Final = 2000


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
        self.max_content = max_content
        self.counts = PublishCounts()
        self._scripts = LaneScripts(redis, url=url, prefix=prefix)
        self._prefix = prefix
        self.replicas = Replicas(self._scripts)
        self.queues = LaneQueues(self._scripts)

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
        origin: Origin | None = None,
    ) -> Place:
        """Put a message at the end of the lane, once; take the lane if it is free.

        A message that is in the lane already stays where it is; one that was removed from it is
        known, and not put there again. With `urgent` the turn at work
        is asked to end, the first time that the message comes; `former` is the id that the same
        message has for a process of an older version. `origin` is remembered for 90 days, for what
        is put into the lane from outside. Raises LaneFull where `depth`
        messages are in the lane, DeclaredDead where the others gave this replica up: in both
        cases nothing was stored.
        """
        word, *rest = await self._scripts.run(
            *("enqueue", lane, id, message, depth, int(urgent), former),
            *([json.dumps(origin)] if origin is not None else []),
        )
        if word == b"declared_dead":
            raise DeclaredDead(DEAD)
        if word == b"full":
            raise LaneFull(session_of(lane), rest[0])
        return _place(word, rest)

    async def take(self, lane: str, id: str) -> Place | None:
        """Take the lane if the message is first and the lane free; None where it is not there.

        Raises DeclaredDead where the others gave this replica up.
        """
        word, *rest = await self._scripts.run("take", lane, id)
        if word == b"declared_dead":
            raise DeclaredDead(DEAD)
        return None if word == b"gone" else _place(word, rest)

    async def withdraw(self, lane: str, id: str) -> Withdrawal:
        """Take a waiting message back; `running` where its turn has begun, so that it stays."""
        word, *rest = await self._scripts.run("withdraw", lane, id)
        return Withdrawal(
            done=word == b"withdrawn",
            running=word == b"running",
            next=_hold(rest[0]) if rest else None,
        )

    async def waiting(self, hold: Hold) -> list[str]:
        """The messages behind the one at work, first come first; raises LaneLost."""
        word, *rest = await self._scripts.run("waiting", hold.lane, hold.token)
        if word == b"lost":
            raise LaneLost(_LOST.format(session=session_of(hold.lane)))
        return [message.decode() for message in rest[0]]

    # -- a turn ------------------------------------------------------------------------------

    async def publish(
        self,
        hold: Hold,
        events: Sequence[Event],
        *,
        stage: Stage,
        joined: Sequence[str] = (),
        patience: float = PATIENCE,
    ) -> list[Position]:
        """Put all events on the stream if the lane is still ours, and bring the turn to `stage`.

        `joined` are the messages behind this one that become a part of its turn. Done once for
        each stage: a repetition answers with the first one's positions. Raises InvalidEvent as
        `TurnStream.publish` does, LaneChanged where one of `joined` is not in the lane any more,
        and LaneLost where nothing was published and nothing ever will be.
        """
        arguments = [len(joined), *joined, *self._arguments(events)]
        with self.counts.counting(events):
            epoch, *rest = await self._scripts.run(
                *("publish", hold.lane, hold.token, stage),
                *(f"{self._prefix}turns", f"{self._prefix}store", *arguments),
                patience=patience,
            )
            _check_published(epoch, hold)
        return _positions(int(epoch), rest[0], events)

    async def close_idle(self, events: Sequence[Event], agent: str, after: Position) -> bool:
        """Put all events of one session on the stream if nothing goes on there; whether that is so.

        Nothing of the agent's may be at work or wait in the session, and nothing of it may have
        come since `after`, up to which it was read. Behind a long backlog that cannot be told, and
        nothing is done. Two callers may both close a session: the events' ids make that one.
        """
        [session] = {event.session for event in events}
        lanes = [lane_of(session, agent), former_lane_of(session)]
        [word] = await self._scripts.run(
            *("close", session, str(after.stream_id), after.epoch),
            *(f"{self._prefix}turns", f"{self._prefix}store", _NEWEST_LOOKS),
            *(len(lanes), *lanes, *self._arguments(events)),
        )
        return word == b"closed"

    def _arguments(self, events: Sequence[Event]) -> list[str | int]:
        """The events as the scripts take them; raises InvalidEvent."""
        arguments: list[str | int] = []
        for event in events:
            fields = traced(wire.encode(event))
            wire.parse(fields, max_content=self.max_content)
            arguments += [2 * len(fields), *(part for pair in fields.items() for part in pair)]
        return arguments

    async def finish(self, hold: Hold) -> Hold | None:
        """End the turn and let the lane go on; what this replica holds next, if anything.

        Nothing happens where the lane is not ours any more.
        """
        word, *rest = await self._scripts.run("finish", hold.lane, hold.token)
        return _hold(rest[0]) if word == b"free" else None

    async def contains(self, lane: str, id: str) -> bool:
        """Whether a message is in the lane, at work or waiting."""
        key = to_bytes(f"{self._prefix}lane:{lane}")
        return bool(await self._scripts.execute("HEXISTS", key, f"+{id}"))

    async def at_work(self, lane: str) -> RunningTurn | None:
        """The turn that is at work in the lane now; None where there is none."""
        return _running(await self._scripts.run("at_work", lane))

    async def request_abort(
        self, session: str, agent: str | None, *, once: str = "", former: str = ""
    ) -> RunningTurn | None:
        """Ask for the agent's turn in a session to be aborted, wherever it runs; None without one.

        `once` is the id of the message that asks: delivered again it asks for nothing. `former` is
        the id that the same message has for a process of an older version.
        """
        lanes = [] if agent is None else [lane_of(session, agent)]
        asked = [*lanes, former_lane_of(session)]
        return _running(await self._scripts.run("abort", once, former, *asked))

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

    async def _is_at_work(self, running: RunningTurn, lanes: Sequence[str]) -> bool:
        """Whether it is, and its end is not on the stream yet."""
        for lane in lanes:
            found = await self._scripts.run("at_work", lane)
            if _running(found) == running and found[2:] != [Stage.ENDED.encode()]:
                return True
        return False

    async def newest(self, session: str, after: Position) -> Position | None:
        """The session's newest entry behind a point up to which the store was read.

        So a turn waits for what its own session still has in the stream, and for nothing else.
        Behind a long backlog the answer is the end of the stream. Raises StoreBehind while the
        store reads another epoch of the stream than the one that there is now.
        """
        epoch, last, found = await self._scripts.run(
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


def _positions(epoch: int, entries: Sequence[bytes], events: Sequence[Event]) -> list[Position]:
    return [
        Position(epoch, StreamId.parse(entry), event.id)
        for entry, event in zip(entries, events, strict=True)
    ]


def _running(found: list[bytes]) -> RunningTurn | None:
    return RunningTurn(found[0].decode(), found[1].decode()) if found else None


def _check_published(word: bytes, hold: Hold) -> None:
    if word == b"lost":
        raise LaneLost(_LOST.format(session=session_of(hold.lane)))
    if word == b"changed":
        raise LaneChanged(_CHANGED.format(session=session_of(hold.lane)))


def _place(word: bytes, rest: list[Any]) -> Place:
    if word == b"taken":
        return Place(hold=to_hold(rest[0]))
    return Place(waiting=rest[0], known=word == b"known")


def _hold(found: list[Any]) -> Hold | None:
    return to_hold(found) if found else None


_LOST: Final = "the lane of session {session} was taken over by another replica"
_CHANGED: Final = "a message of session {session} that was to join the turn has left the lane"
