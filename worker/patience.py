"""Waiting out what passes by itself: a full disk, a Redis that is away."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from sessions.errors import Retryable, StoreUnavailable
from sessions.process.retry import OutageLog, Pauses, retry
from worker.status import WorkerStatus

log = logging.getLogger(__name__)

# Seconds between two tries: a lock is free again at once, a disk or Redis after a while. A leader
# may be asked to stop meanwhile, so no pause is longer than a stop may take.
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 2.0
# Seconds between two lines about the same trouble.
_REPEAT_TROUBLE: Final = 10.0


@dataclass(slots=True)
class BlockedReason:
    """What is in this worker's way just now; None where nothing is."""

    text: str | None = None


def _tolerated(_error: Retryable) -> None:
    return None


class Patience:
    """Does steps, each again and again until it is done."""

    def __init__(self, status: WorkerStatus, stopping: asyncio.Event) -> None:
        self.tries = 0
        self.trouble = BlockedReason()
        self._status = status
        self._stopping = stopping

    async def run_until_done(
        self,
        step: Callable[[], Awaitable[None]],
        *,
        check: Callable[[Retryable], None] = _tolerated,
    ) -> None:
        """Do the step until nothing passing is in its way, or a stop is asked for.

        `check` may raise an error of its own instead of going on.
        """
        began = asyncio.get_running_loop().time()
        outage = OutageLog(log, "waiting: %s", again=_REPEAT_TROUBLE)
        self.trouble.text = None

        def goes_on(error: Retryable) -> bool:
            check(error)
            return not self._stopping.is_set()

        with contextlib.suppress(Retryable):  # it comes out of there where a stop is asked for
            await retry(
                lambda: self._tried(step, outage),
                on=Retryable,
                pauses=Pauses(_FIRST_PAUSE, _LONGEST_PAUSE),
                # No limit: the entries wait in the stream, and nobody else may apply them.
                patience=None,
                goes_on=goes_on,
            )
            await self._over(began)

    async def _tried(self, step: Callable[[], Awaitable[None]], outage: OutageLog) -> None:
        try:
            await step()
        except Retryable as error:
            self.trouble.text = str(error)
            if outage.failed(error) and isinstance(error, StoreUnavailable):
                await self._status.announce(trouble=str(error))
            raise
        finally:
            self.tries += 1

    async def _over(self, began: float) -> None:
        if self.trouble.text is not None:
            log.info("going on after %.1f s", asyncio.get_running_loop().time() - began)
            self.trouble.text = None
            await self._status.announce(trouble="")
