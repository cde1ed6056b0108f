"""Brings the rows of an export, or of another store, into a store.

Into an empty store they come exactly: numbers, ids and outcomes are the same, so that an export of
it has the same bytes. Into any other they come beside what is there: a session whose key is there
already stays out as a whole, and is named.

All of it can be done again: what is there has no effect. So an import that was killed is started
again and goes on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Final, Protocol

from sessions import times
from sessions.models import StreamCursor
from sessions.store.backend import SessionBackend, Transferable
from sessions.store.engine.receipts import Receipt
from sessions.store.engine.rows import SessionRow
from sessions.store.image import KeyedEvent, KeyedMessage, StoreHead, StoreRows
from sessions.transfer.report import Advance, SourceReport

EXACT: Final = "exact"
BESIDE: Final = "beside"
IS_THERE: Final = "a session of this key is here already; import into a workspace of its own"
WAS_DELETED: Final = "a session of this key was deleted here; its key is free 30 days later"
ID_IS_TAKEN: Final = "another event has its id here; import into a workspace of its own"


class TransferableBackend(SessionBackend, Transferable, Protocol):
    """A store that can be copied and can take in what is not its own."""


class Restoration:
    """One import of rows. `name` is its receipt's source, `kind` what it is."""

    def __init__(
        self, backend: TransferableBackend, *, name: str, kind: str, advance: Advance
    ) -> None:
        self._backend = backend
        self._name = name
        self._kind = kind
        self._advance = advance
        # Sessions that stay out, and why.
        self._aside: dict[str, str] = {}
        self._ours: set[str] = set()
        self._mode = EXACT
        self._is_used = False
        self.report = SourceReport(name, kind)

    async def begin(self, *, digest: str | None = None) -> bool:
        """Look how far it came before; False if all of the source with this digest is in.

        Without a digest the source may have grown, and what is new comes in.
        """
        receipts = await self._backend.receipts(self._name)
        self._ours = {one.session for one in receipts if one.session}
        whole = next((one for one in receipts if not one.session), None)
        # What stayed out may come in once its key is free.
        if whole is not None and whole.digest and whole.digest == digest and not whole.aside:
            self.report.unchanged = True
            return False
        self._is_used = whole is not None or not await is_empty(self._backend)
        if whole is not None:
            # What was begun in an empty store goes on as it was begun.
            self._mode = whole.detail if not whole.digest else BESIDE
        elif self._is_used:
            self._mode = BESIDE
        return True

    @property
    def is_exact(self) -> bool:
        """Whether the store was empty when this began."""
        return self._mode == EXACT

    async def take(self, rows: StoreRows) -> None:
        """Bring a part in, but for what is set aside."""
        part = await self._selected(rows)
        new = [row.key for row in part.sessions if row.key not in self._ours]
        part.receipts = [*part.receipts, *map(self._receipt, ("", *new))]
        added, strangers = await self._backend.restore(part)
        self.report.messages += added
        self.report.known += len(part.messages) - added - len(strangers)
        for event_id in strangers:
            self.report.set_aside(f"message {event_id}", ID_IS_TAKEN)
        self._advance(len(rows.messages))

    async def count(self, rows: StoreRows) -> None:
        """Tell what `take` would do, without doing it."""
        part = await self._selected(rows)
        for one in part.messages:
            known = await self._backend.outcome(one.row.event_id)
            if known is not None and known.digest != one.event.digest:
                self.report.set_aside(f"message {one.row.event_id}", ID_IS_TAKEN)
                continue
            self.report.known += known is not None
            self.report.messages += known is None
        self._advance(len(rows.messages))

    async def finish(
        self, *, head: StoreHead | None, place: StreamCursor, digest: str, size: int
    ) -> None:
        """Note that all is in; into an empty store comes what the source had once, too."""
        if self.is_exact:
            await self._backend.become(head or await self._plain_head(place))
        # Sessions without messages count too: what stays out is looked at again the next time.
        aside = self.report.aside or len(self._aside)
        done = self._receipt("")._replace(
            digest=digest, size=size, messages=self.report.messages, aside=aside
        )
        await self._backend.restore(StoreRows(receipts=[done]))

    async def _plain_head(self, place: StreamCursor) -> StoreHead:
        """What the store has once: its own id, no known age, and the last place that is in it.

        Places of outcomes are those of another stream. With that one behind them nobody waits for
        any, and the next stream gets a higher epoch.
        """
        cursor = await self._backend.cursor()
        dropped = await self._backend.letters_dropped()
        return StoreHead(None, 0, max(cursor, place, key=lambda one: one.epoch), dropped)

    async def _selected(self, rows: StoreRows) -> StoreRows:
        """What of the part comes in."""
        part = await self._beside(rows) if self._is_used else replace(rows)
        if not self.is_exact:
            part.messages = [_placeless(one) for one in part.messages]
            part.events = [
                KeyedEvent(one.home, one.row._replace(epoch=0, ms=0, n=0)) for one in part.events
            ]
        self.report.sessions += sum(row.live and row.key not in self._ours for row in part.sessions)
        return part

    async def _beside(self, rows: StoreRows) -> StoreRows:
        """The part without sessions that are here."""
        fresh = [row for row in rows.sessions if await self._is_fresh(row)]
        aside = self._aside
        for one in rows.messages:
            if one.key in aside:
                self.report.set_aside(f"session {one.key}", aside[one.key])
        return StoreRows(
            sessions=fresh,
            messages=[one for one in rows.messages if one.key not in aside],
            events=[one for one in rows.events if (one.home or one.row.session) not in aside],
            suppressed=[one for one in rows.suppressed if one.session not in aside],
            letters=[one for one in rows.letters if one.session not in aside],
            receipts=[one for one in rows.receipts if one.session not in aside],
        )

    async def _is_fresh(self, row: SessionRow) -> bool:
        """Whether this import may bring the session in."""
        if row.key in self._ours:
            return True
        routing = await self._backend.routing_of(row.key)
        if routing is None:
            return True
        self._aside[row.key] = IS_THERE if routing.live else WAS_DELETED
        if row.live:
            self.report.set_aside(f"session {row.key}", self._aside[row.key], count=0)
        return False

    def _receipt(self, session: str) -> Receipt:
        return Receipt(self._name, session, self._kind, "", 0, 0, 0, times.now(), self._mode)


def _placeless(one: KeyedMessage) -> KeyedMessage:
    return one._replace(event=one.event._replace(epoch=0, ms=0, n=0))


async def is_empty(backend: SessionBackend) -> bool:
    """Whether the store has never held anything."""
    counts = await backend.counts()
    return not (counts["sessions"] or counts["events"] or counts["dead_letters"])


async def restore_all(
    restoration: Restoration, parts: AsyncIterator[StoreRows], *, dry_run: bool
) -> None:
    """Bring in all parts, or only count them."""
    async for part in parts:
        await (restoration.count(part) if dry_run else restoration.take(part))
