"""The stream contract spelled out as plainly as it can be, over dicts and lists.

One event at a time, looking at everything there is. Numbers in brackets are the rules of
docs/stream-contract.md. It shares no code with the stores, which have to agree with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from proof.model.records import (
    ID_RETENTION,
    SessionRecord,
    StoredEvent,
    StoredLetter,
    StoredMessage,
    empty,
    is_answered,
    payload_of,
    take_labels,
)
from sessions import wire
from sessions.ids import shown_id, space_in, stored_id
from sessions.models import (
    STREAM_START,
    DeadLetter,
    Entry,
    Event,
    EventType,
    Lease,
    LetterBounds,
    Message,
    Outcome,
    OutcomeKind,
    Poison,
    Position,
    RawEntry,
    Reason,
    StreamCursor,
    StreamId,
)


class Model:
    """A whole store. ModelBackends that are given the same one share it."""

    def __init__(self) -> None:
        self.store_id: str | None = None
        self.lease = Lease(0, None, 0)
        self.cursor = StreamCursor(0, STREAM_START, 0, 0, 0)
        self.sessions: dict[str, SessionRecord] = {}
        self.events: dict[str, StoredEvent] = {}
        self.awaited: dict[tuple[str, str], int] = {}
        self.letters: list[StoredLetter] = []
        self._now = 0
        self._max_content = wire.DEFAULT_MAX_CONTENT
        self._numbers = 0
        self.bounds = LetterBounds()
        self.dropped = 0

    def live(self, key: str) -> SessionRecord | None:
        """The session of this key, if it is not deleted."""
        stored = self.sessions.get(key)
        return stored if stored and stored.live else None

    def hand_over(self, before: str, after: str | None) -> bool:
        """Give all sessions of an owner to another one; whether there were any [10]."""
        given = [one for one in self.sessions.values() if one.shown.agent == before]
        for stored in given:
            stored.shown = replace(stored.shown, agent=after)
        return bool(given)

    def letter(self, letter_id: str | None) -> StoredLetter | None:
        """The dead letter of this id."""
        return next((one for one in self.letters if one.shown.id == letter_id), None)

    def take(self, entry: Entry, *, now: int, max_content: int) -> None:
        """Give one entry of the stream its effect and its outcome."""
        self._now, self._max_content = now, max_content
        body = entry.body
        event_id = body.stored_id
        known = self.events.get(event_id) if event_id else None
        if known:
            self._seen_again(entry, known)
        elif isinstance(body, Poison):
            self._die(entry, body)
        else:
            self._settle(entry, body)

    def bury(self, stored: SessionRecord, *, now: int) -> None:
        """Delete a session; its tombstone keeps late events from bringing it back [4]."""
        self._now = now
        self._erase(stored, Reason.DELETED)
        stored.live, stored.ended_at = False, now
        stored.shown = replace(stored.shown, name=None, state="idle", turn=None, state_since=None)

    def _seen_again(self, entry: Entry, known: StoredEvent) -> None:
        """An id that has its outcome [1, 7]."""
        first = known.outcome
        if entry.raw.stream_id == first.position.stream_id:
            return
        known.outcome = replace(first, duplicates=first.duplicates + 1)
        if payload_of(entry) != known.payload:
            detail = f"id {first.id} was used before with another payload"
            session = entry.body.session or None
            by = entry.body.by
            self._die(entry, Poison(Reason.ID_CONFLICT, detail, first.id, session, by))

    def _die(self, entry: Entry, poison: Poison) -> None:
        """Make a dead letter, and the outcome `dead` if the id has none yet [5]."""
        framed = wire.frame(entry.raw.fields)
        keep = len(framed) if poison.reason is Reason.UNKNOWN_VERSION else wire.DEAD_PAYLOAD
        digest = hashlib.sha256(framed).hexdigest()
        shown = DeadLetter(
            id=f"{entry.raw.stream_id}-{digest[:12]}",
            reason=poison.reason,
            detail=poison.detail,
            session=poison.session,
            event_id=poison.event_id,
            size=entry.raw.size,
            sha256=digest,
            stream_id=entry.raw.stream_id,
            at=self._now,
            payload=framed[:keep],
            by=poison.by,
        )
        if self.letter(shown.id) is None:
            whole = entry.raw.fields if keep >= len(framed) else None
            self.letters.append(StoredLetter(self._next_number(), shown, whole))
            self._keep_newest_letters(poison.by)
        if poison.stored_id and poison.stored_id not in self.events:
            self._know(entry, poison.stored_id, poison, OutcomeKind.DEAD, poison.reason)

    def _keep_newest_letters(self, by: str | None) -> None:
        """Drop the oldest letters of a publisher beyond what is kept of one."""
        count = size = 0
        for letter in [one for one in reversed(self.letters) if one.shown.by == by]:
            count, size = count + 1, size + len(letter.shown.payload)
            if count > self.bounds.count or size > self.bounds.size:
                self.letters.remove(letter)
                self.dropped += 1

    def _settle(self, entry: Entry, event: Event) -> None:
        """Decide an event that has no outcome yet, and give it one."""
        reason = self._refusal(event) or self._ACT[event.type](self, entry, event)
        stored = self.live(event.session)
        if reason not in (None, Reason.TARGET_NOT_SEEN):
            self._know(entry, event.stored_id, event, OutcomeKind.NOOP, reason)
            return
        if stored:
            take_labels(stored, event)
        self._know(entry, event.stored_id, event, OutcomeKind.APPLIED, reason)

    def _know(
        self,
        entry: Entry,
        event_id: str,
        body: Event | Poison,
        kind: OutcomeKind,
        reason: Reason | None,
    ) -> None:
        before = self.events.get(event_id)
        duplicates = before.outcome.duplicates if before else 0
        position = Position(self.cursor.epoch, entry.raw.stream_id, event_id)
        detail = body.detail if isinstance(body, Poison) else None
        session = body.session or None
        stored = self.sessions.get(session or "")
        made = stored is not None and any(line.stored == event_id for line in stored.lines)
        self.events[event_id] = StoredEvent(
            Outcome(shown_id(event_id), kind, reason, session, position, duplicates, detail),
            payload_of(entry),
            stored.shown.generation if stored else None,
            None if made else self._now + ID_RETENTION,
            made=made,
            number=stored.number if stored else None,
        )

    def _refusal(self, event: Event) -> Reason | None:
        """Why the event has no effect, whatever it asks for."""
        if event.type is EventType.DEAD or not event.session:
            return None
        stored = self.sessions.get(event.session)
        user_append = event.type is EventType.APPEND and event.role == "user"
        if user_append and (event.stored_id, event.session) in self.awaited:
            return Reason.ALREADY_ROLLED_BACK
        if stored and self._is_anothers(event, stored):
            if stored.live:
                return Reason.NO_SESSION if event.if_exists else Reason.NOT_OWNER
            stored = None
        if stored and not stored.live and not (user_append or event.type is EventType.CONTEXT):
            return Reason.SESSION_DELETED
        if stored and self._is_stale(event, stored):
            return Reason.STALE_TURN
        if stored is None or not stored.live:
            creates = event.type in (EventType.APPEND, EventType.CONTEXT)
            early = event.type is EventType.ROLLBACK and event.target is not None
            return None if (creates or early) and not event.if_exists else Reason.NO_SESSION
        return None

    def _is_anothers(self, event: Event, stored: SessionRecord) -> bool:
        """Whether the session is another agent's than the event's, and stays it [10]."""
        shown = stored.shown
        if event.type is EventType.OWNER:
            return event.by is not None
        if event.agent is None:
            return False
        if shown.agent is None and event.by is None:
            return False
        if shown.agent is None and stored.live:
            return event.channel is None or event.channel != shown.channel
        return shown.agent != event.agent

    def _meant(self, name: str | None, event: Event) -> str | None:
        """The stored id of the event that a turn or target means [11]."""
        if name is None:
            return None
        own = stored_id(name, event.by)
        stored = self.sessions.get(event.session)
        if own in self.events or stored is None:
            return own
        if not stored.live and self._is_anothers(event, stored):
            return own
        same = [
            (known.gone is not None, space_in(one) != "", place, one)
            for place, (one, known) in enumerate(self.events.items())
            if shown_id(one) == name and known.made and known.number == stored.number
            if (known.generation or 0) >= stored.shown.owned_from
        ]
        return min(same)[3] if same else own

    def _is_stale(self, event: Event, stored: SessionRecord) -> bool:
        """Whether the event's turn was opened in an earlier generation [4]."""
        opener = self.events.get(self._meant(event.turn, event) or "")
        return (
            opener is not None
            and event.turn != event.id
            and opener.outcome.outcome is OutcomeKind.APPLIED
            and opener.outcome.session == event.session
            and opener.generation is not None
            and opener.generation < stored.shown.generation
        )

    # -- what the types do -------------------------------------------------------------------

    def _append(self, _: Entry, event: Event) -> Reason | None:
        stored = self._open(event)
        turn = self._meant(event.turn, event)
        if event.by is not None and event.agent is not None and event.by != event.agent:
            # What another agent sends belongs to no turn of this session, and so answers none [3].
            turn = stored_id(event.turn or event.id, event.by)
        self._say(stored, event, event.role or "", event.content or "", turn)
        self._set_state(stored, event, opens=event.id if event.role == "user" else None)
        return None

    def _context(self, _: Entry, event: Event) -> Reason | None:
        self._open(event)
        return None

    def _rename(self, _: Entry, event: Event) -> Reason | None:
        stored = self._open(event)
        stored.shown = replace(stored.shown, name=event.name or None)
        return None

    def _owner(self, _: Entry, event: Event) -> Reason | None:
        """Give a session, or all of an agent, to another one or to nobody [10]."""
        if event.by is not None:
            return Reason.NOT_OWNER
        if not event.session:
            given = self.hand_over(event.expect_agent or "", event.agent or None)
            return None if given else Reason.NO_SESSION
        stored = self._open(event)
        if event.expect_agent not in (None, stored.shown.agent or ""):
            return Reason.NOT_OWNER
        stored.shown = replace(stored.shown, agent=event.agent or None)
        return None

    def _state(self, _: Entry, event: Event) -> Reason | None:
        self._set_state(self._open(event), event, opens=None)
        return None

    def _reset(self, _: Entry, event: Event) -> Reason | None:
        stored = self._open(event)
        self._erase(stored, Reason.RESET)
        stored.shown = replace(stored.shown, state="idle", turn=None, state_since=None)
        return None

    def _delete(self, _: Entry, event: Event) -> Reason | None:
        stored = self._open(event)
        take_labels(stored, event)
        self.bury(stored, now=self._now)
        return None

    def _rollback(self, _: Entry, event: Event) -> Reason | None:
        stored = self.live(event.session)
        turn = self._meant(event.target or event.turn, event)
        reason = self._take_back(event, stored) if event.target else self._take_back_last(event)
        if stored and event.close_with is not None and reason in (Reason.ANSWERED, Reason.NOT_LAST):
            closed = any(line.closes and line.turn == turn for line in stored.lines)
            if not (event.target and closed):
                self._say(stored, event, "assistant", event.close_with, turn, closes=True)
        return reason

    def _take_back(self, event: Event, stored: SessionRecord | None) -> Reason | None:
        """Remove exactly the target, or say why not [3]."""
        target_id = self._meant(event.target, event) or ""
        own = stored_id(event.target or "", event.by)
        target = self.events.get(target_id)
        applied = target is not None and target.outcome.outcome is OutcomeKind.APPLIED
        if not applied and (own, event.session) in self.awaited:
            return Reason.ALREADY_ROLLED_BACK
        if target is None:
            self.awaited[own, event.session] = self._now + ID_RETENTION
            return Reason.TARGET_NOT_SEEN
        if target.outcome.session != event.session:
            return Reason.WRONG_SESSION
        if not applied:
            return Reason.NOT_APPLIED
        if target.gone:
            return target.gone
        line = (
            next((one for one in stored.lines if one.stored == target_id), None) if stored else None
        )
        if stored is None or line is None or line.message.role != "user":
            return Reason.NOT_USER_APPEND
        if is_answered(line, stored.lines):
            return Reason.ANSWERED
        return self._remove(stored, line)

    def _take_back_last(self, event: Event) -> Reason | None:
        """Remove the last message if it is the user append that is expected [3]."""
        stored = self._open(event)
        last = stored.lines[-1] if stored.lines else None
        if last is None or (last.message.role, last.message.content) != ("user", event.expect):
            return Reason.NOT_LAST
        return self._remove(stored, last)

    def _dead(self, entry: Entry, event: Event) -> Reason | None:
        """Replay or purge a dead letter [5]."""
        letter = self.letter(event.target)
        if letter is None:
            return Reason.NO_DEAD_LETTER
        reason = self._replay(entry.raw.stream_id, letter) if event.action == "replay" else None
        if reason is None and letter in self.letters:
            self.letters.remove(letter)
        return reason

    def _replay(self, stream_id: StreamId, letter: StoredLetter) -> Reason | None:
        """Settle a letter's event as if it stood in the stream here."""
        if letter.whole is None or letter.shown.reason == Reason.UNDECODABLE:
            return Reason.NOT_REPLAYABLE
        again = wire.decode(RawEntry(stream_id, letter.whole), max_content=self._max_content)
        if isinstance(again.body, Poison) or again.body.type is EventType.DEAD:
            return Reason.STILL_DEAD
        known = self.events.get(again.body.stored_id)
        if known and known.outcome.outcome is not OutcomeKind.DEAD:
            return Reason.STILL_DEAD
        self._settle(again, again.body)
        return None

    _ACT: Final[dict[EventType, Callable[[Model, Entry, Event], Reason | None]]] = {
        EventType.APPEND: _append,
        EventType.CONTEXT: _context,
        EventType.OWNER: _owner,
        EventType.RENAME: _rename,
        EventType.STATE: _state,
        EventType.RESET: _reset,
        EventType.DELETE: _delete,
        EventType.ROLLBACK: _rollback,
        EventType.DEAD: _dead,
    }

    # -- sessions and messages ---------------------------------------------------------------

    def _next_number(self) -> int:
        self._numbers += 1
        return self._numbers

    def _open(self, event: Event) -> SessionRecord:
        """The session of the event; made, or made again, if there is none [4, 8]."""
        stored = self.sessions.get(event.session)
        if stored is None or not stored.live:
            born = self._now if event.at is None else min(event.at, self._now)
            fresh = empty(event.session, 1, born)
            if stored is None:
                stored = SessionRecord(self._next_number(), fresh)
            elif stored.shown.agent == event.agent:
                before = stored.shown
                fresh = replace(fresh, generation=before.generation, owned_from=before.owned_from)
            else:
                # What another owner had is none of a new one's business: no numbers either [10].
                later = stored.shown.generation + 1
                fresh = replace(fresh, generation=later, owned_from=later)
                stored.next_seq = 1
            stored.shown, stored.live = fresh, True
            self.sessions[event.session] = stored
        return stored

    def _say(
        self,
        stored: SessionRecord,
        event: Event,
        role: str,
        content: str,
        turn: str | None,
        *,
        closes: bool = False,
    ) -> None:
        """Add a message [8]."""
        at = self._now if event.at is None else event.at
        shown = shown_id(turn) if turn else None
        message = Message(stored.next_seq, event.id, role, content, shown, at, event.by)
        stored.next_seq += 1
        stored.lines.append(
            StoredMessage(self._next_number(), message, closes, event.stored_id, turn)
        )
        active = max(stored.shown.last_activity, min(at, self._now))
        stored.shown = replace(stored.shown, message_count=len(stored.lines), last_activity=active)

    def _set_state(self, stored: SessionRecord, event: Event, *, opens: str | None) -> None:
        """Set the state where the event has one, and the turn that runs or failed."""
        if event.state is not None:
            turn = None if event.state == "idle" else event.turn or opens or stored.shown.turn
            since = self._now if event.state == "running" else None
            stored.shown = replace(stored.shown, state=event.state, turn=turn, state_since=since)

    def _remove(self, stored: SessionRecord, line: StoredMessage) -> None:
        """Take a message out of its session."""
        stored.lines.remove(line)
        stored.shown = replace(stored.shown, message_count=len(stored.lines))
        self._forget(line, Reason.ALREADY_ROLLED_BACK)

    def _erase(self, stored: SessionRecord, how: Reason) -> None:
        """End a generation: no text of it remains [4, 9]."""
        for line in stored.lines:
            self._forget(line, how)
        stored.lines = []
        stored.shown = replace(
            stored.shown, message_count=0, generation=stored.shown.generation + 1
        )
        self.letters = [one for one in self.letters if one.shown.session != stored.shown.key]

    def _forget(self, line: StoredMessage, how: Reason) -> None:
        """Remember the id of a message that is gone for a while [1]."""
        known = self.events[line.stored]
        known.gone, known.expires_at = how, self._now + ID_RETENTION
