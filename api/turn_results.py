"""How a turn ended, as its events tell; and waiting for that."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sessions.errors import Retryable
from sessions.models import Outcome, OutcomeKind, Position
from sessions.store.backend import SessionReader
from sessions.stream.lanes.closing import Closing, reply_id, rollback_id
from sessions.stream.lanes.inbound import Inbound, removal_id
from sessions.web.rejections import IdConflict

# Seconds between two looks: soon at first, since echoes and caches answer at once; then rarely.
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 0.5


class TurnStatus(StrEnum):
    """How a turn ended."""

    REPLIED = "replied"
    FAILED = "failed"
    ABORTED = "aborted"
    REMOVED = "removed"
    """It never began: its message was taken out of the lane."""


@dataclass(frozen=True, slots=True)
class TurnResult:
    """The end of a turn. `text` is what the session keeps as its answer, or why there is none."""

    status: TurnStatus
    text: str
    position: Position


class TurnResults:
    """The ends of turns in one store. The caller must be one who may read them."""

    def __init__(self, backend: SessionReader) -> None:
        self._backend = backend

    async def wait(self, inbound: Inbound, digest: bytes, *, seconds: float) -> TurnResult | None:
        """The end, waited for; None if it has not come by then. Raises IdConflict.

        A store that cannot be read now is asked again until then.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                return await self._wait(inbound, digest)
        return None

    async def _wait(self, inbound: Inbound, digest: bytes) -> TurnResult:
        pause = _FIRST_PAUSE
        while True:
            with contextlib.suppress(Retryable):
                end = await self.find(inbound, digest)
                if end is not None:
                    return end
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def opened(self, inbound: Inbound, digest: bytes) -> Outcome | None:
        """What became of the message, None while it was not published.

        `digest` is what it says; raises IdConflict if another message has its id.
        """
        opened = await self._backend.outcome(inbound.id)
        if opened is not None and opened.digest not in (b"", None, digest):
            raise IdConflict
        return opened

    async def find(self, inbound: Inbound, digest: bytes) -> TurnResult | None:
        """The end so far, None while there is none; raises as `opened` does."""
        removed = await self._backend.outcome(removal_id(inbound.id))
        if removed is not None:
            return TurnResult(TurnStatus.REMOVED, _REMOVED, removed.position)
        opened = await self.opened(inbound, digest)
        if opened is None:
            return None
        if opened.outcome is not OutcomeKind.APPLIED:
            return _failed(f"{_NOT_TAKEN}: {opened.reason}", opened)
        rolled_back = await self._backend.outcome(rollback_id(inbound.id))
        if rolled_back is not None:
            return _failed(_TAKEN_BACK, rolled_back)
        closed = await self._backend.outcome(reply_id(inbound.id))
        return None if closed is None else await self._closed(inbound, closed)

    async def _closed(self, inbound: Inbound, closed: Outcome) -> TurnResult:
        found = await self._backend.message(reply_id(inbound.id))
        if found is None or found.session != inbound.session:
            return _failed(_GONE, closed)
        return TurnResult(await self._status(inbound.id), found.message.content, closed.position)

    async def _status(self, turn: str) -> TurnStatus:
        for closing in Closing:
            if await self._backend.outcome(closing.event_id(turn)) is not None:
                aborted = closing is Closing.ABORTED
                return TurnStatus.ABORTED if aborted else TurnStatus.FAILED
        return TurnStatus.REPLIED


def _failed(text: str, outcome: Outcome) -> TurnResult:
    return TurnResult(TurnStatus.FAILED, text, outcome.position)


_REMOVED: Final = "the message was taken out of the session's queue before its turn"
_NOT_TAKEN: Final = "the message was not taken"
_TAKEN_BACK: Final = "the agent could not answer; nothing of it is kept"
_GONE: Final = "the session does not hold the answer any more"
