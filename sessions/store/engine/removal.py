"""Taking back: rollback of one message, and the end of a whole generation by reset or delete.

Numbers in brackets are the rules of docs/stream-contract.md.
"""

from __future__ import annotations

from typing import Final

from sessions.ids import stored_id
from sessions.models import Entry, Event, EventType, OutcomeKind, Reason
from sessions.store.engine import rules
from sessions.store.engine.asking import Deciding, ask
from sessions.store.engine.rows import MessageRow, SessionRow
from sessions.store.engine.workset import Workset

# Messages taken out of a session in one step: enough to be quick, few enough that the supervisor
# sees steps while a session of a million messages goes.
_STEP: Final = 500


class Remover:
    """The removing half of a batch's decisions."""

    def __init__(self, work: Workset) -> None:
        self._work = work

    def apply(self, entry: Entry, event: Event, session: SessionRow | None) -> Deciding[None]:
        """Settle a rollback, reset or delete that nothing forbids."""
        if event.type is EventType.ROLLBACK:
            yield from self._rollback(entry, event, session)
            return
        assert session is not None
        # Before it ends: the tombstone keeps them.
        rules.take_routing(session, event)
        yield from self.end_generation(session, deleted=event.type is EventType.DELETE)
        self._work.record_outcome(entry, event, OutcomeKind.APPLIED, session=session)

    def end_generation(self, session: SessionRow, *, deleted: bool) -> Deciding[None]:
        """Forget the text of a session; what remains keeps late events out [4, 9]."""
        how = Reason.DELETED if deleted else Reason.RESET
        number = session.id
        while messages := (yield from ask(lambda store: store.oldest_messages(number, _STEP))):
            self._work.empty(session, messages, how)
        self._work.end(session, deleted=deleted)

    # -- rollback ----------------------------------------------------------------------------

    def _rollback(self, entry: Entry, event: Event, session: SessionRow | None) -> Deciding[None]:
        work = self._work
        if event.target is not None:
            reason = yield from self._take_target(event, event.target, session)
        else:
            assert session is not None
            reason = yield from self._take_last(event, session)
        applied = reason in (None, Reason.TARGET_NOT_SEEN)
        seq = None
        if session is not None:
            seq = yield from self._closing(event, session, reason)
            if applied and rules.take_routing(session, event):
                work.touch(session)
        kind = OutcomeKind.APPLIED if applied else OutcomeKind.NOOP
        work.record_outcome(entry, event, kind, reason=reason, session=session, seq=seq)

    def _closing(
        self, event: Event, session: SessionRow, reason: Reason | None
    ) -> Deciding[int | None]:
        """Append `close_with` where it is due, once for a target; the seq of that message."""
        if event.close_with is None or reason not in (Reason.ANSWERED, Reason.NOT_LAST):
            return None
        name = event.target or event.turn
        turn = None if name is None else self._work.referred(name, event.by, session)
        if event.target is not None:
            # The only messages that a no-op made are such closings.
            number = session.id
            closed = yield from ask(lambda store: store.was_closed(number, turn))
            if closed:
                return None
        return self._work.add_message(
            session, event, role="assistant", content=event.close_with, turn=turn
        )

    def _take_target(
        self, event: Event, target_id: str, session: SessionRow | None
    ) -> Deciding[Reason | None]:
        """Remove exactly the target; None where that was done."""
        work = self._work
        own = stored_id(target_id, event.by)
        target = work.events.get(work.referred(target_id, event.by, session))
        applied = target is not None and target.outcome == rules.APPLIED
        if not applied and (own, event.session) in work.suppressed:
            return Reason.ALREADY_ROLLED_BACK
        if target is None:
            work.suppress(own, event.session)
            return Reason.TARGET_NOT_SEEN
        reason = rules.rollback_refusal(target, session, event.session)
        if reason is not None or session is None:
            return reason
        number, seq = session.id, target.seq or 0
        message = yield from ask(lambda store: store.message_at(number, seq))
        if message.role != "user":
            return Reason.NOT_USER_APPEND
        if (yield from self._is_answered(message)):
            return Reason.ANSWERED
        self._work.remove_message(session, message)
        return None

    def _take_last(self, event: Event, session: SessionRow) -> Deciding[Reason | None]:
        """Remove the last message if it is the user append that is expected."""
        number = session.id
        last = yield from ask(lambda store: store.last_message(number))
        if last is None or last.role != "user" or last.content != event.expect:
            return Reason.NOT_LAST
        self._work.remove_message(session, last)
        return None

    def _is_answered(self, message: MessageRow) -> Deciding[bool]:
        """Whether a later assistant append answers this user append [3]."""
        place = (message.session_id, message.seq)
        turns = [turn for turn in (message.event_id, message.turn) if turn is not None]
        if (yield from ask(lambda store: store.has_reply(*place, turns))):
            return True
        if message.turn is not None:
            return False
        speaker = yield from ask(lambda store: store.next_speaker(*place))
        return speaker == "assistant"
