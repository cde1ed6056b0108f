"""What a lane is called, and what is told of lanes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from sessions.models import StreamId

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


class Origin(NamedTuple):
    """Where a message came from: its channel (`type.alias`), and the address there."""

    channel: str
    address: str


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
    lanes of an older version are still in use, `woken` the lanes of messages that nobody had."""

    taken: list[Hold]
    held: list[Hold]
    due: list[tuple[str, str]]
    former: frozenset[str]
    woken: list[Hold]


class RunningTurn(NamedTuple):
    """A turn at work. Its end is published under the id `{turn}:reply`."""

    turn: str
    token: str


class Signal(NamedTuple):
    """A hint from another replica, or from the api.

    `free` (your message may take the lane), `removed` (look whether your messages are still in the
    lane) or `abort`.
    """

    word: str
    lane: str
