"""The contract of a session backend. The docstrings here are what the contract suite tests.

A backend is the only thing that opens a store. It is made by `make_session_backend`, opened with
`async with`, and then used from one event loop. Any number of readers may be open on one store,
in any number of processes, while one writer writes.

Every method raises StoreUnavailable if the store is busy, full or unreachable; the same call may
succeed later and nothing was done by halves. Any other error is a defect or damage.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

from sessions.models import (
    DeadLetter,
    Entry,
    Lease,
    Message,
    Outcome,
    Routing,
    SearchHit,
    Session,
    StreamCursor,
    StreamId,
)
from sessions.reading import Page, Scope, SessionFilter
from sessions.store.capabilities import Mark
from sessions.store.engine.imported import ImportedMessage, ImportedSession
from sessions.store.engine.receipts import Receipt
from sessions.store.engine.tally import OutcomeCount
from sessions.store.image import Restored, Snapshot, StoreHead, StoreRows


class SessionReader(Protocol):
    """What may be asked of a store. Absent things are None or empty, never an error."""

    @property
    def name(self) -> str:
        """The backend's name in the settings, such as `sqlite`."""
        ...

    async def store_id(self) -> str | None:
        """The random id that the store got when it was made; None before that."""
        ...

    async def cursor(self) -> StreamCursor:
        """How far the store has applied the stream; epoch 0 at the start of an empty store."""
        ...

    async def lease(self) -> Lease:
        """Who leads, as last written; epoch 0 and no holder before the first one."""
        ...

    async def session(self, key: str) -> Session | None:
        """The session of this exact key; None if there is none or it was deleted."""
        ...

    async def sessions(
        self,
        *,
        scope: Scope | None = None,
        where: SessionFilter | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Session]:
        """Sessions by `last_activity`, newest first; without `scope` all of them.

        Of equally recent ones the newest session comes first. A session that becomes active
        between two pages moves to the front, out of the pages to come; every other one is shown
        once. Raises InvalidRequest for a cursor that is not ours.
        """
        ...

    async def history(
        self,
        key: str,
        *,
        generation: int | None = None,
        limit: int = 20,
        cursor: str | None = None,
    ) -> Page[Message]:
        """The newest `limit` messages of a session, oldest first; `cursor` goes to older ones.

        With `generation` there are none if the session was reset or deleted since it had that one.
        Messages that arrive between two pages do not move the older ones. Raises InvalidRequest
        for a cursor that is not ours.
        """
        ...

    async def message(self, event_id: str) -> SearchHit | None:
        """The message that the event of this stored id made, with its session's key.

        None if it made none, or if that was rolled back, reset or deleted.
        """
        ...

    async def search(
        self,
        query: str,
        *,
        scope: Scope | None = None,
        key: str | None = None,
        limit: int = 20,
        cursor: str | None = None,
        seconds: float | None = None,
    ) -> Page[SearchHit]:
        """Messages that hold every word of the query, newest first, of one session with `key`.

        Words are compared without case and accents. In scripts without blanks every substring
        is found. A query without a word finds nothing. Raises SearchInterrupted if it takes longer
        than `seconds`, InvalidRequest for a cursor that is not ours.
        """
        ...

    async def routing_of(self, key: str) -> Routing | None:
        """Owner and routing of a session, and of one that was deleted in the last 30 days.

        None for any other key.
        """
        ...

    async def owners(self) -> list[tuple[str | None, int]]:
        """The owners with the number of their sessions, most first; None owns the others."""
        ...

    async def outcome(self, event_id: str) -> Outcome | None:
        """The outcome of a stored event id (`ids.stored_id`); None while it is unknown."""
        ...

    async def dead_letters(self, *, limit: int = 50, cursor: str | None = None) -> Page[DeadLetter]:
        """Dead letters, newest first, with their payload.

        Raises InvalidRequest for a cursor that is not ours.
        """
        ...

    async def dead_letter(self, letter_id: str) -> DeadLetter | None:
        """One dead letter; None if there is none of that id, or none any more."""
        ...

    async def dead_letter_at(self, stream_id: StreamId) -> DeadLetter | None:
        """The dead letter that the entry at this place of the stream became; else None."""
        ...

    async def counts(self) -> dict[str, int]:
        """Sizes for metrics: `sessions`, `messages`, `dead_letters`, `events`."""
        ...

    async def letters_dropped(self) -> int:
        """How many dead letters went because newer ones of their publisher came."""
        ...


Following = Callable[[], Awaitable[Sequence[Entry]]]
"""Gives the entries that the next `apply` will get; none if nothing follows yet."""


class SessionWriter(Protocol):
    """What the one leading worker does to a store. Each method is one transaction.

    Every method but `acquire` raises Fenced, and does nothing, once another worker has acquired
    the lease.
    """

    @property
    def steps(self) -> int:
        """Grows while the writer works; a supervisor that sees it stand still may act."""
        ...

    async def acquire(self, holder: str, *, seen: Lease | None) -> Lease | None:
        """Take the lease under a new epoch, one above the last.

        Does nothing and returns None if the lease is not the one that was `seen` (by a beat or a
        holder): its holder lives. With `seen` None it is taken from any holder.
        """
        ...

    async def renew(self, *, added: int | None = None) -> None:
        """Show that the leader lives; `apply` does it too.

        `added` is Redis' own count of the entries it ever took, kept to notice a stream that
        goes backwards.
        """
        ...

    async def release(self) -> None:
        """Give the lease up at a clean stop, so that a standby need not wait."""
        ...

    async def begin_epoch(self, *, skipped: int, above: int = 0) -> StreamCursor:
        """Start a new stream epoch at the stream's beginning, `skipped` entries having gone.

        It is one above the last epoch and above the given one, which a stream may have that
        outlived a restored store.
        """
        ...

    async def apply(
        self, entries: Sequence[Entry], *, following: Following | None = None
    ) -> StreamCursor:
        """Apply the entries in order: rows, ids, outcomes, dead letters, counters and cursor.

        All of it commits or none. Entries that were applied before have no effect. An error of a
        single event makes it a dead letter; StoreUnavailable and Fenced pass through. A store may
        ask for the batch that is `following` and prepare it while this one is written. That shows
        nowhere, and is dropped if something else is written first.
        """
        ...

    async def expire_sessions(self, *, older_than: int, limit: int) -> int:
        """Delete sessions whose last activity is before `older_than` and that do not run.

        Returns how many; at most `limit` in one call. Their ids stay known for 30 days.
        """
        ...

    async def forget_ids(self, *, before: int, limit: int) -> int:
        """Drop ids whose time is up at `before`; returns how many, at most `limit` in one call."""
        ...

    async def tidy(self) -> bool:
        """Do one bounded piece of housekeeping (checkpoint, search index); True if more waits."""
        ...


@runtime_checkable
class Recalling(Protocol):
    """What a store offers that may keep its messages and lose what it knew of the stream."""

    async def shown(self, entries: Sequence[Entry]) -> Mapping[str, str]:
        """Which of these entries made a message that is there: stored ids, each with its session.

        It changes nothing, and raises Fenced as the writer's methods do.
        """
        ...

    async def recall(self, entries: Sequence[Entry], *, ended: Mapping[str, StreamId]) -> None:
        """Note that these entries were applied before the store lost what it knew of them.

        They have an outcome then, and no further effect. Ids that are known keep their outcome.
        Those up to the place in `ended` are of an earlier generation of their session. One
        transaction; raises Fenced.
        """
        ...


@runtime_checkable
class Transferable(Protocol):
    """What a store offers that can be copied into another one, and take in what is not its own.

    The writing methods are one transaction each and raise Fenced as the writer's do. What they are
    given that is there already has no effect, so that a copy that was cut short is given again.
    """

    def snapshot(self) -> AbstractAsyncContextManager[Snapshot]:
        """All rows as of one moment, while the writer goes on; a store not made yet is empty.

        Raises StoreUnavailable for a store of an older version.
        """
        ...

    async def receipts(self, source: str) -> Sequence[Receipt]:
        """The receipts of one source, by session; that of all of it (session "") comes first."""
        ...

    async def receipts_of(self, key: str) -> Sequence[Receipt]:
        """The receipts of the sources from which a session came; none for one of our own."""
        ...

    async def bring_in(
        self,
        sessions: Sequence[ImportedSession],
        messages: Sequence[ImportedMessage],
        receipts: Sequence[Receipt] = (),
    ) -> int:
        """Take in sessions and messages of another program; how many messages were new.

        A message goes to the end of its session. One whose session is not there, or was deleted,
        has no effect.
        """
        ...

    async def restore(self, rows: StoreRows) -> Restored:
        """Take in rows of another store; what became of the messages.

        Rows keep their numbers if those are above all that are in use. A message has no effect if
        its session is not there, or was reset or deleted since.
        """
        ...

    async def become(self, head: StoreHead) -> None:
        """Take over id, age, place in the stream and counters; its own id stays for None."""
        ...


@runtime_checkable
class CountsOutcomes(Protocol):
    """What a store offers whose writer counts what it does."""

    @property
    def outcomes(self) -> Iterable[OutcomeCount]:
        """What became of the entries that were committed here since the store was opened."""
        ...


@runtime_checkable
class Leavable(Protocol):
    """What a store offers that can be given up for another one."""

    async def leave(self, mark: Mark) -> None:
        """Mark the store as moved, as the last transaction of its last leader; raises Fenced.

        Nobody takes the lead any more, and who opens the store gets StoreMoved.
        """
        ...


class SessionBackend(SessionReader, SessionWriter, Protocol):
    """A whole backend. The writing half works only if it was made with mode `write`.

    `async with` opens it, and closes it whatever happened in the block. Opening raises StoreTooNew
    for a store of a newer version, StoreMoved for one that is in another backend now,
    StoreUnavailable for one that cannot be opened now. Reading raises them too.
    """

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
