"""Memory under the engine: a transaction works on a copy, which becomes the store at its end."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

from sessions.errors import Fenced
from sessions.ids import shown_id
from sessions.models import Lease, LetterBounds, OutcomeKind, StreamCursor
from sessions.store.engine.adapter import KeptLetter, LeaseGrant
from sessions.store.engine.changes import Changes, FoundRows, LetterRow, Needs
from sessions.store.engine.rows import OUTCOME_CODES, MessageRow, SessionRow
from sessions.store.image import StoreHead
from sessions.store.memory.store import MemoryStore

_NOOP: Final = OUTCOME_CODES[OutcomeKind.NOOP]


class MemoryAdapter:
    """The writing side of a store in memory; see `StoreAdapter`."""

    def __init__(self, store: MemoryStore, *, bounds: LetterBounds, writes: bool) -> None:
        self._store = store
        self._bounds = bounds
        self._writes = writes
        self.steps = 0

    async def take_lead(self, holder: str, seen: Lease | None) -> LeaseGrant | None:
        """Take the lease unless it has moved."""
        if not self._writes:
            raise RuntimeError("this backend was not opened in write mode")
        current = self._store.lease
        if seen is not None and seen != current:
            return None
        self._store.lease = Lease(current.epoch + 1, holder, current.beat + 1)
        publishers = {row.by for row in self._store.messages.values() if row.by is not None}
        return LeaseGrant(self._store.lease, [*publishers])

    async def check_lead(self, epoch: int) -> None:
        """Raise Fenced unless the lease has this epoch."""
        if self._store.lease.epoch != epoch:
            raise Fenced("another worker leads")

    @asynccontextmanager
    async def transaction(
        self, epoch: int, needs: Needs | None = None
    ) -> AsyncGenerator[MemoryTransaction]:
        """A copy of the store, which becomes the store if nothing fails."""
        await self.check_lead(epoch)
        self.steps += 1
        copy = self._store.copy()
        copy.lease = replace(copy.lease, beat=copy.lease.beat + 1)
        yield MemoryTransaction(copy, found_in(copy, needs or Needs()), self._bounds)
        # Nothing locks the store meanwhile: the copy must not undo another worker's lead.
        await self.check_lead(epoch)
        self._store.become(copy)

    def draft(self, changes: Changes) -> Changes:
        """The changes; sessions as they are now."""
        changes.opened = [replace(row) for row in changes.opened]
        for rows in (changes.changed, changes.active):
            rows |= {number: replace(row) for number, row in rows.items()}
        return changes


class MemoryTransaction:
    """See `Transaction`."""

    def __init__(self, store: MemoryStore, found: FoundRows, bounds: LetterBounds) -> None:
        self.found = found
        self._store = store
        self._bounds = bounds

    async def write(self, drafts: Sequence[Changes], cursor: StreamCursor | None = None) -> None:
        """Take in drafts and cursor."""
        for changes in drafts:
            self._let_go(changes)
            self._take_in(changes)
        if cursor is not None:
            self._store.cursor = cursor

    def _let_go(self, changes: Changes) -> None:
        store = self._store
        for gone in changes.gone:
            for message in gone.messages:
                del store.messages[message.id]
                event = store.events[message.event_id]
                store.events[message.event_id] = event._replace(
                    gone=gone.how, expires_at=gone.expires_at
                )
        ended = {one.session.key for one in changes.ended}
        store.letters = {
            key: one
            for key, one in store.letters.items()
            if one[1].session not in ended and key not in changes.purged
        }
        for before, after in changes.handovers:
            owned = [row for row in store.sessions.values() if row.agent == before]
            store.put_sessions(replace(row, agent=after) for row in owned)

    def _take_in(self, changes: Changes) -> None:
        store = self._store
        # What is active was written whole if it is also new or changed.
        store.put_sessions(changes.active.values())
        store.put_sessions(changes.opened)
        store.put_sessions(changes.changed.values())
        store.messages |= {row.id: row for row in changes.messages}
        store.events |= changes.events
        store.events |= changes.events_again
        store.suppressed |= {(one, key): until for one, key, until in changes.suppressed}
        for letter in changes.letters:
            if letter.id not in store.letters:
                store.letters_made += 1
                store.letters[letter.id] = (store.letters_made, letter)
        store.receipts |= {(one.source, one.session): one for one in changes.receipts}
        for by in {letter.by for letter in changes.letters}:
            self._keep_newest_letters(by)

    def _keep_newest_letters(self, by: str | None) -> None:
        """Drop the oldest letters of a publisher beyond what is kept of one."""
        letters = self._store.letters
        mine: list[LetterRow] = [one for _, one in reversed(letters.values()) if one.by == by]
        size = 0
        for count, letter in enumerate(mine, start=1):
            size += len(letter.payload)
            if count > self._bounds.count or size > self._bounds.size:
                del letters[letter.id]
                self._store.letters_dropped += 1

    # -- questions ---------------------------------------------------------------------------

    async def find(self, needs: Needs) -> FoundRows:
        """The rows that are needed."""
        return found_in(self._store, needs)

    async def message_at(self, session_id: int, seq: int) -> MessageRow:
        """The message at a place."""
        return next(row for row in self._store.of_session(session_id) if row.seq == seq)

    async def last_message(self, session_id: int) -> MessageRow | None:
        """The newest message."""
        return next(reversed(self._store.of_session(session_id)), None)

    async def oldest_messages(self, session_id: int, limit: int) -> list[MessageRow]:
        """The oldest messages."""
        return self._store.of_session(session_id)[:limit]

    async def has_reply(self, session_id: int, after: int, turns: Sequence[str]) -> bool:
        """Whether an assistant's message of one of the turns follows."""
        later = [row for row in self._store.of_session(session_id) if row.seq > after]
        return any(row.role == "assistant" and row.turn in turns for row in later)

    async def next_speaker(self, session_id: int, after: int) -> str | None:
        """Who speaks next, of users and assistants without turn."""
        for row in self._store.of_session(session_id):
            turnless = row.role == "assistant" and row.turn is None
            if row.seq > after and (row.role == "user" or turnless):
                return row.role
        return None

    async def was_closed(self, session_id: int, turn: str | None) -> bool:
        """Whether a no-op left a message of that turn."""
        if turn is None:
            return False
        rows = [row for row in self._store.of_session(session_id) if row.turn == turn]
        return any(self._store.events[row.event_id].outcome == _NOOP for row in rows)

    async def letter(self, letter_id: str | None) -> KeptLetter | None:
        """A dead letter."""
        if letter_id not in self._store.letters:
            return None
        _, letter = self._store.letters[letter_id]
        return KeptLetter(letter.reason, letter.size, letter.payload)

    async def owns_any(self, agent: str) -> bool:
        """Whether an agent has a session."""
        return any(row.agent == agent for row in self._store.sessions.values())

    async def idle_sessions(self, older_than: int, limit: int) -> list[SessionRow]:
        """Sessions that nobody used for long."""
        idle = [
            replace(row)
            for row in self._store.sessions.values()
            if row.live and row.state != "running" and row.last_activity < older_than
        ]
        return sorted(idle, key=lambda row: row.last_activity)[:limit]

    # -- retention and lease -----------------------------------------------------------------

    async def forget_ids(self, before: int, limit: int) -> int:
        """Drop ids whose time is up."""
        store = self._store
        due = [
            (row.expires_at, key)
            for key, row in store.events.items()
            if row.expires_at is not None and row.expires_at < before
        ]
        gone = {key for _, key in sorted(due)[:limit]}
        store.events = {key: row for key, row in store.events.items() if key not in gone}
        store.suppressed = {key: at for key, at in store.suppressed.items() if at >= before}
        return len(gone)

    async def forget_tombstones(self, before: int, limit: int) -> int:
        """Drop tombstones whose time is up."""
        graves = [row for row in self._store.sessions.values() if not row.live]
        old = [(row.ended_at or 0, row.key) for row in graves if (row.ended_at or 0) < before]
        for _, key in sorted(old)[:limit]:
            del self._store.sessions[key]
        return min(limit, len(old))

    async def release_lease(self) -> None:
        """Leave the lease without a holder."""
        self._store.lease = replace(self._store.lease, holder=None)

    async def become(self, head: StoreHead) -> None:
        """Take id, age and counter over."""
        store = self._store
        store.store_id = head.store_id or store.store_id
        store.created_at, store.letters_dropped = head.created_at, head.letters_dropped


def found_in(store: MemoryStore, needs: Needs) -> FoundRows:
    """What the store holds of what is needed."""
    references = {*needs.references}
    return FoundRows(
        cursor=store.cursor,
        events=[store.events[one] for one in needs.ids if one in store.events],
        namesakes=[
            row
            for one, row in store.events.items()
            if references and shown_id(one) != one and shown_id(one) in references
        ],
        suppressed=[pair for pair in store.suppressed if pair[0] in needs.ids],
        sessions=[replace(store.sessions[key]) for key in needs.keys if key in store.sessions],
        next_session=max((row.id for row in store.sessions.values()), default=0) + 1,
        next_message=max(store.messages, default=0) + 1,
    )
