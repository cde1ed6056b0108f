"""Sessions that are not stored: what one replica remembers of them, for the prompts of their turns.

With `session_persistence = false` nothing of a session goes into the stream. Its turns run as
others do, in its lane and under the lane's fence, and their events take effect here. They are gone
with the process, and another replica does not know them.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

from ingest.prompt import HISTORY, HistoryMessage
from ingest.reads import History
from sessions import times
from sessions.models import Event, EventType, Outcome, OutcomeKind, Position, Reason, StreamId
from sessions.stream.lanes.lanes import Lanes
from sessions.stream.lanes.values import Hold, Stage

# Sessions of one replica, as many as upstream keeps, and characters of all of their texts.
MOST_SESSIONS: Final = 1000
MOST_CHARACTERS: Final = 64 * 1024 * 1024
# Events of which it is known that they were here: more than platforms deliver again.
_MOST_OUTCOMES: Final = 20_000

# A session and the agent that it is remembered for.
_Key: TypeAlias = tuple[str, str]


class _Line(NamedTuple):
    id: str
    message: HistoryMessage


@dataclass(slots=True)
class _Conversation:
    lines: list[_Line] = field(default_factory=list[_Line])

    def find(self, event_id: str) -> int | None:
        """The place of what that event said, None if it is not here."""
        return next((at for at, line in enumerate(self.lines) if line.id == event_id), None)

    def say(self, event_id: str, role: str, content: str, at: int) -> None:
        """Add a message; the oldest one goes if no prompt reads it any more."""
        self.lines.append(_Line(event_id, HistoryMessage(role, content, at)))
        del self.lines[:-HISTORY]

    @property
    def size(self) -> int:
        return sum(len(line.message.content) for line in self.lines)


class SessionMemory:
    """The newest messages of some sessions. For one event loop; nothing here waits.

    It answers as the store does, for what took effect here. If there is too much, the sessions that
    have been silent for the longest time are forgotten.
    """

    def __init__(
        self, *, most_sessions: int = MOST_SESSIONS, most_characters: int = MOST_CHARACTERS
    ) -> None:
        self._most_sessions = most_sessions
        self._most_characters = most_characters
        self._conversations: OrderedDict[_Key, _Conversation] = OrderedDict()
        self._outcomes: OrderedDict[str, Outcome] = OrderedDict()
        self._numbers = itertools.count(1)
        self._size = 0

    def take(self, events: Sequence[Event]) -> list[Position]:
        """Let the events take effect, each once; their positions."""
        return [self._take(event) for event in events]

    # -- what is remembered, as the store would answer ---------------------------------------

    async def history(
        self,
        session: str,
        agent: str,
        *,
        limit: int = HISTORY,
        after: Position | None = None,
        fresh: bool = False,
    ) -> History:
        """The newest messages; none of a session that is not remembered."""
        lines = self._lines(session, agent)
        newest = lines[-limit:]
        return History(
            [line.message for line in newest],
            [line.id for line in newest],
            len(lines),
            Position(0, StreamId(0, 0)),
        )

    async def outcome(self, event_id: str, after: Position) -> Outcome | None:
        """What became of an event, None if it was not here."""
        return self._outcomes.get(event_id)

    async def message(self, session: str, agent: str, event_id: str) -> str | None:
        """The text that the event left in the session; None if it is not there."""
        lines = self._lines(session, agent)
        return next((line.message.content for line in lines if line.id == event_id), None)

    def _lines(self, session: str, agent: str) -> list[_Line]:
        found = self._conversations.get((session, agent))
        return found.lines if found is not None else []

    # -- events ------------------------------------------------------------------------------

    def _take(self, event: Event) -> Position:
        position = Position(0, StreamId(next(self._numbers), 0), event.id)
        if event.id not in self._outcomes:
            reason = self._apply(event)
            kind = OutcomeKind.APPLIED if reason is None else OutcomeKind.NOOP
            self._outcomes[event.id] = Outcome(
                event.id, kind, reason, event.session, position, duplicates=0, detail=None
            )
            if len(self._outcomes) > _MOST_OUTCOMES:
                self._outcomes.popitem(last=False)
        return position

    def _apply(self, event: Event) -> Reason | None:
        """Change what is remembered; why nothing changed, None if it did."""
        key = (event.session, event.agent or "")
        if event.type is EventType.DELETE:
            return None if self._forget(key) else Reason.NO_SESSION
        if event.type is EventType.APPEND and event.turn == event.id:
            self._conversations.setdefault(key, _Conversation())
        conversation = self._conversations.get(key)
        if conversation is None:
            return Reason.NO_SESSION
        before = conversation.size
        reason = _changed(conversation, event)
        self._size += conversation.size - before
        self._conversations.move_to_end(key)
        self._make_room()
        return reason

    def _make_room(self) -> None:
        while len(self._conversations) > self._most_sessions or (
            self._size > self._most_characters and len(self._conversations) > 1
        ):
            self._forget(next(iter(self._conversations)))

    def _forget(self, key: _Key) -> bool:
        gone = self._conversations.pop(key, None)
        self._size -= gone.size if gone is not None else 0
        return gone is not None


def _changed(conversation: _Conversation, event: Event) -> Reason | None:
    """What an event does to its conversation; why it does nothing, None if it does something."""
    at = event.at if event.at is not None else times.now()
    if event.type is EventType.ROLLBACK:
        return _rolled_back(conversation, event, at)
    if event.type is not EventType.APPEND:
        return None
    turn = event.turn or event.id
    if turn != event.id and conversation.find(turn) is None:
        # Its message was forgotten meanwhile, or another replica opened the turn.
        return Reason.STALE_TURN
    conversation.say(event.id, event.role or "", event.content or "", at)
    return None


def _rolled_back(conversation: _Conversation, event: Event, at: int) -> Reason | None:
    place = conversation.find(event.target or "")
    if place is None:
        return Reason.TARGET_NOT_SEEN
    if place == len(conversation.lines) - 1:
        del conversation.lines[place]
        return None
    if event.close_with is not None:
        conversation.say(event.id, "assistant", event.close_with, at)
    return Reason.NOT_LAST


class MemoryLanes:
    """The lanes of sessions that are not stored: turns move on in them, and publish nothing."""

    def __init__(self, lanes: Lanes, memory: SessionMemory) -> None:
        self.max_content = lanes.max_content
        self._lanes = lanes
        self._memory = memory

    async def newest(self, session: str, after: Position) -> Position | None:
        """None: nothing of the session is in the stream."""
        return None

    async def waiting(self, hold: Hold) -> list[str]:
        """The messages behind the one at work; raises as `Lanes.waiting` does."""
        return await self._lanes.waiting(hold)

    async def publish(
        self, hold: Hold, events: Sequence[Event], *, stage: Stage, joined: Sequence[str] = ()
    ) -> list[Position]:
        """Bring the turn to `stage` if the lane is still ours, then let the events take effect.

        Raises as `Lanes.publish` does.
        """
        await self._lanes.publish(hold, [], stage=stage, joined=joined)
        return self._memory.take(events)


__all__ = ["MemoryLanes", "SessionMemory"]
