"""Sessions that an agent's turn finds to be another's: what is said, counted and logged of them."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from sessions.stream.lanes.inbound import Inbound

log = logging.getLogger(__name__)

# The gateway's code for it.
CODE: Final = "SESSION_UNAVAILABLE"
# What the person at a channel is told. It says nothing of whose the session is.
NOTICE: Final = (
    "This conversation cannot be continued here. Please tell the operator of this service."
)
# Seconds between two log lines about the same session: somebody has to act, but once.
_SILENCE: Final = 3600.0
# Sessions that are remembered for that.
_REMEMBERED: Final = 1000


def refusal_text(session_id: str) -> str:
    """What a client of the gateway is told, whatever is behind the id."""
    return f"Session {session_id} cannot be used here; choose another session_id"


class OwnerRefusals:
    """The messages that the store refused because their session is another agent's."""

    def __init__(self) -> None:
        self.count = 0
        self._told: dict[str, float] = {}

    def record(self, inbound: Inbound) -> None:
        """Count a message; log it, for each session once an hour, with what can be done."""
        self.count += 1
        now = asyncio.get_running_loop().time()
        if now - self._told.get(inbound.lane, -_SILENCE) < _SILENCE:
            return
        while len(self._told) >= _REMEMBERED:
            self._told.pop(next(iter(self._told)))
        self._told[inbound.lane] = now
        log.warning(
            "session %r of %s is not agent %s's, so that its messages are refused; "
            "`turnstream sessions owner SESSION %s` gives it to that agent",
            inbound.session,
            inbound.channel or "the gateway",
            inbound.agent,
            inbound.agent,
            extra=inbound.log_fields,
        )


__all__ = ["CODE", "NOTICE", "OwnerRefusals", "refusal_text"]
