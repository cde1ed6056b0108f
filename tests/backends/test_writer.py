"""How the engine's writer works with an adapter, shown on the one in memory."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from sessions.errors import Fenced
from sessions.models import StreamCursor
from sessions.store.engine.changes import Changes
from sessions.store.memory.adapter import MemoryTransaction
from sessions.store.memory.backend import MemoryBackend
from sessions.store.memory.store import MemoryStore
from tests.events import Fields, dead, delete, reply, reset, rollback, user
from tests.stores import Clock, lead

WRITTEN = list[tuple[list[Changes], StreamCursor | None]]


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> WRITTEN:
    """What the writer has the store write."""
    calls: WRITTEN = []
    write = MemoryTransaction.write

    async def noted(
        self: MemoryTransaction, drafts: Sequence[Changes], cursor: StreamCursor | None = None
    ) -> None:
        calls.append(([*drafts], cursor))
        await write(self, drafts, cursor)

    monkeypatch.setattr(MemoryTransaction, "write", noted)
    return calls


@pytest.mark.parametrize(
    "batch",
    [
        [reset("r")],
        [delete("d"), user("e3")],
        [rollback("r", target="e1")],
        [user("e3"), rollback("r", expect="hello"), reset("r2")],
        [dead("d", "replay", "none"), dead("d2", "purge", "none")],
    ],
)
async def test_nothing_is_written_if_nothing_changed(written: WRITTEN, batch: list[Fields]):
    async with MemoryBackend() as backend:
        store = await lead(backend, Clock())
        await store.apply(user("e1"), user("e2"), reply("a", turn="e1"))
        await store.apply(*batch)
    assert all(drafts or cursor for drafts, cursor in written)
    assert Changes() not in [draft for drafts, _ in written for draft in drafts]


async def test_the_cursor_comes_with_the_last_write_of_its_transaction(written: WRITTEN):
    async with MemoryBackend() as backend:
        store = await lead(backend, Clock())
        written.clear()
        await store.apply(user("e1"), reset("r"), user("e2"), delete("d"))
    assert [cursor is not None for _, cursor in written] == [False] * (len(written) - 1) + [True]


async def test_a_transaction_in_memory_undoes_no_lead_that_was_taken_meanwhile():
    memory, clock = MemoryStore(), Clock()
    async with MemoryBackend(memory) as one, MemoryBackend(memory) as other:
        await lead(one, clock)
        transaction = one.leading()
        await transaction.__aenter__()
        store = await lead(other, clock)
        await store.apply(user("e1"))
        with pytest.raises(Fenced):
            await transaction.__aexit__(None, None, None)
        assert (await other.lease()).epoch == 2
        assert await store.texts() == ["hello"]
