"""Shows the turns of messages from outside to the pages that are open on their sessions.

Nobody who looks at the session wrote such a message, so its text and its answer are news to all.
"""

from __future__ import annotations

import contextlib

from ingest.turns.live import TurnEnd
from sessions import times
from sessions.errors import RedisRefused, Retryable
from sessions.stream.lanes.inbound import Inbound
from sessions.stream.notices import Notice, Notices
from sessions.text import GATEWAY_PREFIX


class WokenTurns:
    """The turns of one replica that were woken. A page that misses one reads it in the history."""

    def __init__(self, notices: Notices) -> None:
        self._notices = notices

    async def opened(self, inbound: Inbound) -> None:
        """Show the message, which the store has now."""
        await self._tell(inbound, "user", inbound.text)

    async def ended(self, inbound: Inbound, end: TurnEnd) -> None:
        """Show what the store keeps as the answer, if it keeps any."""
        if end.kept:
            await self._tell(inbound, "assistant", end.kept)

    async def _tell(self, inbound: Inbound, role: str, content: str) -> None:
        if not inbound.woken or not inbound.session.startswith(GATEWAY_PREFIX):
            return
        notice = Notice(inbound.session, inbound.agent, role, content, times.now(), turn=inbound.id)
        # Also if Redis permits no notices.
        with contextlib.suppress(Retryable, RedisRefused):
            await self._notices.publish(notice)
