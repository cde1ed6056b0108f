"""A store in memory as it was at one moment."""

from __future__ import annotations

from collections.abc import AsyncIterator

from sessions.store.image import KeyedEvent, KeyedMessage, StoreHead, StoreRows, SuppressedId
from sessions.store.memory.store import MemoryStore


class MemorySnapshot:
    """See `Snapshot`. The store is a copy that nobody changes."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._keys = {row.id: row.key for row in store.sessions.values()}
        self.head = StoreHead(store.store_id, store.created_at, store.cursor, store.letters_dropped)

    async def parts(self) -> AsyncIterator[StoreRows]:
        """All rows; a store in memory is small, so each kind is one part."""
        store = self._store
        sessions = sorted(store.sessions.values(), key=lambda row: row.id)
        yield StoreRows(sessions=sessions)
        messages = [
            KeyedMessage(self._keys[row.session_id], row, store.events[row.event_id])
            for _, row in sorted(store.messages.items())
        ]
        yield StoreRows(messages=messages)
        shown = {one.row.event_id for one in messages}
        yield StoreRows(
            events=[
                KeyedEvent(self._home(row.session_id), row)
                for event_id, row in sorted(store.events.items())
                if event_id not in shown
            ]
        )
        yield StoreRows(
            suppressed=[
                SuppressedId(*pair, until) for pair, until in sorted(store.suppressed.items())
            ]
        )
        yield StoreRows(letters=[row for _, row in sorted(store.letters.values())])
        yield StoreRows(receipts=sorted(store.receipts.values()))

    def _home(self, session_id: int | None) -> str | None:
        return self._keys.get(session_id) if session_id is not None else None
