"""A copy that follows the stream: how far, at which time, and when it cannot."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import pytest

from sessions.models import Entry, StreamId
from sessions.process.settings import BACKENDS
from sessions.store.backend import SessionBackend
from sessions.store.capabilities import Movable
from sessions.store.factory import local_store, make_session_backend
from sessions.stream.turns import TurnStream
from sessions.transfer.incoming import IncomingStore
from tests.events import EntrySequence, user
from tests.stores import Clock, lead


@dataclass
class Entries:
    """A stream that holds these."""

    entries: list[Entry]

    async def read(self, cursor: StreamId, *, count: int, size: int) -> list[Entry]:
        """What is behind the cursor."""
        return [one for one in self.entries if one.raw.stream_id > cursor][:count]

    @property
    def stream(self) -> TurnStream:
        """The same, as what it stands for."""
        return cast("TurnStream", self)


@pytest.fixture(params=BACKENDS)
def target(request: pytest.FixtureRequest) -> str:
    return request.param


@asynccontextmanager
async def copied(
    workspace: Path, target: str, entries: list[Entry]
) -> AsyncIterator[tuple[SessionBackend, IncomingStore]]:
    """A store that has applied two of the entries and then all, and a copy made in between."""
    source = next(name for name in BACKENDS if name != target)
    local = cast("Movable", local_store(workspace, target))
    async with make_session_backend(workspace, source, mode="write") as old:
        await lead(old, Clock())
        await old.apply(entries[:2])
        async with IncomingStore(workspace, local, holder="test", max_content=4096) as incoming:
            await incoming.copy(old, lambda number: None)
            await old.apply(entries[2:])
            yield old, incoming


def made(number: int) -> list[Entry]:
    stream = EntrySequence()
    return [stream.entry(user(f"e{place}", f"text {place}")) for place in range(number)]


async def test_it_applies_what_the_store_has_and_nothing_beyond(
    tmp_path: Path, target: str
) -> None:
    """The stream may be ahead of the store."""
    entries = made(6)
    async with copied(tmp_path, target, entries[:4]) as (old, incoming):
        goal = await old.cursor()
        assert await incoming.follow(Entries(entries).stream, goal)
        assert await incoming.is_at(goal)
        assert (await incoming.backend.counts())["messages"] == 4


async def test_messages_get_the_time_at_which_they_came_into_the_stream(
    tmp_path: Path, target: str
) -> None:
    """A copy may follow minutes later than the worker."""
    entries = made(4)
    async with copied(tmp_path, target, entries) as (old, incoming):
        assert await incoming.follow(Entries(entries).stream, await old.cursor())
        page = await incoming.backend.history("s")
        assert page.items[-1].created_at == entries[-1].raw.stream_id.ms * 1000


async def test_it_says_so_if_entries_are_gone(tmp_path: Path, target: str) -> None:
    """In the middle, at the end, and where the stream was begun again."""
    entries = made(5)
    for left in ([*entries[:2], *entries[3:]], entries[:3]):
        async with copied(tmp_path / str(len(left)), target, entries) as (old, incoming):
            assert not await incoming.follow(Entries(left).stream, await old.cursor())
    async with copied(tmp_path / "epoch", target, entries) as (old, incoming):
        goal = replace(await old.cursor(), epoch=2)
        assert not await incoming.follow(Entries(entries).stream, goal)
