"""Writes the live sessions of a store as a workspace that ZeroClaw opens."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, cast

from sessions import times
from sessions.store.backend import Transferable
from sessions.store.engine.rows import SessionRow
from sessions.store.image import KeyedMessage, StoreRows
from sessions.transfer.exporting import Selection
from sessions.transfer.records import Filter
from sessions.transfer.report import Advance
from sessions.zeroclaw.values import ForeignMessage, ForeignSession, Format, Written
from sessions.zeroclaw.writing import write_workspace


async def export_zeroclaw(
    backend: Transferable,
    directory: Path,
    *,
    format: Format,
    narrowed: Filter | None,
    advance: Advance,
) -> Written:
    """Write the workspace; what was written. Raises ConfigError if the directory holds sessions.

    Messages that ZeroClaw gave us have the times that it wrote, to the last digit.
    """
    async with backend.snapshot() as snapshot:
        parts = _selected(snapshot.parts(), narrowed)
        sessions: list[ForeignSession] = []
        first: StoreRows | None = None
        async for part in parts:
            if part.messages:
                first = part
                break
            sessions += [await _session(backend, row) for row in part.sessions if row.live]
        messages = _Messages(asyncio.get_running_loop(), first, parts, advance)
        return await asyncio.to_thread(
            write_workspace, directory, sessions, messages, format=format
        )


async def _selected(
    parts: AsyncIterator[StoreRows], narrowed: Filter | None
) -> AsyncIterator[StoreRows]:
    selection = Selection(narrowed) if narrowed is not None else None
    async for part in parts:
        yield part if selection is None else selection.of(part)


class _Messages:
    """The messages of a snapshot for a writer in a thread of its own."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        first: StoreRows | None,
        parts: AsyncIterator[StoreRows],
        advance: Advance,
    ) -> None:
        self._loop = loop
        self._first = first
        self._parts = parts
        self._advance = advance

    def __iter__(self) -> Iterator[ForeignMessage]:
        part = self._first
        while part is not None:
            yield from map(_message, part.messages)
            self._advance(len(part.messages))
            part = asyncio.run_coroutine_threadsafe(self._next(), self._loop).result()

    async def _next(self) -> StoreRows | None:
        part = await anext(self._parts, None)
        # What comes behind the messages is nothing that ZeroClaw knows.
        return part if part is not None and part.messages else None


async def _session(backend: Transferable, row: SessionRow) -> ForeignSession:
    texts = await _texts_of(backend, row.key)
    return ForeignSession(
        *(row.key, row.name, row.agent, row.channel, row.room, row.sender),
        *(row.state, row.turn, row.state_since, row.created_at, row.last_activity),
        created_text=_if_still(texts.get("created_at"), row.created_at),
        active_text=_if_still(texts.get("last_activity"), row.last_activity),
        since_text=_if_still(texts.get("state_since"), row.state_since),
    )


async def _texts_of(backend: Transferable, key: str) -> dict[str, Any]:
    """The times as ZeroClaw wrote them, if the session came from there."""
    for receipt in await backend.receipts_of(key):
        if receipt.detail.startswith("{"):
            return cast("dict[str, Any]", json.loads(receipt.detail))
    return {}


def _message(message: KeyedMessage) -> ForeignMessage:
    key, row, event = message
    text = _if_still(event.detail, row.created_at)
    return ForeignMessage(key, row.role, row.content, row.created_at, text)


def _if_still(text: str | None, moment: int | None) -> str | None:
    """The text, if it still tells that time."""
    try:
        return text if text is not None and times.parse(text) == moment else None
    except ValueError:
        return None
