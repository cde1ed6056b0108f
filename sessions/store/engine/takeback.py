"""Taking back: rollback of one message, and the end of a whole generation by reset or delete.

Everything here works on what the store holds by now, so the ledger was flushed before. Numbers in
brackets are the rules of docs/stream-contract.md.
"""

from __future__ import annotations

from typing import Final

from sessions.ids import stored_id
from sessions.models import Entry, Event, EventType, OutcomeKind, Reason
from sessions.store.engine import rules
from sessions.store.engine.ledger import Ledger
from sessions.store.engine.rows import OUTCOME_CODES, MessageRow, SessionRow, columns
from sessions.store.engine.texts import Texts
from sessions.store.sqlite.connection import WritingConnection

# Messages taken out of a session in one step: enough to be quick, few enough that the supervisor
# sees steps while a session of a million messages goes.
_REMOVAL_STEP: Final = 500
_MESSAGE_COLUMNS: Final = columns(MessageRow)


class TakeBack:
    """The removing half of one writing transaction."""

    def __init__(self, connection: WritingConnection, texts: Texts, ledger: Ledger) -> None:
        self._connection = connection
        self._texts = texts
        self._ledger = ledger

    async def apply(self, entry: Entry, event: Event, session: SessionRow | None) -> None:
        """Settle a rollback, reset or delete that nothing forbids."""
        if event.type is EventType.ROLLBACK:
            await self._rollback(entry, event, session)
            return
        assert session is not None
        # Before it ends: the tombstone keeps them.
        rules.take_routing(session, event)
        await self.end_generation(session, deleted=event.type is EventType.DELETE)
        self._ledger.settle(entry, event, OutcomeKind.APPLIED, session=session)

    async def end_generation(self, session: SessionRow, *, deleted: bool) -> None:
        """Forget the text of a session; what remains keeps late events out [4, 9]."""
        while messages := await self._messages(session, "ORDER BY seq LIMIT ?", _REMOVAL_STEP):
            await self._ledger.drop_words(messages)
            await self._connection.run(
                "DELETE FROM messages WHERE session_id = ? AND seq <= ?",
                (session.id, messages[-1].seq),
            )
            await self._ledger.forget_messages(
                [message.event_id for message in messages],
                Reason.DELETED if deleted else Reason.RESET,
            )
        await self._texts.end(session, deleted=deleted)
        await self._connection.run("DELETE FROM dead_letters WHERE session = ?", (session.key,))
        if deleted:
            rules.bury(session, self._ledger.now)
        else:
            rules.clear(session)
        self._ledger.touch(session, changed=True)
        self._ledger.erased = True

    # -- rollback ----------------------------------------------------------------------------

    async def _rollback(self, entry: Entry, event: Event, session: SessionRow | None) -> None:
        if event.target is not None:
            reason = await self._take_target(event, event.target, session)
        else:
            assert session is not None
            reason = await self._take_last(event, session)
        seq = None
        name = event.target or event.turn
        turn = None if name is None else self._ledger.referred(name, event.by, session)
        if session is not None and await self._must_close(event, session, reason, turn):
            assert event.close_with is not None
            seq = self._ledger.add_message(
                session, event, role="assistant", content=event.close_with, turn=turn
            )
        applied = reason in (None, Reason.TARGET_NOT_SEEN)
        if session is not None and applied and rules.take_routing(session, event):
            self._ledger.touch(session, changed=True)
        self._ledger.settle(
            entry,
            event,
            OutcomeKind.APPLIED if applied else OutcomeKind.NOOP,
            reason=reason,
            session=session,
            seq=seq,
        )

    async def _must_close(
        self, event: Event, session: SessionRow, reason: Reason | None, turn: str | None
    ) -> bool:
        """Whether `close_with` is to be appended: once for a target, however often taken back."""
        if event.close_with is None or reason not in (Reason.ANSWERED, Reason.NOT_LAST):
            return False
        # The only messages that a no-op made are such closings.
        return event.target is None or not await self._connection.run(
            "SELECT 1 FROM messages m JOIN events e ON e.event_id = m.event_id "
            "WHERE m.session_id = ? AND m.turn = ? AND e.outcome = ? LIMIT 1",
            (session.id, turn, OUTCOME_CODES[OutcomeKind.NOOP]),
        )

    async def _take_target(
        self, event: Event, target_id: str, session: SessionRow | None
    ) -> Reason | None:
        """Remove exactly the target; None where that was done."""
        own = stored_id(target_id, event.by)
        target = self._ledger.events.get(self._ledger.referred(target_id, event.by, session))
        applied = target is not None and target.outcome == rules.APPLIED
        if not applied and (own, event.session) in self._ledger.suppressed:
            return Reason.ALREADY_ROLLED_BACK
        if target is None:
            self._ledger.suppress(own, event.session)
            return Reason.TARGET_NOT_SEEN
        reason = rules.rollback_refusal(target, session, event.session)
        if reason is not None or session is None:
            return reason
        [message] = await self._messages(session, "AND seq = ?", target.seq)
        if message.role != "user":
            return Reason.NOT_USER_APPEND
        if await self._is_answered(session, message):
            return Reason.ANSWERED
        await self._remove(session, message)
        return None

    async def _take_last(self, event: Event, session: SessionRow) -> Reason | None:
        """Remove the last message if it is the user append that is expected."""
        last = await self._messages(session, "ORDER BY seq DESC LIMIT 1")
        if not last or last[0].role != "user" or await self._texts.load(last) != [event.expect]:
            return Reason.NOT_LAST
        await self._remove(session, last[0])
        return None

    async def _messages(
        self, session: SessionRow, which: str, *parameters: int | None
    ) -> list[MessageRow]:
        rows = await self._connection.run(
            f"SELECT {_MESSAGE_COLUMNS} FROM messages WHERE session_id = ? {which}",
            (session.id, *parameters),
        )
        return [MessageRow(*row) for row in rows]

    async def _is_answered(self, session: SessionRow, message: MessageRow) -> bool:
        """Whether a later assistant append answers this user append [3]."""
        after = "FROM messages WHERE session_id = ? AND seq > ?"
        place = (session.id, message.seq)
        if await self._connection.run(
            f"SELECT 1 {after} AND role = 'assistant' AND turn IN (?, ?) LIMIT 1",
            (*place, message.event_id, message.turn),
        ):
            return True
        if message.turn is not None:
            return False
        following = await self._connection.run(
            f"SELECT role {after} AND (role = 'user' OR role = 'assistant' AND turn IS NULL) "
            "ORDER BY seq LIMIT 1",
            place,
        )
        return bool(following) and following[0][0] == "assistant"

    async def _remove(self, session: SessionRow, message: MessageRow) -> None:
        """Take one user append out of its session."""
        await self._ledger.load_ids([message.event_id])
        await self._ledger.drop_words([message])
        await self._texts.remove(session, [message])
        await self._connection.run("DELETE FROM messages WHERE id = ?", (message.id,))
        session.message_count -= 1
        self._ledger.touch(session)
        self._ledger.mark_gone(message.event_id, Reason.ALREADY_ROLLED_BACK)
