"""Brings replies to the channels that their messages came by, or has them kept for later."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from ingest.channels.base import Channel, Outgoing, PauseAsked, Undeliverable
from ingest.channels.failure_counts import ChannelFailure, ChannelFailures
from ingest.channels.reply_texts import ReadyReply, ReplyTexts, ready_reply
from ingest.channels.sending import insist, note_failure, report_undelivered, send_piece
from ingest.turns.live import TurnEnd
from sessions.errors import RepliesFull, Retryable
from sessions.process.retry import Pauses, retry
from sessions.stream.lanes.inbound import Inbound
from sessions.stream.replies.replies import Replies
from sessions.stream.replies.values import ChannelReply, ReplyLook, ReplyState

log = logging.getLogger(__name__)

# Seconds between two tries: soon at first, since most failures last a moment; then rarely, since a
# platform that is away has many who ask.
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 15.0
# Seconds until it is looked for room for one more reply again, growing.
_ROOM_PAUSE: Final = 2.0


class Dispatch:
    """Delivers for one replica while the lane is held. Every piece that was sent is noted in Redis.

    What a platform does not take is parked, and the lane is let go. A replica that takes over goes
    on behind the last note. Only where one died between sending a piece and noting it is that piece
    sent twice, with the same id.
    """

    def __init__(
        self,
        channels: Mapping[str, Channel],
        *,
        texts: ReplyTexts,
        replies: Replies,
        troubles: ChannelFailures,
        park_after: float,
    ) -> None:
        """`park_after` is for how many seconds each piece is tried before its reply is parked."""
        self._channels = channels
        self._texts = texts
        self._replies = replies
        self._troubles = troubles
        self._park_after = park_after

    async def deliver(self, inbound: Inbound, end: TurnEnd | None) -> None:
        """Send the reply; returns when it was sent, or is kept for later."""
        if end is None:
            ready = await self._texts.of_dead_turn(inbound)
        else:
            ready = ready_reply(inbound, end)
        if ready is not None:
            await retry(
                lambda: self._settle(ready),
                on=RepliesFull,
                pauses=Pauses(_ROOM_PAUSE, _LONGEST_PAUSE),
                # No limit: the lane is held, so that its session refuses messages when it is full.
                patience=None,
                report=lambda error: log.warning(
                    "the reply to turn %s keeps its session waiting: %s", ready.reply.turn, error
                ),
            )

    async def _settle(self, ready: ReadyReply) -> None:
        """Send the reply or have it kept; raises RepliesFull."""
        reply = ready.reply
        look = await insist(lambda: self._replies.look(reply))
        channel = self._channels.get(reply.channel)
        if look.state is not None:
            return
        if channel is None:
            await self._refuse(reply, "there is no such channel here any more", tries=0)
        elif look.behind:
            await self._park(reply, "it waits for an earlier reply of its session", tries=0)
        elif look.asked and look.pause > 0:
            await self._park(reply, "the platform asked for a pause", tries=0)
        else:
            await self._try(channel, ready, look)

    async def _try(self, channel: Channel, ready: ReadyReply, look: ReplyLook) -> None:
        """Send it now, with one try if the channel has a pause; else as `_settle`."""
        reply, pauses = ready.reply, Pauses(_FIRST_PAUSE, _LONGEST_PAUSE)
        # One try tells whether the platform is back, and more would hold the lane for nothing.
        patience = 0.0 if look.pause > 0 else self._park_after
        try:
            await self._send(channel, ready, look.sent, pauses, patience)
        except Undeliverable as error:
            await self._refuse(reply, str(error), tries=pauses.failures + 1)
        except Retryable as error:
            await self._park_after_failure(reply, error, tries=pauses.failures)

    async def _send(
        self, channel: Channel, ready: ReadyReply, sent: int, pauses: Pauses, patience: float
    ) -> None:
        """Send the pieces behind those that were sent. Raises what the channel says in the end."""
        pieces = channel.split(ready.content)
        for number in range(sent, len(pieces)):
            piece = ready.piece(number, pieces[number])
            is_ours = await retry(
                lambda piece=piece, number=number: self._send_once(
                    channel, ready, piece, number, is_first=not pauses.failures
                ),
                on=Retryable,
                pauses=pauses,
                patience=patience,
                goes_on=lambda error: not isinstance(error, PauseAsked),
                report=lambda error: log.warning(
                    "the reply to turn %s is tried again: %s", ready.reply.turn, error
                ),
            )
            if not is_ours:
                return
            await insist(lambda number=number: self._replies.note(ready.reply, number + 1))

    async def _send_once(
        self, channel: Channel, ready: ReadyReply, piece: Outgoing, number: int, *, is_first: bool
    ) -> bool:
        """Send a piece, unless it was sent; False if nothing of the reply is to be sent any more.

        Another replica may have had it kept: one that stood still, and lost its lane meanwhile,
        does not send again. Or its text was erased since the first try.
        """
        look = await insist(lambda: self._replies.look(ready.reply))
        if look.state is not None:
            return False
        if look.sent <= number:
            if not is_first and await self._texts.of_kept(ready.reply) is None:
                log.info("the reply to turn %s is dropped: its text is gone", ready.reply.turn)
                return False
            await send_piece(channel, piece)
        return True

    async def _park_after_failure(
        self, reply: ChannelReply, error: Retryable, *, tries: int
    ) -> None:
        await insist(lambda: note_failure(self._replies, reply, error))
        await self._park(reply, str(error), tries=tries)

    async def _park(self, reply: ChannelReply, error: str, *, tries: int) -> None:
        state = await insist(lambda: self._replies.park(reply, error, tries=tries))
        if state is ReplyState.PARKED:
            self._troubles.add(ChannelFailure.PARKED, channel=reply.channel)
            log.warning("the reply to turn %s is parked: %s", reply.turn, error)

    async def _refuse(self, reply: ChannelReply, error: str, *, tries: int) -> None:
        gone = await insist(lambda: self._replies.refuse(reply, error, tries=tries))
        report_undelivered(self._troubles, reply, error, gone)


__all__ = ["Dispatch"]
