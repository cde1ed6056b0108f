"""The meta files beside session files: in step with the transactions, whatever happens to those."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sessions.errors import StoreUnavailable
from sessions.store.jsonl.backend import JsonlBackend
from sessions.store.jsonl.metas import Meta, MetaFiles
from tests.events import context, delete, hand_over, rename, reset, user
from tests.stores import Clock, LeadingBackend, lead


@pytest.fixture
def clock() -> Clock:
    """The clock of the store."""
    return Clock()


@pytest.fixture
async def store(workspace: Path, clock: Clock) -> AsyncIterator[LeadingBackend]:
    """A leading jsonl backend on a new store."""
    async with JsonlBackend(workspace, mode="write", clock=clock) as backend:
        yield await lead(backend, clock)


async def again(workspace: Path, clock: Clock) -> None:
    """Another worker takes the lead."""
    async with JsonlBackend(workspace, mode="write", clock=clock) as backend:
        await lead(backend, clock)


def told(workspace: Path) -> dict[str, dict[str, Any]]:
    """The meta files by name."""
    return {
        path.name: json.loads(path.read_bytes())
        for path in sorted((workspace / "sessions").glob("*.meta.json"))
    }


def drafts(workspace: Path) -> list[str]:
    """The drafts."""
    return sorted(path.name for path in (workspace / "sessions").glob(".*.meta.json.next"))


async def test_a_session_is_told_with_owner_name_and_routing(
    store: LeadingBackend, workspace: Path, clock: Clock
) -> None:
    await store.apply(
        user("e1", agent="anna", channel="tg.1", room="r", sender="ada"), rename("n", "Größe")
    )
    await again(workspace, clock)
    assert told(workspace) == {
        "s.meta.json": {
            **{"session": "s", "generation": 1, "created_at": "2026-03-01T12:00:00+00:00"},
            **{"name": "Größe", "agent": "anna", "channel": "tg.1", "room": "r", "sender": "ada"},
        }
    }
    assert (workspace / "sessions" / "s.meta.json").stat().st_mode & 0o777 == 0o600


async def test_a_session_without_messages_is_told_too(
    store: LeadingBackend, workspace: Path, clock: Clock
) -> None:
    await store.apply(context("c", agent="anna"))
    await again(workspace, clock)
    assert told(workspace)["s.meta.json"]["agent"] == "anna"


async def test_a_new_leader_makes_right_what_is_wrong_missing_or_left_over(
    store: LeadingBackend, workspace: Path, clock: Clock
) -> None:
    await store.apply(user("e1", session="a", agent="anna"), user("e2", session="b"))
    await again(workspace, clock)
    before = told(workspace)
    folder = workspace / "sessions"
    (folder / "a.meta.json").write_text("{}")
    (folder / "b.meta.json").unlink()
    (folder / ".a.meta.json.next").write_text("{}")
    (folder / ".c.meta.json.next").write_text("{}")
    await again(workspace, clock)
    assert told(workspace) == before
    assert drafts(workspace) == []


async def test_what_changes_is_told_once_the_next_transaction_is_through_at_the_latest(
    store: LeadingBackend, workspace: Path
) -> None:
    await store.apply(user("e1", agent="anna"))
    await store.apply(rename("n", "kettle"))
    await store.apply(rename("n2", "kettle", session="other"))
    await store.apply(reset("r"))
    assert told(workspace)["s.meta.json"]["name"] == "kettle"


async def test_what_a_batch_takes_back_is_not_told(store: LeadingBackend, workspace: Path) -> None:
    await store.apply(user("e1", agent="anna"))
    before = told(workspace)
    await store.apply(hand_over("h1", "anna", "ben"), hand_over("h2", "ben", "anna"))
    assert (await store.session()).agent == "anna"
    assert told(workspace) == before
    assert drafts(workspace) == []


async def test_a_deleted_session_is_not_told_and_its_successor_never_as_its_owners(
    store: LeadingBackend, workspace: Path
) -> None:
    await store.apply(user("e1", agent="anna"))
    await store.apply(delete("d"))
    assert told(workspace) == {}
    await store.apply(user("e2", agent="anna"))
    await store.apply(delete("d2"), context("c2", channel="tg.2"))
    await store.apply(user("e3", session="t"), reset("r", session="t"))
    assert told(workspace)["s.meta.json"]["channel"] == "tg.2"
    assert told(workspace)["s.meta.json"]["agent"] is None


async def test_a_transaction_that_fails_tells_nothing(
    store: LeadingBackend, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.apply(user("e1", agent="anna"))
    await store.apply(reset("r"))
    before = told(workspace)

    async def fail(*_: Any) -> None:
        raise StoreUnavailable("no space")

    with monkeypatch.context() as patch:
        # The files are drafted by then, and nothing is committed.
        patch.setattr("sessions.store.sqlite.transaction.SqliteTransaction.write", fail)
        with pytest.raises(StoreUnavailable):
            await store.apply(rename("n", "never"))
    assert (await store.session()).name is None
    assert told(workspace) == before
    assert drafts(workspace) == []


async def test_what_was_not_told_because_it_was_cut_short_is_told_later(
    store: LeadingBackend, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.apply(user("e1", agent="anna"))
    committed, cut_short = threading.Event(), threading.Event()

    def publish_nothing(*_: Any) -> None:
        committed.set()
        cut_short.wait()

    with monkeypatch.context() as patch:
        patch.setattr(MetaFiles, "publish", publish_nothing)
        naming = asyncio.create_task(store.apply(rename("n", "kettle")))
        await asyncio.to_thread(committed.wait)
        naming.cancel()
        with pytest.raises(asyncio.CancelledError):
            await naming
        cut_short.set()
    assert (await store.session()).name == "kettle"
    await store.apply(user("e2", session="other"))
    assert told(workspace)["s.meta.json"]["name"] == "kettle"
    assert drafts(workspace) == []


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"{}", b"\xff", b"[" * 99_999, b'{"session": "s"}']
    + [
        json.dumps({"session": "s", "generation": 1, "created_at": at, "name": name}).encode()
        for at, name in (("x", None), (None, None), ("2026-03-01T12:00:00Z", "\ud83d"), (7, 7))
    ],
)
def test_what_is_no_meta_file_is_none(data: bytes) -> None:
    assert Meta.parse(data) is None
