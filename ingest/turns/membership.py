"""The name by which the other replicas know this one, and a new one if they took it for dead."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from ingest.turns.live import Interruption
from ingest.turns.table import EndedTurns, TurnTable
from sessions.errors import Retryable, SessionError
from sessions.stream.lanes.inbound import Inbound
from sessions.stream.lanes.lanes import Lanes

log = logging.getLogger(__name__)


class Membership:
    """One replica among the others. For one event loop."""

    def __init__(
        self,
        lanes: Lanes,
        *,
        table: TurnTable,
        ended: EndedTurns,
        resubmit: Callable[[Inbound], None],
    ) -> None:
        """`resubmit` is called with each message that may be lost with the former name."""
        self._lanes = lanes
        self._table = table
        self._ended = ended
        self._resubmit = resubmit
        self._renaming = asyncio.Lock()

    @property
    def name(self) -> str:
        """The name now; it tells a later `rejoin` which name was declared dead."""
        return self._lanes.replicas.name

    async def join(self) -> None:
        """Take a name. Without Redis the first beat that reaches it does so."""
        with contextlib.suppress(Retryable):
            await self._lanes.replicas.register(patience=0)

    async def leave(self) -> None:
        """Give the name up: the others take over what waits here, at once if Redis answers."""
        with contextlib.suppress(SessionError):
            await self._lanes.replicas.unregister()

    async def rejoin(self, dead: str) -> None:
        """Go on under a new name: all that was held or waited under the dead one is the others'.

        Once for each name, however many learn of its death. Raises Retryable.
        """
        async with self._renaming:
            if self.name != dead:
                return
            log.warning("this replica is not known to the others (any more) and begins again")
            self._table.interrupt_all(Interruption.LOST)
            waiting = self._table.let_go_of_waiting()
            await self._lanes.replicas.register()
            for message in self._ended.pop_messages():
                self._resubmit(Inbound.load(message))
            for turn in waiting:
                self._resubmit(turn.inbound)
