"""Deciding the batch behind the one that is being written."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from sessions.errors import Retryable
from sessions.models import Entry
from sessions.store.backend import Following
from sessions.store.engine.decider import Decider

log = logging.getLogger(__name__)


class Decided(NamedTuple):
    """A batch as far as it is decided, and the drafts of what that changes."""

    decider: Decider
    drafts: list[Any]


class LookAhead:
    """At most one batch that was decided ahead, upon what the one before it leaves behind.

    Nobody else writes, so that is right whether or not that one is committed by now. If it fails,
    or something else is written before, its owner has to `drop` this.
    """

    def __init__(self, decide: Callable[[Sequence[Entry]], Awaitable[Decided]]) -> None:
        self._decide = decide
        self._task: asyncio.Task[Decided | None] | None = None

    @property
    def waits(self) -> bool:
        """Whether a batch is decided ahead, or being so."""
        return self._task is not None

    def start(self, following: Following) -> None:
        """Begin to decide what follows."""
        self._task = asyncio.create_task(self._ahead(following), name="look-ahead")

    async def take(self, entries: Sequence[Entry]) -> Decided | None:
        """The batch of these entries, if it is the one that was decided; else none is kept."""
        if self._task is None:
            return None
        # Waiting for it must neither cancel it nor be cancelled by it.
        await asyncio.wait([self._task])
        decided = None if self._task.cancelled() else self._task.result()
        if decided is None or decided.decider.entries != entries:
            return None
        self._task = None
        return decided

    def drop(self) -> None:
        """Forget what was decided ahead."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _ahead(self, following: Following) -> Decided | None:
        try:
            entries = await following()
            return await self._decide(entries) if entries else None
        except Retryable:
            # In its turn it is tried again.
            return None
        except Exception as error:  # noqa: BLE001 - in its turn it fails again, and is dealt with
            log.warning("cannot look ahead: %r", error)
            return None
