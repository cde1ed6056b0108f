"""What became of one entry of the stream, which the outcome of its id alone does not tell.

An id keeps its first outcome. A later entry with that id either says the same, and then the outcome
is its own too, or it says something else, and then it is a dead letter `id_conflict`. The digests
of the two payloads decide, as they do for the worker, so nothing depends on dead letters that may
have been purged.
"""

from __future__ import annotations

from typing import Final

from api.freshness import Freshness, position_lost
from sessions import wire
from sessions.models import (
    STREAM_START,
    Event,
    Outcome,
    OutcomeKind,
    Position,
    RawEntry,
    Reason,
    StreamId,
)
from sessions.store.backend import SessionReader
from sessions.stream.turns import TurnStream

# What one entry may have at most, by the bounds of the contract, and more.
_ONE_ENTRY: Final = 8 * 1024 * 1024
_LAST_OF_A_MILLISECOND: Final = 2**64 - 1


class Fates:
    """The fates of entries on one stream, in one store."""

    def __init__(self, backend: SessionReader, stream: TurnStream, freshness: Freshness) -> None:
        self._backend = backend
        self._stream = stream
        self._freshness = freshness

    async def settled(self, position: Position, digest: bytes) -> Outcome | None:
        """Wait for the fate of an entry with that payload; raises what `Freshness.reached` does.

        None if the outcome of its id was forgotten meanwhile.
        """
        await self._freshness.reached(position, lambda: self._decided(position))
        outcome = await self._backend.outcome(position.event_id)
        return outcome and _judged(outcome, position, digest)

    async def now(self, position: Position) -> Outcome | None:
        """The fate of an entry so far, None while it was not applied.

        Raises PositionLost if neither the store nor the stream has it any more.
        """
        outcome = await self._backend.outcome(position.event_id)
        if outcome is None or _is_of(outcome, position):
            return outcome
        if not await self._freshness.passed(position):
            return None
        return _judged(outcome, position, await self._digest_at(position))

    async def _decided(self, position: Position) -> bool:
        """Whether this very entry gave its id the outcome; a later one must be passed instead."""
        outcome = await self._backend.outcome(position.event_id)
        return outcome is not None and _is_of(outcome, position)

    async def _digest_at(self, position: Position) -> bytes:
        """The digest of the entry at a position, as the stream still has it."""
        before = _before(position.stream_id)
        found = await self._stream.read(before, count=1, size=_ONE_ENTRY)
        for entry in found:
            if (entry.raw.stream_id, entry.body.stored_id) == (
                position.stream_id,
                position.event_id,
            ):
                return entry.digest
        raise position_lost()


def digest_of(event: Event) -> bytes:
    """The digest by which the worker compares the event's payload."""
    pairs = [part.encode() for pair in wire.encode(event).items() for part in pair]
    return wire.decode(RawEntry(STREAM_START, pairs), max_content=_ONE_ENTRY).digest


def _judged(outcome: Outcome, position: Position, digest: bytes) -> Outcome:
    """The fate of an entry with that payload, given the outcome of its id."""
    # Without the first one's digest the worker does not compare either.
    same = not outcome.digest or outcome.digest == digest
    return outcome if same or _is_of(outcome, position) else _conflict(outcome, position)


def _is_of(outcome: Outcome, position: Position) -> bool:
    return outcome.position.stream_id == position.stream_id


def _before(place: StreamId) -> StreamId:
    if place.seq:
        return StreamId(place.ms, place.seq - 1)
    return StreamId(max(0, place.ms - 1), _LAST_OF_A_MILLISECOND)


def _conflict(outcome: Outcome, position: Position) -> Outcome:
    return Outcome(
        id=outcome.id,
        outcome=OutcomeKind.DEAD,
        reason=Reason.ID_CONFLICT,
        session=None,
        position=position,
        duplicates=0,
        detail="this id was used before with another payload",
    )
