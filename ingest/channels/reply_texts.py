"""What a person is told when a turn has ended: which text that is, and where it is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ingest.channels.base import Outgoing, ReplyStatus
from ingest.failures import ABORTED, CLEARED, FAILED
from ingest.reads import fresh_history
from ingest.turns.live import Ending, TurnEnd
from ingest.turns.records import AllRecords
from ingest.turns.stored import stored_end
from ingest.turns.unavailable import CODE, NOTICE
from sessions.errors import Retryable
from sessions.models import Reason
from sessions.process.retry import Pauses, retry
from sessions.stream.lanes.inbound import Inbound
from sessions.stream.replies.values import ChannelReply, ReplyText

# Seconds between two tries to read the reply of a turn that a dead replica ran: a person notices no
# half second.
_READ_PAUSE: Final = 0.5

_NOTICES: Final[Mapping[ReplyText, str]] = {
    ReplyText.CLEARED: CLEARED,
    ReplyText.FAILED: FAILED,
    ReplyText.ABORTED: ABORTED,
    ReplyText.NOT_OWNER: NOTICE,
}


@dataclass(frozen=True, slots=True)
class ReadyReply:
    """A reply with its text."""

    reply: ChannelReply
    content: str

    def piece(self, number: int, text: str) -> Outgoing:
        """One of its pieces, counted from 0."""
        reply = self.reply
        return Outgoing(
            id=f"{reply.event_id}:{number}" if number else reply.event_id,
            turn=reply.turn,
            session=reply.session,
            text=text,
            status=ReplyStatus(reply.status),
            address=reply.address,
            sender=reply.sender,
        )


def ready_reply(inbound: Inbound, end: TurnEnd) -> ReadyReply:
    """What is said of the end of a turn that was run here."""
    left = ReplyText.STORED if inbound.stored else ReplyText.REMEMBERED
    if end.ending is Ending.REPLIED:
        text = ReplyText.CLEARED if inbound.command else left
        return _ready(inbound, text, ReplyStatus.REPLIED, end.text)
    if end.ending is Ending.ABORTED:
        text = left if end.text else ReplyText.ABORTED
        return _ready(inbound, text, ReplyStatus.ABORTED, end.text)
    if end.code == CODE:
        return _ready(inbound, ReplyText.NOT_OWNER, ReplyStatus.FAILED)
    # What a provider says of its failure is not for everybody who may write to a bot.
    text = left if end.stored else ReplyText.FAILED
    return _ready(inbound, text, ReplyStatus.FAILED, end.stored)


def _ready(inbound: Inbound, text: ReplyText, status: ReplyStatus, stored: str = "") -> ReadyReply:
    reply = ChannelReply(
        turn=inbound.id,
        session=inbound.session,
        agent=inbound.agent,
        channel=inbound.reply_to or "",
        address=inbound.address or "",
        sender=inbound.sender or "",
        status=status,
        text=text,
    )
    return ReadyReply(reply, _NOTICES.get(text, stored))


class ReplyTexts:
    """Reads the texts of replies that are not at hand any more."""

    def __init__(self, records: AllRecords) -> None:
        self._records = records

    async def of_kept(self, reply: ChannelReply) -> ReadyReply | None:
        """A kept reply with its text; None if the agent's session does not hold it any more.

        Raises Retryable while the store cannot be read.
        """
        notice = _NOTICES.get(reply.text)
        remembered = reply.text is ReplyText.REMEMBERED
        reads = (self._records.remembered if remembered else self._records.stored).reads
        content = notice or await reads.message(reply.session, reply.agent, reply.event_id)
        return ReadyReply(reply, content) if content is not None else None

    async def of_dead_turn(self, inbound: Inbound) -> ReadyReply | None:
        """The reply of a turn that a dead replica ran to its end; None where it left none."""
        return await retry(
            lambda: self._left_by(inbound),
            on=Retryable,
            pauses=Pauses(_READ_PAUSE),
            # No limit: the reply is in the store, and the person still waits for it.
            patience=None,
        )

    async def _left_by(self, inbound: Inbound) -> ReadyReply | None:
        lanes, reads = self._records.for_message(inbound)
        history = await fresh_history(reads, lanes, inbound.session, inbound.agent)
        if inbound.command:
            outcome = await reads.outcome(inbound.id, history.position)
            if outcome is not None and outcome.reason == Reason.NOT_OWNER:
                return _ready(inbound, ReplyText.NOT_OWNER, ReplyStatus.FAILED)
            return _ready(inbound, ReplyText.CLEARED, ReplyStatus.REPLIED)
        end = await stored_end(reads, history, inbound.id)
        return None if end is None else ready_reply(inbound, end)


__all__ = ["ReadyReply", "ReplyTexts", "ready_reply"]
