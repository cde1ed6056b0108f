"""What a rebuilt index must not apply again: what its session files show as applied.

Without its old index a rebuilt one reads the stream from its beginning. A reset that was applied
long ago would then erase what was written after it. A message that is there proves that all
entries of its session up to its own were applied, so they get an outcome before any is applied.
What comes behind them has left no message: it is applied again, and ends where it ended before.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from sessions.models import STREAM_START, Entry, Event, EventType, StreamId
from sessions.store.backend import Recalling, SessionBackend

# Gives the entries behind a place of the stream; none at its end.
Read = Callable[[StreamId], Awaitable[list[Entry]]]

_ENDS: Final = frozenset({EventType.RESET, EventType.DELETE})
_CREATING: Final = frozenset({EventType.APPEND, EventType.CONTEXT})


async def recognise(backend: SessionBackend, read: Read) -> int:
    """Have the leading backend know again what its messages prove; the number of such entries.

    Done again after it was cut short, it has the same effect.
    """
    if not isinstance(backend, Recalling) or not (await backend.counts())["sessions"]:
        return 0
    proof = _Proof()
    async for batch in _batches(backend, read):
        proof.add_batch(batch, await backend.shown(batch))
    for key in proof.in_question:
        session = await backend.session(key)
        if session is not None and session.message_count == 0:
            proof.begin_early(key)
    count, end = 0, max(proof.places.values(), default=STREAM_START)
    if end > STREAM_START:
        async for batch in _batches(backend, read):
            recalled = [entry for entry in batch if proof.covers(entry)]
            await backend.recall(recalled, ended=proof.ended)
            count += len(recalled)
            if batch[-1].raw.stream_id >= end:
                break
    return count


async def _batches(backend: SessionBackend, read: Read) -> AsyncIterator[list[Entry]]:
    place = STREAM_START
    while batch := await read(place):
        # The stream may be long, and the lease must not lapse.
        await backend.renew()
        yield batch
        place = batch[-1].raw.stream_id


@dataclass
class _Proof:
    """Up to where the messages show each session, and so the whole stream, as applied."""

    last: StreamId = STREAM_START
    places: dict[str, StreamId] = field(default_factory=dict[str, StreamId])
    ended: dict[str, StreamId] = field(default_factory=dict[str, StreamId])
    # Ends of sessions that no later message proves yet.
    _ends: dict[str, StreamId] = field(default_factory=dict[str, StreamId])
    _seen: set[str] = field(default_factory=set[str])
    _begun: set[str] = field(default_factory=set[str])
    # The last delete of each session that stands before all that could make the session.
    _early: dict[str, StreamId] = field(default_factory=dict[str, StreamId])

    def add_batch(self, batch: list[Entry], shown: Mapping[str, str]) -> None:
        """Take in the next entries, and which of them made messages that are there."""
        for entry in batch:
            event, place = entry.body, entry.raw.stream_id
            if not isinstance(event, Event):
                continue
            if event.type in _ENDS:
                self._ends[event.session] = place
            if event.type in _CREATING:
                self._begun.add(event.session)
            elif event.type is EventType.DELETE and event.session not in self._begun:
                self._early[event.session] = place
            # An id that comes again later is no proof of what stands before that.
            if shown.get(event.stored_id) == event.session and event.stored_id not in self._seen:
                self._seen.add(event.stored_id)
                self.last = self.places[event.session] = place
                if event.session in self._ends:
                    self.ended[event.session] = self._ends[event.session]

    @property
    def in_question(self) -> set[str]:
        """Sessions without proof, of which the stream has a delete and later their beginning."""
        return (self._early.keys() & self._begun) - self.places.keys()

    def begin_early(self, key: str) -> None:
        """Take such a session as begun after that delete: it is there, and has no message."""
        self.places[key] = self._early[key]

    def covers(self, entry: Entry) -> bool:
        """Whether the entry was surely applied; of what has no session, in any."""
        event = entry.body
        if not isinstance(event, Event):
            return False
        proven = self.places.get(event.session, STREAM_START) if event.session else self.last
        return entry.raw.stream_id <= proven
