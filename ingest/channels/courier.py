"""Sends the parked replies of one channel, in the order of each session."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from ingest.channels.base import Channel, Outgoing, Undeliverable
from ingest.channels.failure_counts import ChannelFailure, ChannelFailures
from ingest.channels.lease import LEASE, ChannelLease
from ingest.channels.reply_texts import ReadyReply, ReplyTexts
from ingest.channels.sending import (
    insist,
    note_failure,
    report_forgotten,
    report_undelivered,
    send_piece,
)
from sessions.errors import Retryable
from sessions.process.json_lines import about
from sessions.process.retry import OutageLog
from sessions.stream.replies.replies import Replies
from sessions.stream.replies.values import KeptReply

log = logging.getLogger(__name__)

# Sessions whose replies are sent at a time: a platform that comes back is not flooded.
_AT_A_TIME: Final = 4
# Seconds for one piece. It begins with as much left of the lease, so that it ends before another
# replica may begin.
_SEND_TIME: Final = LEASE - 5
# Seconds between two log lines about the same outage.
_AGAIN: Final = 600.0


class Courier:
    """Sends on one channel while this replica has its lease, which no two have.

    What can still be sent twice: a piece whose sender died, or stood still for longer than the
    lease, between the last look at the lease and the note behind the piece.
    """

    def __init__(
        self,
        name: str,
        channel: Channel | None,
        *,
        lease: ChannelLease,
        texts: ReplyTexts,
        replies: Replies,
        troubles: ChannelFailures,
    ) -> None:
        """Without `channel`, which is gone from the settings, replies only come to their end."""
        self._name = name
        self._channel = channel
        self._lease = lease
        self._texts = texts
        self._replies = replies
        self._troubles = troubles
        self._stopping = False
        self._outage = OutageLog(log, "parked replies on %s wait: %s", name, again=_AGAIN)

    async def send_due(self) -> None:
        """Send what is due until nothing is, or a try fails. Raises what Redis and the api raise.

        Nothing happens while another replica has the lease.
        """
        while not self._stopping and await self._lease.acquire():
            due = await self._due()
            # All come to an end before an error of one is raised.
            ends = await asyncio.gather(*map(self._deliver, due), return_exceptions=True)
            for end in ends:
                if isinstance(end, BaseException):
                    raise end
            if not due or not all(ends):
                return

    def stop(self) -> None:
        """Send no further piece; the one in hand is sent and noted."""
        self._stopping = True

    async def release(self) -> None:
        """Let another replica go on at once."""
        await self._lease.release()

    async def _due(self) -> list[KeptReply]:
        """The first replies of some sessions; says which ones were given up."""
        count = _AT_A_TIME if self._channel is not None else 0
        heads = await self._replies.heads(self._name, count)
        for turn in heads.expired:
            kept = await self._replies.find(turn)
            if kept is not None:
                report_undelivered(self._troubles, kept.reply, kept.error, [])
        report_forgotten(self._troubles, self._name, heads.gone)
        return heads.replies

    async def _deliver(self, kept: KeptReply) -> bool:
        """Bring a reply to its end; False if it waits on. Raises Retryable."""
        with about(**kept.reply.log_fields):
            return await self._send(kept)

    async def _send(self, kept: KeptReply) -> bool:
        channel = self._channel
        assert channel is not None
        ready = await self._texts.of_kept(kept.reply)
        if ready is None:
            await self._replies.remove(kept.reply.turn)
            log.info("the parked reply to turn %s is dropped: its text is gone", kept.reply.turn)
            return True
        pieces = channel.split(ready.content)
        for number in range(kept.sent, len(pieces)):
            if not await self._may_send():
                return False
            error = await _sent(channel, ready.piece(number, pieces[number]))
            if error is not None:
                return await self._settle(kept, error)
            await self._note(ready, number + 1)
        return await self._finish(kept)

    async def _may_send(self) -> bool:
        """Whether the lease is ours for as long as a piece takes."""
        while not self._stopping and await self._lease.acquire():
            # A process that stood still since it was renewed may have lost it.
            if self._lease.left >= _SEND_TIME:
                return True
        return False

    async def _note(self, ready: ReadyReply, pieces: int) -> None:
        await insist(lambda: self._replies.note(ready.reply, pieces))
        self._outage.over()

    async def _finish(self, kept: KeptReply) -> bool:
        if await self._replies.remove(kept.reply.turn):
            self._troubles.add(ChannelFailure.LATE, channel=self._name)
            log.info("the parked reply to turn %s is delivered", kept.reply.turn)
        return True

    async def _settle(self, kept: KeptReply, error: Retryable | Undeliverable) -> bool:
        """Act upon what the platform said; False if the channel has a pause now."""
        if isinstance(error, Retryable):
            await note_failure(self._replies, kept.reply, error)
            self._outage.failed(error)
            return False
        gone = await self._replies.give_up(kept.reply, str(error))
        report_undelivered(self._troubles, kept.reply, str(error), gone)
        return True


async def _sent(channel: Channel, piece: Outgoing) -> Retryable | Undeliverable | None:
    """Send a piece; what the platform says if it does not take it."""
    try:
        async with asyncio.timeout(_SEND_TIME):
            await send_piece(channel, piece)
    except (Retryable, Undeliverable) as error:
        return error
    except TimeoutError:
        return Retryable(f"the platform did not answer within {_SEND_TIME:g} s")
    return None


__all__ = ["Courier"]
