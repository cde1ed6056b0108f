"""What the engine asks of a store. A store is an adapter like this, a reader and a schema.

To add one, put its `StoreAdapter` under a `Writer`, beside a `SessionReader` (`store/backend.py`),
as `memory/backend.py` does. Name it in `factory.py` and in `BACKENDS` of the settings, and in
`tests/stores.py`, which runs the contract suite over it.

The engine decides everything; an adapter stores and finds rows. It needs no knowledge of the stream
contract beyond the docstrings here. What only some stores can do is a Protocol of its own at the
end; the writer looks once which of them an adapter has.

Every call raises StoreUnavailable if the store is busy, full or unreachable, and then nothing was
done by halves. Calls are made one after the other, by one task, except for `Foreseeing`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple, Protocol, runtime_checkable

from sessions.models import Lease, StreamCursor
from sessions.store.engine.changes import Changes, FoundRows, Needs
from sessions.store.engine.rows import MessageRow, SessionRow
from sessions.store.image import StoreHead


class LeaseGrant(NamedTuple):
    """The lead, just taken. `publishers` are those that have a message in the store."""

    lease: Lease
    publishers: Sequence[str]


class KeptLetter(NamedTuple):
    """What a replay needs of a dead letter; `size` is that of its entry, some of it may be gone."""

    reason: str
    size: int
    payload: bytes


class Questions(Protocol):
    """What decisions that remove something ask for. Messages come with their content."""

    async def find(self, needs: Needs) -> FoundRows:
        """The rows that are needed; those that are absent are left out."""
        ...

    async def message_at(self, session_id: int, seq: int) -> MessageRow:
        """The message at a place of a session, which is there."""
        ...

    async def last_message(self, session_id: int) -> MessageRow | None:
        """The newest message of a session; None if it has none."""
        ...

    async def oldest_messages(self, session_id: int, limit: int) -> Sequence[MessageRow]:
        """The oldest messages of a session, oldest first, at most `limit`."""
        ...

    async def has_reply(self, session_id: int, after: int, turns: Sequence[str]) -> bool:
        """Whether an assistant's message of one of the turns stands behind seq `after`."""
        ...

    async def next_speaker(self, session_id: int, after: int) -> str | None:
        """The role of the first message behind seq `after` by a user, or by an assistant without
        turn.
        """
        ...

    async def was_closed(self, session_id: int, turn: str | None) -> bool:
        """Whether a message of that turn came from an event whose outcome is a no-op."""
        ...

    async def letter(self, letter_id: str | None) -> KeptLetter | None:
        """A dead letter; None if there is none of that id, or no id is given."""
        ...

    async def owns_any(self, agent: str) -> bool:
        """Whether an agent has any session, tombstones included."""
        ...

    async def idle_sessions(self, older_than: int, limit: int) -> Sequence[SessionRow]:
        """Live sessions that do not run and were last active before that time, oldest first.

        At most `limit`. The time is in microseconds, as all times of rows are.
        """
        ...


class Transaction(Questions, Protocol):
    """An open transaction of the leader; by the end of its block all is committed, or nothing."""

    @property
    def found(self) -> FoundRows:
        """What the transaction was begun with: the cursor, and what was needed."""
        ...

    async def write(self, drafts: Sequence[Any], cursor: StreamCursor | None = None) -> None:
        """Write down drafts, in order, and the cursor.

        A cursor comes with the last write of its transaction; a store may commit with it.
        """
        ...

    async def forget_ids(self, before: int, limit: int) -> int:
        """Drop events, and suppressed ids, whose `expires_at` is before that; how many events."""
        ...

    async def forget_tombstones(self, before: int, limit: int) -> int:
        """Drop tombstones that ended before that, oldest first; how many."""
        ...

    async def release_lease(self) -> None:
        """Leave the lease without a holder."""
        ...

    async def become(self, head: StoreHead) -> None:
        """Write down what the store has once, all but the cursor; its own id stays for None."""
        ...


class StoreAdapter(Protocol):
    """The writing side of a store, which is made when it is opened for writing, if there is none.

    One that was made by an older version is upgraded in `take_lead`, and not before: another worker
    may lead it.
    """

    @property
    def steps(self) -> int:
        """Grows with everything that the store does."""
        ...

    async def take_lead(self, holder: str, seen: Lease | None) -> LeaseGrant | None:
        """Take the lease under the next epoch, and bring the schema to this version, as one.

        None, and nothing done, if the lease is not the one that was `seen` (None: any will do).
        """
        ...

    async def check_lead(self, epoch: int) -> None:
        """Raise Fenced unless the lease has this epoch."""
        ...

    def transaction(
        self, epoch: int, needs: Needs | None = None
    ) -> AbstractAsyncContextManager[Transaction]:
        """A transaction of the leader of this epoch. By its end it has raised the lease's beat.

        Beginning, the fence and the needs are one round trip. Raises Fenced, before anything is
        found, if the lease has another epoch; if it gets another one before the end, nothing is
        committed.
        """
        ...

    def draft(self, changes: Changes) -> Any:
        """Turn changes into what `write` takes. Needs no transaction, and may be done ahead.

        Rows that change afterwards must not change the draft.
        """
        ...


@runtime_checkable
class Foreseeing(Protocol):
    """A store that can be read, by its one writer, while a transaction of its own is written."""

    async def foresee(self, needs: Needs) -> FoundRows:
        """What is needed, as the transaction in hand leaves it, committed or not."""
        ...


@runtime_checkable
class FinishesErasures(Protocol):
    """A store that finishes erasures behind their transaction, as with files."""

    async def finish_erasures(self, epoch: int) -> None:
        """Finish what the transactions before left to do; doing it again is no harm."""
        ...


@runtime_checkable
class Tidying(Protocol):
    """A store that needs housekeeping: logs copied back, words of erased text merged away."""

    async def tidy(self, epoch: int) -> bool:
        """Do one bounded piece of it; True if more waits. Raises Fenced."""
        ...
