"""The lead of a store while sessions move in: it is shown to live, and its loss is said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from sessions.errors import StoreUnavailable
from sessions.store.memory.backend import MemoryBackend
from sessions.store.memory.store import MemoryStore
from sessions.transfer import zeroclaw_import
from sessions.transfer.lead import taken_lead
from sessions.transfer.zeroclaw_import import ZeroClawImport
from sessions.zeroclaw.values import Fingerprint, ForeignSource, SetAside


class Rubbish:
    """A source in which nothing can be read."""

    path, name, kind = Path("/rubbish.jsonl"), "rubbish.jsonl", "jsonl"
    fingerprint, digest, size = Fingerprint(1, 1), "ab", 1

    def read(self) -> Iterator[SetAside]:
        for line in range(50):
            yield SetAside(self.name, f"line {line}", "it is no JSON", b"x", 1)


async def test_a_leader_lives_though_it_finds_nothing_to_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every record is a time to show it, if the last time is long ago."""
    monkeypatch.setattr(zeroclaw_import, "_RENEWAL", 0.0)
    async with MemoryBackend() as backend, taken_lead(backend, None, what="import"):
        before = (await backend.lease()).beat
        importing = ZeroClawImport(backend, tmp_path, advance=lambda _: None)
        await importing.run(cast("ForeignSource", Rubbish()))
        assert (await backend.lease()).beat >= before + 50


async def _lose_the_lead(backend: MemoryBackend, other: MemoryBackend) -> None:
    async with taken_lead(backend, None, what="import"):
        await other.acquire("another", seen=None)
        await backend.renew()


async def test_losing_the_lead_is_a_reason_to_start_again() -> None:
    store = MemoryStore()
    async with MemoryBackend(store) as backend, MemoryBackend(store) as other:
        with pytest.raises(StoreUnavailable, match="start the import again"):
            await _lose_the_lead(backend, other)
        assert (await other.lease()).holder == "another"


async def test_a_worker_may_lead_as_soon_as_the_tool_is_done() -> None:
    async with MemoryBackend() as backend:
        async with taken_lead(backend, None, what="import"):
            assert (await backend.lease()).holder is not None
        assert (await backend.lease()).holder is None
