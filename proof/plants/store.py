"""Bugs in what the store decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sessions.models import Entry, Event, Poison, Reason, StreamCursor
from sessions.store.backend import Following
from sessions.store.engine import applier, ledger, writer
from sessions.store.engine.applier import Applier
from sessions.store.engine.rows import EventRow, MessageRow, SessionRow
from sessions.store.engine.takeback import TakeBack
from sessions.store.sqlite import backend as sqlite
from sessions.store.sqlite.backend import SqliteBackend
from sessions.store.sqlite.statements import Rows


class _ByPlace(Applier):
    def _took(self, entry: Entry) -> bool:
        if isinstance(entry.body, Event):
            return self._decided(entry, entry.body)
        return super()._took(entry)


def dedupe_by_place() -> None:
    """What lies behind the cursor is new, whatever its event id says."""
    writer.Applier = _ByPlace


class _ByContent(TakeBack):
    async def _remove(self, session: SessionRow, message: MessageRow) -> None:
        users = await self._messages(session, "AND role = 'user' ORDER BY seq DESC")
        same = next(user for user in users if user.content == message.content)
        await super()._remove(session, same)


def content_rollback() -> None:
    """Take back by text, as who keeps no ids has to."""
    applier.TakeBack = _ByContent


class _Unfenced(SqliteBackend):
    def _mind_fence(self, renewed: Rows) -> None:
        del renewed

    async def _check_lead(self) -> None:
        return


def no_fence() -> None:
    """Never ask whose lease it is."""
    sqlite.SqliteBackend = _Unfenced


class _Ignoring(Applier):
    def _repeat(self, entry: Entry, known: EventRow) -> None:
        del entry, known


def or_ignore() -> None:
    """INSERT OR IGNORE: whatever violates a constraint counts as a duplicate."""
    writer.Applier = _Ignoring
    for name in ("_INSERT_EVENTS", "_INSERT_MESSAGES"):
        form = getattr(ledger, name)
        setattr(ledger, name, replace(form, head=form.head.replace("INSERT", "INSERT OR IGNORE")))


class _Forgetting(TakeBack):
    async def end_generation(self, session: SessionRow, *, deleted: bool) -> None:
        await super().end_generation(session, deleted=deleted)
        if deleted:
            await self._connection.run("DELETE FROM events WHERE session_id = ?", (session.id,))
            events = self._ledger.events
            for event_id in [key for key, row in events.items() if row.session_id == session.id]:
                del events[event_id]


def dedupe_lost_at_delete() -> None:
    """Delete the ids with the rows that they made."""
    applier.TakeBack = _Forgetting


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
