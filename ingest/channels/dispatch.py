"""Brings replies to the channels that their messages came by."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from ingest.channels.base import Channel, Outgoing, ReplyStatus, Undeliverable
from ingest.failures import ABORTED, CLEARED, FAILED
from ingest.reads import SessionReads, fresh_history
from ingest.turns.live import Ending, TurnEnd
from ingest.turns.stored import stored_end
from ingest.turns.unavailable import CODE, NOTICE
from sessions.errors import Retryable
from sessions.models import Reason
from sessions.process.retry import Pauses, retry
from sessions.stream.lanes.closing import reply_id
from sessions.stream.lanes.inbound import Inbound
from sessions.stream.lanes.lanes import Lanes
from sessions.stream.redis import RedisClient, patiently

log = logging.getLogger(__name__)

# Seconds for which one piece of a reply is tried. The session's next message waits meanwhile, so
# that replies keep their order; after that the reply is in the store only.
PATIENCE: Final = 120.0
# Seconds between two tries: soon at first, since most failures last a moment; then rarely, since a
# platform that is away has many who ask.
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 15.0
# Seconds between two tries to read the reply of a turn that a dead replica ran: a person notices no
# half second.
_READ_PAUSE: Final = 0.5
# Seconds that are remembered how much of a reply was sent: longer than any replica takes over.
_REMEMBERED: Final = 86_400


class Dispatch:
    """Delivers for one replica. What was sent of a reply is noted in Redis, piece by piece.

    A replica that takes over goes on behind the last note. Only where one died between sending a
    piece and noting it is that piece sent twice, with the same id.
    """

    def __init__(
        self,
        channels: Mapping[str, Channel],
        *,
        reads: SessionReads,
        lanes: Lanes,
        redis: RedisClient,
        url: str,
        prefix: str,
        patience: float = PATIENCE,
    ) -> None:
        self._channels = channels
        self._reads = reads
        self._lanes = lanes
        self._redis = redis
        self._url = url
        self._prefix = prefix
        self._patience = patience

    async def deliver(self, inbound: Inbound, end: TurnEnd | None) -> None:
        """Send the reply; returns when it was sent, or cannot be, which is logged."""
        channel = self._channels.get(inbound.reply_to or "")
        if channel is None:
            log.error("turn %s: there is no channel %s here any more", inbound.id, inbound.reply_to)
            return
        reply = await self._stored(inbound) if end is None else _reply(inbound, end)
        if reply is not None:
            await self._send(channel, reply)

    async def _stored(self, inbound: Inbound) -> Outgoing | None:
        """The reply of a turn that a dead replica ran to its end; None where it left none."""
        return await retry(
            lambda: self._read(inbound),
            on=Retryable,
            pauses=Pauses(_READ_PAUSE),
            # No limit: the reply is in the store, and the person still waits for it.
            patience=None,
        )

    async def _read(self, inbound: Inbound) -> Outgoing | None:
        history = await fresh_history(self._reads, self._lanes, inbound.session, inbound.agent)
        if inbound.command:
            outcome = await self._reads.outcome(inbound.id, history.position)
            if outcome is not None and outcome.reason == Reason.NOT_OWNER:
                return _outgoing(inbound, NOTICE, ReplyStatus.FAILED)
            return _outgoing(inbound, CLEARED, ReplyStatus.REPLIED)
        end = await stored_end(self._reads, history, inbound.id)
        return None if end is None else _reply(inbound, end)

    async def _send(self, channel: Channel, reply: Outgoing) -> None:
        pieces = channel.split(reply.text)
        for number in range(await self._count_sent(reply.turn), len(pieces)):
            suffix = f":{number}" if number else ""
            piece = replace(reply, id=f"{reply.id}{suffix}", text=pieces[number])
            try:
                await self._insist(channel, piece)
            except (Undeliverable, Retryable) as error:
                log.warning("the reply to turn %s was not delivered: %s", reply.turn, error)
                return
            await self._note(reply.turn, number + 1)

    async def _insist(self, channel: Channel, piece: Outgoing) -> None:
        await retry(
            lambda: channel.send(piece),
            on=Retryable,
            pauses=Pauses(_FIRST_PAUSE, _LONGEST_PAUSE, heeded=True),
            patience=self._patience,
            report=lambda error: log.warning(
                "the reply to turn %s is tried again: %s", piece.turn, error
            ),
        )

    async def _count_sent(self, turn: str) -> int:
        with contextlib.suppress(Retryable):
            found = await patiently(
                lambda: self._redis.execute_command("GET", self._key(turn)), self._url, 1.0
            )
            return int(found or 0)
        return 0

    async def _note(self, turn: str, count: int) -> None:
        # A full Redis takes no notes; the reply was sent all the same.
        with contextlib.suppress(Retryable):
            await patiently(
                lambda: self._redis.execute_command(
                    "SET", self._key(turn), count, "EX", _REMEMBERED
                ),
                self._url,
                1.0,
            )

    def _key(self, turn: str) -> str:
        return f"{self._prefix}sent:{turn}"


def _reply(inbound: Inbound, end: TurnEnd) -> Outgoing:
    if end.ending is Ending.REPLIED:
        return _outgoing(inbound, end.text, ReplyStatus.REPLIED)
    if end.ending is Ending.ABORTED:
        return _outgoing(inbound, end.text or ABORTED, ReplyStatus.ABORTED)
    if end.code == CODE:
        return _outgoing(inbound, NOTICE, ReplyStatus.FAILED)
    # What a provider says of its failure is not for everybody who may write to a bot.
    return _outgoing(inbound, end.stored or FAILED, ReplyStatus.FAILED)


def _outgoing(inbound: Inbound, text: str, status: ReplyStatus) -> Outgoing:
    return Outgoing(
        id=reply_id(inbound.id),
        turn=inbound.id,
        session=inbound.session,
        text=text,
        status=status,
        address=inbound.address or "",
        sender=inbound.sender or "",
    )
