"""What a leader has decided and not committed: the batch in hand, and the one that follows it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

from sessions.errors import Retryable
from sessions.ids import space_of
from sessions.models import Entry
from sessions.store.backend import Following
from sessions.store.engine.adapter import Foreseeing, StoreAdapter
from sessions.store.engine.changes import Changes
from sessions.store.engine.decider import Decider
from sessions.store.engine.workset import Workset, WriterCache

log = logging.getLogger(__name__)

# Session rows kept between batches, about 5 MB.
_KEPT_SESSIONS: Final = 10_000


class DecidedBatch(NamedTuple):
    """A batch as far as it is decided, and the drafts of what that changes."""

    decider: Decider
    drafts: list[Any]


class PendingDecisions:
    """The batches of one leader, and what it remembers between them.

    At most one batch is decided ahead, upon what the one before it leaves behind. Nobody else
    writes, so that is right whether or not that one is committed by now. If it fails, or something
    else is written first, the writer has to `forget`.
    """

    def __init__(
        self, adapter: StoreAdapter, *, max_content: int, clock: Callable[[], int]
    ) -> None:
        self._adapter = adapter
        self._max_content = max_content
        self._clock = clock
        self._memory = WriterCache()
        self._ahead: asyncio.Task[DecidedBatch | None] | None = None

    def begin_term(self, publishers: Iterable[str]) -> None:
        """Begin to lead a store in which these publishers have messages."""
        self.forget()
        self._memory.spaces = {space_of(by) for by in publishers}

    def work(self) -> Workset:
        """A working set upon what is remembered."""
        if len(self._memory.sessions) > _KEPT_SESSIONS:
            self._memory.sessions = {}
        return Workset(self._memory, now=self._clock())

    async def begin(self, entries: Sequence[Entry]) -> tuple[DecidedBatch, bool]:
        """The batch of these entries, and whether it is the one that was decided ahead."""
        decided = await self._taken(entries)
        self.drop_ahead()
        return decided or DecidedBatch(self._batch(entries), []), decided is not None

    async def _taken(self, entries: Sequence[Entry]) -> DecidedBatch | None:
        """The batch that was decided ahead, if it is that of these entries."""
        if self._ahead is None:
            return None
        # Waiting for it must neither cancel it nor be cancelled by it.
        await asyncio.wait([self._ahead])
        decided = None if self._ahead.cancelled() else self._ahead.result()
        if decided is None or decided.decider.entries != entries:
            return None
        self._ahead = None
        return decided

    def look_ahead(self, following: Following) -> None:
        """Begin to decide what follows, if the store can be asked about it by now."""
        if isinstance(self._adapter, Foreseeing):
            deciding = self._decide_ahead(self._adapter, following)
            self._ahead = asyncio.create_task(deciding, name="look-ahead")

    async def _decide_ahead(self, store: Foreseeing, following: Following) -> DecidedBatch | None:
        """Decide the batch behind the one in hand, as far as that goes without a transaction."""
        try:
            entries = await following()
            if not entries:
                return None
            batch = self._batch(entries)
            batch.work.add_found(await store.foresee(batch.needs()))
            batch.decide()
            return DecidedBatch(batch, drafts_of(batch.work.taken_changes(), self._adapter))
        except Retryable:
            # In its turn it is tried again.
            return None
        except Exception as error:  # noqa: BLE001 - in its turn it fails again, and is dealt with
            log.warning("cannot look ahead: %r", error)
            return None

    def drop_ahead(self) -> None:
        """Forget what was decided ahead; nothing happens if nothing was."""
        if self._ahead is not None:
            self.forget()

    def forget(self) -> None:
        """Forget what was decided in memory and is not committed, sessions and all."""
        # A new dictionary, which nothing that is still at work can change.
        self._memory = WriterCache(spaces=self._memory.spaces)
        if self._ahead is not None:
            self._ahead.cancel()
            self._ahead = None

    def _batch(self, entries: Sequence[Entry]) -> Decider:
        return Decider(entries, self.work(), max_content=self._max_content)


def drafts_of(changes: Changes, adapter: StoreAdapter) -> list[Any]:
    """The draft of these changes; none if they are empty, since a write may be a round trip."""
    return [adapter.draft(changes)] if changes else []
