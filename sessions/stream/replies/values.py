"""What is kept of a reply, and what is told of replies."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, Final, NamedTuple

from sessions import times
from sessions.stream.lanes.closing import reply_id

# Characters of an error that are kept. A proxy's whole page may be in one.
LONGEST_ERROR: Final = 300
# Microseconds of a millisecond, in which Redis counts.
_MS: Final = times.SECOND // 1000


class ReplyText(StrEnum):
    """Which text a reply is."""

    STORED = "stored"
    """What the turn left in the session, under the id `{turn}:reply`."""
    REMEMBERED = "remembered"
    """The same in a session that is not stored, so that only the replica that ran it has it."""
    CLEARED = "cleared"
    FAILED = "failed"
    ABORTED = "aborted"
    NOT_OWNER = "not_owner"


class ReplyState(StrEnum):
    """What becomes of a reply that was not taken."""

    PARKED = "parked"
    """It is tried again."""
    UNDELIVERED = "undelivered"
    """It is not, unless somebody asks for it."""


@dataclass(frozen=True, slots=True)
class ChannelReply:
    """A reply without its text: whose it is, where it goes, and which text it is.

    `status` says how the turn ended, in the channel's words. `address` and `sender` are what the
    channel's `send` wants, "" for none.
    """

    turn: str
    session: str
    agent: str
    channel: str
    address: str
    sender: str
    status: str
    text: ReplyText

    @property
    def event_id(self) -> str:
        """The id of the event that stored its text, and of its first piece."""
        return reply_id(self.turn)

    @property
    def log_fields(self) -> dict[str, str | None]:
        """What a log line about it is about."""
        return {
            "event_id": self.event_id,
            "turn": self.turn,
            "agent": self.agent,
            "session": self.session,
            "channel": self.channel,
        }


@dataclass(frozen=True, slots=True)
class KeptReply:
    """A reply as Redis has it. Times are in microseconds.

    `since` is when it came here, `until` when it is given up. `tries` counts what failed since it
    came here, `error` is the last reason. `sent` counts its pieces that the platform has. Replies
    with a smaller `number` came before.
    """

    reply: ChannelReply
    state: ReplyState
    since: int
    until: int
    tries: int
    error: str
    sent: int
    number: int


class ReplyLook(NamedTuple):
    """What a turn that has ended finds of its reply.

    `state` is None if the reply is not kept. `behind` says that replies of its session are parked.
    `pause` is in seconds, 0 if there is none; `asked` says that the platform asked for it.
    """

    sent: int
    state: ReplyState | None
    behind: bool
    pause: float
    asked: bool


class ReplyHeads(NamedTuple):
    """What may be sent on a channel now, and the turns whose replies became undelivered.

    `gone` are undelivered replies that were forgotten because an agent has too many.
    """

    replies: list[KeptReply]
    expired: list[str]
    gone: list[str]


class ReplyWatch(NamedTuple):
    """What Redis holds, as one replica remembers it: (turn, channel) of each reply.

    `life` is another one after Redis has lost everything. `changes` only grows within one.
    """

    life: str
    changes: int
    channels: frozenset[str]
    replies: frozenset[tuple[str, str]]

    def is_behind(self, known: ReplyWatch) -> bool:
        """Whether Redis lost something since that was known: all of it, or what came last."""
        return self.life != known.life or self.changes < known.changes


class ReplyCount(NamedTuple):
    """How many replies a channel has here."""

    channel: str
    parked: int
    undelivered: int


def dumped(reply: ChannelReply, state: ReplyState, error: str, tries: int) -> str:
    """The text that Redis keeps; it adds the rest."""
    told = {**asdict(reply), "state": state, "error": bounded(error), "tries": tries}
    return json.dumps(told, ensure_ascii=False)


def loaded(found: list[Any]) -> KeptReply:
    """The reply that a script tells of, without what only another version knows."""
    kept: dict[str, Any] = json.loads(found[0])
    own = {field.name: kept[field.name] for field in fields(ChannelReply)}
    return KeptReply(
        reply=ChannelReply(**{**own, "text": ReplyText(own["text"])}),
        state=ReplyState(kept["state"]),
        since=kept["since"] * _MS,
        until=kept["until"] * _MS,
        tries=kept["tries"],
        error=kept["error"],
        sent=found[1],
        number=kept["number"],
    )


def bounded(error: str) -> str:
    """As much of an error as is kept."""
    return error[:LONGEST_ERROR]
