"""Messages that a program left unanswered when it died, closed when ingest starts.

What a replica leaves in its lane is closed by the one that takes the lane over. This is for what
is in no lane: of programs that publish for themselves, of a ZeroClaw that was moved in, and of a
Redis that lost its data. Upstream closes the same at its start.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from ingest.failures import INTERRUPTED, state_of
from ingest.reads import SessionReads, UnansweredMessage
from sessions import times
from sessions.errors import Retryable
from sessions.ids import derived_id
from sessions.models import Event, EventType, Position
from sessions.process.retry import OutageLog, Pauses, retry
from sessions.stream.lanes.closing import Closing
from sessions.stream.lanes.inbound import Inbound
from sessions.stream.lanes.lanes import Lanes

log = logging.getLogger(__name__)

# Seconds that a program may take to answer what it has published itself. Upstream lets a turn take
# 20 minutes at most.
GRACE: Final = 1800
# Sessions of each agent that are looked at, newest activity first: as many as upstream looks at.
MOST_SESSIONS: Final = 1000
# Sessions that are looked at with one question, some 10 ms of the api.
_PAGE: Final = 50
# Seconds between two tries while Redis or the store is away, at first and later.
_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 15.0


class Orphans:
    """Finds what was left unanswered, and closes it. Any number of replicas may do so at a time."""

    def __init__(self, reads: SessionReads, lanes: Lanes, *, agents: int) -> None:
        self._reads = reads
        self._lanes = lanes
        self._most = MOST_SESSIONS * agents

    async def close(self, *, grace: int = GRACE) -> int:
        """Close each of them once; how many were closed here.

        Left alone is a session in which something runs, waits or has just come, and what came onto
        the stream less than `grace` seconds ago. Redis and the store being away only delays it.
        """
        outage = OutageLog(log, "unanswered messages cannot be closed yet: %s")
        closed = await retry(
            lambda: self._close_all(grace),
            on=Retryable,
            pauses=Pauses(_PAUSE, _LONGEST_PAUSE),
            # No limit: nothing else depends on it.
            patience=None,
            report=outage.failed,
        )
        outage.over()
        if closed:
            log.warning("closed %d messages that nobody had answered", closed)
        return closed

    async def _close_all(self, grace: int) -> int:
        closed, looked = 0, 0
        cursor: str | None = None
        while looked < self._most:
            page = await self._reads.unanswered(limit=_PAGE, cursor=cursor, seconds=grace)
            for message in page.messages:
                closed += await self._close(message, page.position)
            looked, cursor = looked + _PAGE, page.next_cursor
            if cursor is None:
                break
        return closed

    async def _close(self, message: UnansweredMessage, after: Position) -> bool:
        return await self._lanes.close_idle(_closing(message), message.agent, after)


def _closing(message: UnansweredMessage) -> Sequence[Event]:
    """What closes the message, alike wherever it is made, but for the time."""
    now, state = times.now(), state_of(Closing.INTERRUPTED)
    id = derived_id("orphan", message.session, message.id or f"since {message.since}")
    if message.id is None:
        resting = Event(id, EventType.STATE, message.session, state=state, if_exists=True)
        return [resting._replace(agent=message.agent)]
    if message.turn is None:
        marker = Event(
            *(id, EventType.APPEND, message.session, "assistant", INTERRUPTED),
            state=state,
            if_exists=True,
            agent=message.agent,
            at=now,
        )
        return [marker]
    # As the replica that takes a lane over closes its turn.
    inbound = Inbound(message.turn, message.session, "", message.agent, now)
    return [
        inbound.closing(Closing.INTERRUPTED.event_id(message.turn), state),
        inbound.answer("reply", "assistant", INTERRUPTED, at=now, state=state),
    ]
