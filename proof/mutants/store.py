"""Bugs in what the store decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sessions.models import Entry, Event, Poison, Reason, StreamCursor
from sessions.store.backend import Following
from sessions.store.engine import decider, pending, writer
from sessions.store.engine.asking import Deciding
from sessions.store.engine.changes import RemovedMessages
from sessions.store.engine.decider import Decider
from sessions.store.engine.removal import Remover
from sessions.store.engine.rows import EventRow, MessageRow, SessionRow
from sessions.store.sqlite import adapter as sqlite_adapter
from sessions.store.sqlite import backend as sqlite
from sessions.store.sqlite import drafting
from sessions.store.sqlite.adapter import SqliteAdapter
from sessions.store.sqlite.backend import SqliteBackend
from sessions.store.sqlite.statements import Query, Rows, Statement
from sessions.store.sqlite.transaction import SqliteTransaction


class _ByPlace(Decider):
    def _took(self, entry: Entry) -> bool:
        if isinstance(entry.body, Event):
            return self._decided(entry, entry.body)
        return super()._took(entry)


def dedupe_by_place() -> None:
    """What lies behind the cursor is new, whatever its event id says."""
    pending.Decider = _ByPlace


class _ByContent(SqliteTransaction):
    async def message_at(self, session_id: int, seq: int) -> MessageRow:
        message = await super().message_at(session_id, seq)
        newest = [*reversed(await self.oldest_messages(session_id, 2**31))]
        same = [one for one in newest if one.role == "user" and one.content == message.content]
        return same[0] if same else message


def content_rollback() -> None:
    """Take back by text, as a program has to that keeps no ids."""
    sqlite_adapter.SqliteTransaction = _ByContent


class _Unfenced(SqliteAdapter):
    def _check_fence(self, renewed: Rows, epoch: int) -> None:
        del renewed, epoch

    async def check_lead(self, epoch: int) -> None:
        del epoch


def no_fence() -> None:
    """Never ask whose lease it is."""
    sqlite.SqliteAdapter = _Unfenced


class _Ignoring(Decider):
    def _repeat(self, entry: Entry, known: EventRow) -> None:
        del entry, known


def or_ignore() -> None:
    """INSERT OR IGNORE: whatever violates a constraint counts as a duplicate."""
    pending.Decider = _Ignoring
    for name in ("_INSERT_EVENTS", "_INSERT_MESSAGES"):
        form = getattr(drafting, name)
        ignoring = replace(form, head=form.head.replace("INSERT", "INSERT OR IGNORE"))
        setattr(drafting, name, ignoring)


class _Forgetting(Remover):
    def end_generation(self, session: SessionRow, *, deleted: bool) -> Deciding[None]:
        yield from super().end_generation(session, deleted=deleted)
        if deleted:
            events = self._work.events
            for event_id in [key for key, row in events.items() if row.session_id == session.id]:
                del events[event_id]


def dedupe_lost_at_delete() -> None:
    """Delete the ids with the rows that they made."""
    decider.Remover = writer.Remover = _Forgetting
    # What drafts the end of a generation is nobody else's to call; here it is replaced.
    kept = drafting._gone  # pyright: ignore[reportPrivateUsage]

    def forgotten(gone: RemovedMessages) -> list[Statement]:
        statements = kept(gone)
        if gone.how is Reason.DELETED:
            ids = [(message.event_id,) for message in gone.messages]
            statements += [Query("DELETE FROM events WHERE event_id = ?", one) for one in ids]
        return statements

    drafting._gone = forgotten  # pyright: ignore[reportPrivateUsage]


class _AllOrNothing(SqliteBackend):
    async def apply(
        self, entries: Sequence[Entry], *, following: Following | None = None
    ) -> StreamCursor:
        if any(isinstance(entry.body, Poison) for entry in entries):
            entries = [_condemned(entry) for entry in entries]
        return await super().apply(entries, following=following)


def _condemned(entry: Entry) -> Entry:
    if isinstance(entry.body, Poison):
        return entry
    event = entry.body
    poison = Poison(Reason.APPLY_FAILED, "the batch failed", event.id, event.session)
    return entry._replace(body=poison)


def whole_batch_poison() -> None:
    """Bury a whole batch for the sake of one entry."""
    sqlite.SqliteBackend = _AllOrNothing
