"""Messages that somebody adds to a session in its agent's name.

One comes between two turns, as upstream's gateway has it: a model never finds it between a question
and the answer. The pages that are open on the session are shown it.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import Protocol

from sessions import times
from sessions.access.check import Access
from sessions.errors import LaneFull, LaneTimeout, RedisRefused, Retryable
from sessions.models import Event, Position, Session
from sessions.stream.notices import Notice
from sessions.web.rejections import QueueTimeout
from sessions.web.share import Publisher


class NoticeSender(Protocol):
    """Tells the pages that are open on a session what was added to it."""

    async def publish(self, notice: Notice) -> None:
        """Tell the clients that look now; raises Retryable if that is not possible."""
        ...


class BetweenTurns(Protocol):
    """Puts events on the stream between the turns of a session."""

    async def publish(self, event: Event, agent: str | None) -> Position:
        """Publish it when no turn of the agent runs there; raises LaneFull and LaneTimeout."""
        ...


class QueueFull(LaneFull):
    """Too much waits in the session; nothing was added."""

    def __str__(self) -> str:
        return "Session queue is full"


class Additions:
    """What is added to sessions. Without `between` no turns run that could be waited for."""

    def __init__(
        self, access: Access, *, between: BetweenTurns | None, notices: NoticeSender | None
    ) -> None:
        self._access = access
        self._between = between
        self._notices = notices

    def way_of(self, event: Event, session: Session) -> Publisher | None:
        """How to publish the event when no turn runs in its session; None if none ever runs.

        It raises QueueFull and QueueTimeout, after which nothing was published, and what
        `TurnStream.publish` raises.
        """
        if self._between is None:
            return None
        return partial(_published, self._between, event, self._access.agent_of(session))

    async def show(self, session: Session, content: str) -> None:
        """Show a message of the agent to the pages that are open on its session."""
        agent = self._access.agent_of(session)
        if self._notices is None or agent is None:
            return
        # A client that misses it reads it in the history, also if Redis permits no notices.
        with contextlib.suppress(Retryable, RedisRefused):
            await self._notices.publish(
                Notice(session.key, agent, "assistant", content, times.now())
            )


async def _published(between: BetweenTurns, event: Event, agent: str | None) -> list[Position]:
    try:
        return [await between.publish(event, agent)]
    except LaneFull as full:
        raise QueueFull(full.session, full.pending) from None
    except LaneTimeout:
        raise QueueTimeout from None


__all__ = ["Additions", "BetweenTurns", "NoticeSender", "QueueFull"]
