"""The claim on the stream: which store it belongs to, and under which epoch it is read."""

from __future__ import annotations

import logging

from sessions.errors import StreamFull, StreamUnavailable
from sessions.store.backend import SessionBackend
from sessions.stream.turns import TurnStream

log = logging.getLogger(__name__)


class StoreClaim:
    """This store's claim. `place` tells people where it is; `adopt` takes another store's claim."""

    def __init__(
        self, backend: SessionBackend, stream: TurnStream, *, place: str, adopt: bool
    ) -> None:
        self._backend = backend
        self._stream = stream
        self._place = place
        self._adopt = adopt
        self._settled = False

    async def check(self) -> None:
        """Claim the stream for this store; does nothing where that is done.

        Raises StoreMismatch, which says whose it is.
        """
        store_id = await self._backend.store_id()
        assert store_id is not None
        await self._stream.register(
            backend=self._backend.name,
            store_id=store_id,
            place=self._place,
            adopt=self._adopt,
        )

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
