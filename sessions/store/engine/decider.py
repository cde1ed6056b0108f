"""What the entries of one batch do: each gets its effect and its outcome. Pure.

Events that only add (append, rename, state, context) are decided in memory for the whole batch;
the rare others (rollback, reset, delete, owner, dead) ask the store in the middle of it (`asking`).
Numbers in brackets are the rules of docs/stream-contract.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sessions import wire
from sessions.ids import shown_id, stored_id
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
from sessions.store.engine import rules
from sessions.store.engine.adapter import KeptLetter
from sessions.store.engine.asking import Deciding, ask
from sessions.store.engine.changes import Needs
from sessions.store.engine.removal import Remover
from sessions.store.engine.rows import EventRow, SessionRow
from sessions.store.engine.workset import Workset

_ADDING: Final = frozenset({EventType.APPEND, EventType.RENAME, EventType.STATE, EventType.CONTEXT})
# Found once, for what every event comes by: an attribute of an enumeration costs as much as a call.
_APPEND: Final = EventType.APPEND
_DEAD: Final = EventType.DEAD
_APPLIED: Final = OutcomeKind.APPLIED
# Reasons of events that the session is not for.
_STRANGE: Final = frozenset({Reason.NOT_OWNER, Reason.NO_SESSION})


class Decider:
    """Decides a batch of entries upon its working set."""

    def __init__(self, entries: Sequence[Entry], work: Workset, *, max_content: int) -> None:
        self.entries = entries
        self.work = work
        self._remover = Remover(work)
        self._max_content = max_content
        self._waiting = iter(entries)
        # The entry that the store must be asked about before any other is decided.
        self._looking: Entry | None = None

    def needs(self) -> Needs:
        """The rows that the decisions may ask for."""
        return self.work.needs(entry.body for entry in self.entries)

    def decide(self) -> None:
        """Give entries their effect, in order, up to one that must ask the store.

        It takes what was needed and has not changed since. If it raises, the batch is of no more
        use.
        """
        if self._looking is None:
            self._looking = next((entry for entry in self._waiting if not self._took(entry)), None)

    def finish(self) -> Deciding[None]:
        """Give all entries their effect, asking the store where they need it."""
        self.decide()
        while self._looking is not None:
            yield from self._look(self._looking)
            self._looking = None
            self.decide()

    def _took(self, entry: Entry) -> bool:
        """Give one entry its place, unless the store must be asked first."""
        body = entry.body
        event_id = body.id if isinstance(body, Event) and body.by is None else body.stored_id
        known = self.work.events.get(event_id) if event_id is not None else None
        if known is not None:
            self._repeat(entry, known)
        elif isinstance(body, Poison):
            self.work.bury_entry(entry, body)
        else:
            return self._decided(entry, body)
        return True

    def _repeat(self, entry: Entry, known: EventRow) -> None:
        """An id that has its outcome [1, 7]: count it, and keep what contradicts it."""
        if known.stands_at(entry.raw.stream_id):
            return
        self.work.count_again(known, entry.body)
        # A rebuilt index knows the ids of the messages and not their payloads.
        if known.digest and known.digest != entry.digest:
            session, event_id = entry.body.session or None, shown_id(known.event_id)
            detail = f"id {event_id} was used before with another payload"
            poison = Poison(Reason.ID_CONFLICT, detail, event_id, session, entry.body.by)
            self.work.bury_entry(entry, poison)

    def _decided(self, entry: Entry, event: Event) -> bool:
        """Settle an event that has no outcome yet, unless the store must be asked first."""
        kind = event.type
        if kind is _DEAD or not event.session:
            return False
        work = self.work
        row = work.sessions.get(event.session)
        session = rules.as_seen(event, row)
        if work.suppressed and self._is_suppressed(event):
            reason: Reason | None = Reason.ALREADY_ROLLED_BACK
        else:
            reason = rules.refusal(event, session, self._opener(event, session))
        if reason is not None:
            found = None if reason in _STRANGE else session
            work.record_outcome(entry, event, OutcomeKind.NOOP, reason=reason, session=found)
        elif kind in _ADDING:
            self._add(entry, event, row)
        else:
            return False
        return True

    def _is_suppressed(self, event: Event) -> bool:
        place = (event.stored_id, event.session)
        return rules.is_user_append(event) and place in self.work.suppressed

    def _opener(self, event: Event, session: SessionRow | None) -> EventRow | None:
        """The event that opened the turn of this one, unless it is that itself."""
        turn = event.turn
        if turn is None or turn == event.id:
            return None
        work = self.work
        # Mostly it is the publisher's own and known, and then nothing else has to be looked at.
        opener = work.events.get(turn) if event.by is None else None
        return opener or work.events.get(work.referred(turn, event.by, session))

    def _turn_of(self, event: Event, session: SessionRow) -> str | None:
        """The turn of a message, as it is stored."""
        turn, by = event.turn, event.by
        if rules.is_from_outside(event):
            # Of no turn of this session, so that it answers none.
            return event.stored_id if turn is None else stored_id(turn, by)
        if turn is None or (by is None and turn in self.work.events):
            return turn
        if turn == event.id:
            return event.stored_id
        return self.work.referred(turn, by, session)

    def _add(self, entry: Entry, event: Event, session: SessionRow | None) -> None:
        """An append, rename, state or context: what needs no look into the store."""
        work = self.work
        if session is None or not session.live:
            session = self._open_session(event, session)
        seq = None
        if event.type is _APPEND:
            assert event.role is not None
            assert event.content is not None
            turn = self._turn_of(event, session) if event.turn or event.by else None
            seq = work.add_message(
                session, event, role=event.role, content=event.content, turn=turn
            )
        elif event.type is EventType.RENAME:
            session.name = event.name or None
        if event.state is not None:
            rules.take_state(session, event, work.now)
        if rules.take_routing(session, event) or seq is None:
            work.touch(session)
        work.record_outcome(entry, event, _APPLIED, session=session, seq=seq)

    def _open_session(self, event: Event, session: SessionRow | None) -> SessionRow:
        work = self.work
        moment = min(event.at if event.at is not None else work.now, work.now)
        if session is None:
            return work.new_session(rules.opened(event.session, 0, 1, moment))
        rules.reopen(session, moment, owner=event.agent)
        work.touch(session)
        return session

    def _look(self, entry: Entry) -> Deciding[None]:
        """Settle an event that asks for what is stored."""
        event = entry.body
        assert isinstance(event, Event)
        if event.type is EventType.DEAD:
            yield from self._dead(entry, event)
        elif event.type is EventType.OWNER:
            yield from self._give(entry, event)
        else:
            session = rules.as_seen(event, self.work.sessions.get(event.session))
            yield from self._remover.apply(entry, event, session)

    # -- owners ------------------------------------------------------------------------------

    def _give(self, entry: Entry, event: Event) -> Deciding[None]:
        """Give a session, or all sessions of an agent, to another one or to nobody [10]."""
        session = self.work.sessions.get(event.session) if event.session else None
        if event.by is not None:
            reason: Reason | None = Reason.NOT_OWNER
        elif session is not None:
            reason = self._give_one(session, event)
        else:
            reason = yield from self._give_all(event.expect_agent or "", event.agent or None)
        kind = _APPLIED if reason is None else OutcomeKind.NOOP
        self.work.record_outcome(entry, event, kind, reason=reason, session=session)

    def _give_one(self, session: SessionRow, event: Event) -> Reason | None:
        if event.expect_agent is not None and event.expect_agent != (session.agent or ""):
            return Reason.NOT_OWNER
        session.agent = event.agent or None
        rules.take_routing(session, event)
        self.work.touch(session)
        return None

    def _give_all(self, before: str, after: str | None) -> Deciding[Reason | None]:
        if not (yield from ask(lambda store: store.owns_any(before))):
            return Reason.NO_SESSION
        # Tombstones too: an agent that changed its name keeps what it deleted from others.
        self.work.hand_over(before, after)
        return None

    # -- dead letters ------------------------------------------------------------------------

    def _dead(self, entry: Entry, event: Event) -> Deciding[None]:
        """Replay or purge a dead letter [5]."""
        letter = yield from ask(lambda store: store.letter(event.target))
        reason: Reason | None = None
        if letter is None or event.target is None:
            reason = Reason.NO_DEAD_LETTER
        elif event.action == "replay":
            reason = yield from self._replay(entry.raw.stream_id, letter)
        if reason is None and event.target is not None:
            self.work.purge(event.target)
        kind = _APPLIED if reason is None else OutcomeKind.NOOP
        self.work.record_outcome(entry, event, kind, reason=reason)

    def _replay(self, stream_id: StreamId, letter: KeptLetter) -> Deciding[Reason | None]:
        """Decide the letter's event as if it stood here; why not, where it cannot be."""
        fields = _whole_fields(letter)
        if fields is None or letter.reason == Reason.UNDECODABLE:
            return Reason.NOT_REPLAYABLE
        again = wire.decode(RawEntry(stream_id, fields), max_content=self._max_content)
        body = again.body
        if isinstance(body, Poison) or body.type is EventType.DEAD:
            return Reason.STILL_DEAD
        needs = self.work.needs([body])
        self.work.add_found((yield from ask(lambda store: store.find(needs))))
        known = self.work.events.get(body.stored_id)
        if known is not None and known.outcome != rules.DEAD:
            return Reason.STILL_DEAD
        if not self._decided(again, body):
            yield from self._look(again)
        return None


def _whole_fields(letter: KeptLetter) -> list[bytes] | None:
    """The fields of a letter; None where the letter holds only the beginning of them."""
    try:
        fields = wire.unframe(letter.payload)
    except ValueError:
        return None
    # A payload may have been cut exactly between two fields.
    return fields if sum(map(len, fields)) == letter.size else None
