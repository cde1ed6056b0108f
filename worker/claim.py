"""The claim on the stream: which store it belongs to, and under which epoch it is read."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from sessions.errors import StreamFull, StreamUnavailable
from sessions.models import Position
from sessions.store.backend import SessionBackend
from sessions.stream.turns import StreamFacts, TurnStream
from sessions.transfer.others import OtherStore, note_left

log = logging.getLogger(__name__)


# Entries that are counted of those that the other store has not applied.
_COUNTED: Final = 128


class StoreClaim:
    """This store's claim. `place` tells people where it is; `adopt` takes another store's claim.

    With `adopt` the stores that are `left` behind in the workspace are noted, once this one leads.
    """

    def __init__(
        self,
        backend: SessionBackend,
        stream: TurnStream,
        *,
        place: str,
        adopt: bool,
        left: Sequence[OtherStore] = (),
    ) -> None:
        self._backend = backend
        self._stream = stream
        self._place = place
        self._adopt = adopt
        self._left = left
        self._settled = False

    async def check(self) -> None:
        """Claim the stream for this store; does nothing where that is done.

        Raises StoreMismatch, which says whose it is.
        """
        store_id = await self._backend.store_id()
        assert store_id is not None
        if self._adopt:
            await self._tell_adoption(store_id)
        await self._stream.register(
            backend=self._backend.name,
            store_id=store_id,
            place=self._place,
            adopt=self._adopt,
        )

    async def _tell_adoption(self, store_id: str) -> None:
        """Say from which store the stream is taken, and what that one had still to apply."""
        facts = await self._stream.facts()
        owner = facts.store.get("store_id")
        if owner in (None, store_id):
            return
        log.warning(
            "the stream is taken over from the %s store %s in %s: it has %d entries, of which that "
            "store has not applied %s; what it had applied before them stays there alone",
            *(facts.store.get("backend"), owner, facts.store.get("place"), facts.length),
            await self._unapplied(facts),
        )

    async def _unapplied(self, facts: StreamFacts) -> str:
        """How many entries the store that has the stream now has not applied, for people."""
        applied = Position.parse(facts.store["applied"]) if "applied" in facts.store else None
        if applied is None or facts.added is None or applied.epoch != facts.epoch:
            return "an unknown number"
        if applied.stream_id >= facts.newest_id:
            return "0"
        counted = max(0, facts.added - _COUNTED)
        behind = (await self._stream.facts(applied.stream_id, counted=counted)).behind
        return f"{behind} or more" if behind == _COUNTED else str(behind)

    async def announce_epoch(self, epoch: int, *, registered: int) -> None:
        """Tell publishers and readers the epoch, where Redis has another one `registered`.

        A Redis that takes no writes now may delay it, but what can be read is applied all the same.
        """
        if self._settled and registered == epoch:
            return
        try:
            await self.check()
            await self._stream.announce(epoch=epoch)
        except (StreamFull, StreamUnavailable) as error:
            log.warning("cannot register in Redis yet: %s", error)
        else:
            self._settled = True
            await note_left(self._backend, self._left)
