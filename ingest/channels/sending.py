"""What is the same for replies that are sent at once and for those that are sent later."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from ingest.channels.base import Channel, Outgoing, PauseAsked, Undeliverable
from ingest.channels.failure_counts import ChannelFailure, ChannelFailures
from sessions.errors import RepliesFull, Retryable
from sessions.process.retry import Pauses, retry
from sessions.stream.replies.replies import Replies
from sessions.stream.replies.values import ChannelReply

log = logging.getLogger(__name__)
R = TypeVar("R")

# Seconds between two tries to tell Redis something.
_PAUSE: Final = 0.5


async def send_piece(channel: Channel, piece: Outgoing) -> None:
    """Send one piece, once; raises Retryable, PauseAsked or Undeliverable, and nothing else."""
    try:
        await channel.send(piece)
    except (Retryable, Undeliverable):
        raise
    except Exception as error:
        # Whatever it is, it is this reply's alone: it is kept, and the others are sent.
        log.exception("the reply to turn %s cannot be sent", piece.turn)
        raise Undeliverable(f"an unforeseen error: {type(error).__name__}") from error


async def note_failure(replies: Replies, reply: ChannelReply, error: Retryable) -> None:
    """Tell the other replicas that the channel did not take a reply. Raises Retryable."""
    asked = error.retry_after if isinstance(error, PauseAsked) else 0.0
    await replies.fail(reply, str(error), asked=asked)


async def insist(call: Callable[[], Awaitable[R]]) -> R:
    """What Redis answers, however long it is away; RepliesFull is an answer."""
    return await retry(
        call,
        on=Retryable,
        pauses=Pauses(_PAUSE),
        # No limit: what is not noted would be sent again.
        patience=None,
        goes_on=lambda error: not isinstance(error, RepliesFull),
    )


def report_undelivered(
    troubles: ChannelFailures, reply: ChannelReply, error: str, gone: list[str]
) -> None:
    """Say that a reply will not be tried any more, and what was forgotten for it."""
    troubles.add(ChannelFailure.UNDELIVERED, channel=reply.channel)
    log.warning(
        "the reply to turn %s was not delivered: %s; `turnstream replies retry %s` tries again",
        *(reply.turn, error, reply.turn),
        extra=reply.log_fields,
    )
    report_forgotten(troubles, reply.channel, gone)


def report_forgotten(troubles: ChannelFailures, channel: str, gone: list[str]) -> None:
    """Say which undelivered replies went because their agent had too many."""
    for turn in gone:
        troubles.add(ChannelFailure.FORGOTTEN, channel=channel)
        log.warning(
            "the undelivered reply to turn %s is forgotten: there are too many",
            turn,
            extra={"turn": turn, "channel": channel},
        )
