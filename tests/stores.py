"""The stores that the contract is tested on, and how a test works with one.

A new backend needs one more line in MAKERS; no test knows which one it has. The model stands beside
the stores: they have to agree with it, so it has to keep the contract itself.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, Protocol

from proof.model.backend import ModelBackend
from proof.model.rules import Model
from sessions import times
from sessions.ids import stored_id
from sessions.models import DeadLetter, Entry, LetterBounds, Message, Outcome, Session, StreamCursor
from sessions.store.backend import Following, SessionBackend
from sessions.store.jsonl.backend import JsonlBackend
from sessions.store.memory.backend import MemoryBackend
from sessions.store.memory.store import MemoryStore
from sessions.store.sqlite.backend import SqliteBackend
from tests.events import EntrySequence, Fields

Mode = Literal["read", "write"]


class Open(Protocol):
    """Opens a backend on the store of a test."""

    def __call__(self, mode: Mode, *, bounds: LetterBounds | None = None) -> SessionBackend:
        """A backend that is not entered yet."""
        ...


class Clock:
    """A clock that stands still until it is moved. Microseconds."""

    def __init__(self) -> None:
        self.now = (datetime(2026, 3, 1, 12, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // (
            datetime.resolution
        )

    def __call__(self) -> int:
        return self.now

    def pass_days(self, days: float) -> None:
        """Let days go by."""
        self.now += int(days * times.DAY)

    def text(self, *, days: float = 0) -> str:
        """The time so many days from now, as producers write it."""
        return times.render(self.now + int(days * times.DAY))


def _model(workspace: Path, clock: Clock) -> Open:
    """The model, on a store of its own."""
    store = Model()
    return lambda mode, *, bounds=None: ModelBackend(store, mode=mode, bounds=bounds, clock=clock)


def _memory(workspace: Path, clock: Clock) -> Open:
    store = MemoryStore()
    return lambda mode, *, bounds=None: MemoryBackend(store, mode=mode, bounds=bounds, clock=clock)


def _sqlite(workspace: Path, clock: Clock) -> Open:
    return lambda mode, *, bounds=None: SqliteBackend(
        workspace, mode=mode, bounds=bounds, clock=clock
    )


def _pythons_sqlite(workspace: Path, clock: Clock) -> Open:
    """With Python's own library, which serves where there is no wheel of a newer one."""
    return lambda mode, *, bounds=None: SqliteBackend(
        workspace, mode=mode, bounds=bounds, clock=clock, connect=sqlite3.connect
    )


def _jsonl(workspace: Path, clock: Clock) -> Open:
    return lambda mode, *, bounds=None: JsonlBackend(
        workspace, mode=mode, bounds=bounds, clock=clock
    )


MODEL: Final = "model"
MAKERS: Final[dict[str, Callable[[Path, Clock], Open]]] = {
    MODEL: _model,
    "memory": _memory,
    "sqlite": _sqlite,
    "jsonl": _jsonl,
}
# The same backends in other ways, for a part of the tests.
VARIANTS: Final[dict[str, Callable[[Path, Clock], Open]]] = {"sqlite of Python": _pythons_sqlite}


class LeadingBackend:
    """A backend that leads, fed from a stream of its own, with short ways to look at it."""

    def __init__(self, backend: SessionBackend, stream: EntrySequence, clock: Clock) -> None:
        self.backend = backend
        self.stream = stream
        self.clock = clock

    async def apply(self, *events: Fields) -> StreamCursor:
        """Put the events into the stream and apply them as one batch."""
        return await self.backend.apply([self.stream.entry(fields) for fields in events])

    async def apply_entries(self, entries: Sequence[Entry]) -> StreamCursor:
        """Apply entries that the test made itself."""
        return await self.backend.apply(entries)

    async def messages(self, key: str = "s") -> list[Message]:
        """The whole history of a session, of up to a thousand messages."""
        return (await self.backend.history(key, limit=1000)).items

    async def texts(self, key: str = "s") -> list[str]:
        """What the messages of a session say."""
        return [message.content for message in await self.messages(key)]

    async def session(self, key: str = "s") -> Session:
        """A session that is there."""
        session = await self.backend.session(key)
        assert session is not None, f"there is no session {key!r}"
        return session

    async def keys(self) -> set[str]:
        """The keys of all sessions, of up to a thousand."""
        return {session.key for session in (await self.backend.sessions(limit=1000)).items}

    async def outcome(self, event_id: str, *, by: str | None = None) -> Outcome:
        """The outcome of an id that has one."""
        outcome = await self.backend.outcome(stored_id(event_id, by))
        assert outcome is not None, f"{event_id!r} has no outcome"
        return outcome

    async def result(self, event_id: str, *, by: str | None = None) -> str:
        """The outcome in one word: `applied`, or the reason why not (or of what kind)."""
        outcome = await self.outcome(event_id, by=by)
        return outcome.reason or outcome.outcome

    async def letters(self) -> list[DeadLetter]:
        """The dead letters, newest first."""
        return (await self.backend.dead_letters(limit=1000)).items

    async def found(self, query: str) -> list[str]:
        """What the messages say that a search finds, newest first."""
        return [hit.message.content for hit in (await self.backend.search(query)).items]


def telling(entries: Sequence[Entry]) -> Following:
    """What gives these entries when it is asked what follows."""

    async def following() -> Sequence[Entry]:
        await asyncio.sleep(0)
        return entries

    return following


async def lead(
    backend: SessionBackend, clock: Clock, stream: EntrySequence | None = None
) -> LeadingBackend:
    """Let an open backend take the lead from any holder."""
    lease = await backend.acquire("worker", seen=None)
    assert lease is not None
    if (await backend.cursor()).epoch == 0:
        await backend.begin_epoch(skipped=0)
    return LeadingBackend(backend, stream or EntrySequence(), clock)
