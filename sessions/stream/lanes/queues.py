"""What waits in lanes, as people look at it and take it out again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sessions import times, wire
from sessions.models import Position, StreamId
from sessions.stream.lanes.inbound import Inbound
from sessions.stream.lanes.scripts import LaneScripts, to_text
from sessions.stream.lanes.values import former_lane_of, lane_of, session_of


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """A message in a lane. `place` counts those before it; `running` is a part of a turn."""

    lane: str
    place: int
    running: bool
    message: Inbound

    def row(self) -> dict[str, Any]:
        """The entry as every door shows it."""
        message = self.message
        return {
            "id": message.id,
            "state": "running" if self.running else "waiting",
            "place": self.place,
            "since": times.render(message.at),
            "agent": message.agent,
            "channel": message.channel,
            "room": message.room,
            "sender": message.sender,
            "from_agent": message.from_agent,
            "content": message.text,
        }


class Removal(NamedTuple):
    """What became of a message that was to be removed.

    `published` is where the stream says so, None where it stays because it is `running`, or where
    it was not in the lane any more.
    """

    published: Position | None = None
    running: bool = False


class LaneQueues:
    """The lanes of one prefix, for those who look at them from outside. Safe for concurrent use.

    Every method can be repeated. They raise StreamUnavailable where Redis is away for longer than
    PATIENCE; both work in a full Redis.
    """

    def __init__(self, scripts: LaneScripts) -> None:
        self._scripts = scripts

    async def entries(self, session: str, agent: str | None) -> list[QueueEntry]:
        """What the agent has in a session's lane, first come first; without one, what all have.

        Empty where nothing runs or waits. What an older version left comes first, since it runs
        first. A message that cannot be read is left out: it is dropped when its turn comes.
        """
        lanes = await self._lanes_of(session, agent)
        found = await self._scripts.run("queue", self._stream, *lanes)
        read = zip(lanes, found, strict=True)
        entries = [entry for lane, answer in read for entry in _entries(lane, answer)]
        # All agents shared the lanes of an older version.
        return [entry for entry in entries if agent in (None, entry.message.agent)]

    async def remove(self, entry: QueueEntry) -> Removal:
        """Take a waiting message out of its lane; it counts as handled from then on.

        Delivered again it does not run, and leaves nothing. Removed twice, it is removed once.
        """
        event = entry.message.removal()
        fields = [part for pair in wire.encode(event).items() for part in pair]
        word, *rest = await self._scripts.run(
            *("remove", entry.lane, entry.message.id, self._stream),
            *(f"{self._scripts.prefix}store", *fields),
        )
        if word != b"removed":
            return Removal(running=word == b"running")
        epoch, published = rest
        return Removal(Position(int(epoch), StreamId.parse(published), event.id))

    async def _lanes_of(self, session: str, agent: str | None) -> list[str]:
        former = former_lane_of(session)
        if agent is not None:
            return [former, lane_of(session, agent)]
        prefix = self._scripts.prefix
        used = await self._scripts.execute("SUNION", f"{prefix}lane_names", f"{prefix}lanes")
        names = sorted(name for name in map(to_text, used) if session_of(name) == session)
        return sorted(names, key=lambda name: name != former)

    @property
    def _stream(self) -> str:
        return f"{self._scripts.prefix}turns"


def _entries(lane: str, answer: Sequence[Any]) -> Iterator[QueueEntry]:
    running, messages = answer
    for place, text in enumerate(messages):
        try:
            message = Inbound.load(to_text(text))
        except (ValueError, TypeError, AttributeError):
            continue
        yield QueueEntry(lane, place, place in running, message)
