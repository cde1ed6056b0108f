"""What the entries of one writing transaction do: each gets its effect and its outcome.

Events that only add (append, rename, state, context) are decided in memory for the whole batch;
the rare others (rollback, reset, delete, dead) flush what came before them and then ask the store.
Numbers in brackets are the rules of docs/stream-contract.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sessions import wire
from sessions.backends import rules
from sessions.backends.connection import WritingConnection
from sessions.backends.ledger import Ledger
from sessions.backends.rows import EventRow, SessionRow
from sessions.backends.statements import Query
from sessions.backends.takeback import TakeBack
from sessions.backends.texts import Texts
from sessions.models import (
    Entry,
    Event,
    EventType,
    OutcomeKind,
    Poison,
    RawEntry,
    Reason,
    StreamId,
)

_ADDING: Final = frozenset({EventType.APPEND, EventType.RENAME, EventType.STATE, EventType.CONTEXT})
# Found once, for what every event comes by: an attribute of an enumeration costs as much as a call.
_APPEND: Final = EventType.APPEND
_DEAD: Final = EventType.DEAD
_APPLIED: Final = OutcomeKind.APPLIED


class Applier:
    """Applies a batch of entries to a ledger, and to the store below it."""

    def __init__(
        self,
        entries: Sequence[Entry],
        connection: WritingConnection,
        texts: Texts,
        ledger: Ledger,
        *,
        max_content: int,
    ) -> None:
        self.entries = entries
        self.ledger = ledger
        self._connection = connection
        self._take_back = TakeBack(connection, texts, ledger)
        self._max_content = max_content
        self._waiting = iter(entries)
        # The entry that the store must be asked about before any other is decided.
        self._looking: Entry | None = None

    def asking(self) -> list[Query]:
        """The queries for what may be asked about these entries."""
        return self.ledger.asking(entry.body for entry in self.entries)

    def decide(self) -> None:
        """Give entries their effect, in order, up to one that must look into the store.

        Needs no transaction, only what was `asking` and has not changed since. If it raises, the
        batch is of no more use.
        """
        if self._looking is None:
            self._looking = next((entry for entry in self._waiting if not self._took(entry)), None)

    async def finish(self) -> None:
        """Give all entries their effect; the ledger's `flush` writes down the rest of it."""
        self.decide()
        while self._looking is not None:
            await self._look(self._looking)
            self._looking = None
            self.decide()

    def _took(self, entry: Entry) -> bool:
        """Give one entry its place, unless the store must be asked first."""
        body = entry.body
        event_id = body.event_id if isinstance(body, Poison) else body.id
        known = self.ledger.events.get(event_id) if event_id is not None else None
        if known is not None:
            self._repeat(entry, known)
        elif isinstance(body, Poison):
            self.ledger.bury_entry(entry, body)
        else:
            return self._decided(entry, body)
        return True

    def _repeat(self, entry: Entry, known: EventRow) -> None:
        """An id that has its outcome [1, 7]: count it, and keep what contradicts it."""
        if known.stands_at(entry.raw.stream_id):
            return
        self.ledger.change_event(known._replace(duplicates=known.duplicates + 1))
        # A rebuilt index knows the ids of the messages and not their payloads.
        if known.digest and known.digest != entry.digest:
            session = entry.body.session or None
            detail = f"id {known.event_id} was used before with another payload"
            poison = Poison(Reason.ID_CONFLICT, detail, known.event_id, session)
            self.ledger.bury_entry(entry, poison)

    def _decided(self, entry: Entry, event: Event) -> bool:
        """Settle an event that has no outcome yet, unless the store must be asked first."""
        kind = event.type
        if kind is _DEAD:
            return False
        ledger = self.ledger
        session = ledger.sessions.get(event.session)
        if ledger.suppressed and self._is_suppressed(event):
            reason: Reason | None = Reason.ALREADY_ROLLED_BACK
        else:
            turn = event.turn
            opener = ledger.events.get(turn) if turn is not None and turn != event.id else None
            reason = rules.refusal(event, session, opener)
        if reason is not None:
            ledger.settle(entry, event, OutcomeKind.NOOP, reason=reason)
        elif kind in _ADDING:
            self._add(entry, event, session)
        else:
            return False
        return True

    def _is_suppressed(self, event: Event) -> bool:
        return rules.is_user_append(event) and (event.id, event.session) in self.ledger.suppressed

    def _add(self, entry: Entry, event: Event, session: SessionRow | None) -> None:
        """An append, rename, state or context: what needs no look into the store."""
        ledger = self.ledger
        if session is None or not session.live:
            session = self._open_session(event, session)
        seq = None
        if event.type is _APPEND:
            assert event.role is not None
            assert event.content is not None
            seq = ledger.add_message(
                session, event, role=event.role, content=event.content, turn=event.turn
            )
        elif event.type is EventType.RENAME:
            session.name = event.name or None
        if event.state is not None:
            rules.take_state(session, event, ledger.now)
        if rules.take_routing(session, event) or seq is None:
            ledger.touch(session, changed=True)
        ledger.settle(entry, event, _APPLIED, session=session, seq=seq)

    async def _look(self, entry: Entry) -> None:
        """Settle an event that asks for what is stored."""
        event = entry.body
        assert isinstance(event, Event)
        await self.ledger.flush()
        if event.type is EventType.DEAD:
            await self._dead(entry, event)
        else:
            await self._take_back.apply(entry, event, self.ledger.sessions.get(event.session))

    def _open_session(self, event: Event, session: SessionRow | None) -> SessionRow:
        ledger = self.ledger
        moment = min(event.at if event.at is not None else ledger.now, ledger.now)
        if session is None:
            return ledger.new_session(rules.opened(event.session, 0, 1, moment))
        rules.reopen(session, moment)
        ledger.touch(session, changed=True)
        return session

    # -- dead letters ------------------------------------------------------------------------

    async def _dead(self, entry: Entry, event: Event) -> None:
        """Replay or purge a dead letter [5]."""
        letters = await self._connection.run(
            "SELECT reason, size, payload FROM dead_letters WHERE id = ?", (event.target,)
        )
        reason: Reason | None = None
        if not letters:
            reason = Reason.NO_DEAD_LETTER
        elif event.action == "replay":
            reason = await self._replay(entry.raw.stream_id, *letters[0])
        if reason is None:
            await self._connection.run("DELETE FROM dead_letters WHERE id = ?", (event.target,))
            self.ledger.erased = True
        kind = OutcomeKind.APPLIED if reason is None else OutcomeKind.NOOP
        self.ledger.settle(entry, event, kind, reason=reason)

    async def _replay(
        self, stream_id: StreamId, died_of: str, size: int, payload: bytes
    ) -> Reason | None:
        """Decide the letter's event as if it stood here; why not, where it cannot be."""
        fields = _whole_fields(payload, size)
        if fields is None or died_of == Reason.UNDECODABLE:
            return Reason.NOT_REPLAYABLE
        again = wire.decode(RawEntry(stream_id, fields), max_content=self._max_content)
        body = again.body
        if isinstance(body, Poison) or body.type is EventType.DEAD:
            return Reason.STILL_DEAD
        await self.ledger.load(body)
        known = self.ledger.events.get(body.id)
        if known is not None and known.outcome != rules.DEAD:
            return Reason.STILL_DEAD
        if not self._decided(again, body):
            await self._look(again)
        await self.ledger.flush()
        return None


def _whole_fields(payload: bytes, size: int) -> list[bytes] | None:
    """The fields of a letter; None where the letter holds only the beginning of them."""
    try:
        fields = wire.unframe(payload)
    except ValueError:
        return None
    # A payload may have been cut exactly between two fields.
    return fields if sum(map(len, fields)) == size else None
