"""A store that is copied into another one: the same rows, and the same effect of what follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from sessions.store.backend import SessionBackend, Transferable
from sessions.store.engine.imported import ImportedMessage, ImportedSession
from sessions.store.engine.receipts import Receipt
from sessions.store.image import StoreHead, StoreRows
from tests.events import Fields, delete, reply, rollback, user
from tests.scripts import scripts
from tests.stores import MAKERS, MODEL, Clock, Open, lead

STORES = [name for name in MAKERS if name != MODEL]


async def _contents(backend: SessionBackend) -> tuple[StoreHead, list[object]]:
    """What a snapshot gives, row by row."""
    rows: list[object] = []
    async with cast("Transferable", backend).snapshot() as snapshot:
        async for part in snapshot.parts():
            for name in StoreRows.__dataclass_fields__:
                rows += getattr(part, name)
        return snapshot.head, rows


async def _copied(source: SessionBackend, target: Transferable) -> None:
    async with cast("Transferable", source).snapshot() as snapshot:
        async for part in snapshot.parts():
            await target.restore(part)
        await target.become(snapshot.head)


def _open(name: str, directory: Path, clock: Clock) -> Open:
    path = directory / f"{name}-store"
    path.mkdir(exist_ok=True)
    return MAKERS[name](path, clock)


@pytest.mark.parametrize("target", STORES)
@pytest.mark.parametrize("source", STORES)
@settings(
    max_examples=8,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
    deadline=None,
)
@given(script=scripts())
async def test_a_copy_has_the_same_rows_and_goes_on_alike(
    source: str, target: str, script: list[Fields]
) -> None:
    """Half of a random script is applied before the copy, half to both stores after it."""
    clock, half = Clock(), len(script) // 2
    with TemporaryDirectory() as here, TemporaryDirectory() as there:
        first = _open(source, Path(here), clock)("write")
        second = _open(target, Path(there), clock)("write")
        async with first, second:
            old = await lead(first, clock)
            await old.apply(*script[:half])
            assert await second.acquire("copier", seen=None)
            await _copied(first, cast("Transferable", second))
            assert await _contents(second) == await _contents(first)
            entries = [old.stream.entry(fields) for fields in script[half:]]
            await old.apply_entries(entries)
            await second.apply(entries)
            assert await _contents(second) == await _contents(first)


@pytest.fixture(params=STORES)
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Open, Clock]:
    """A store that can be copied."""
    clock = Clock()
    return _open(request.param, tmp_path, clock), clock


async def test_a_snapshot_shows_one_moment_while_the_store_goes_on(
    opened: tuple[Open, Clock],
) -> None:
    """What is taken back, deleted or added while it is read changes nothing in it."""
    make, clock = opened
    async with make("write") as backend:
        store = await lead(backend, clock)
        await store.apply(*[user(f"u{n}", f"text {n}", session=f"s{n}") for n in range(5)])
        before = await _contents(backend)
        rows: list[object] = []
        async with cast("Transferable", backend).snapshot() as snapshot:
            await store.apply(rollback("r", target="u0", session="s0"), delete("d", session="s1"))
            await store.apply(user("new", session="s2"), reply("other", session="s9"))
            async for part in snapshot.parts():
                for name in StoreRows.__dataclass_fields__:
                    rows += getattr(part, name)
        assert (snapshot.head, rows) == before


async def test_a_copy_that_is_given_twice_doubles_nothing(opened: tuple[Open, Clock]) -> None:
    """Rows that are there already have no effect."""
    make, clock = opened
    async with make("write") as backend:
        store = await lead(backend, clock)
        await store.apply(user("a"), reply("b", turn="a"), user("c", session="t"))
        before = await _contents(backend)
        await _copied(backend, cast("Transferable", backend))
        assert await _contents(backend) == before


def _imported(key: str, texts: Sequence[str]) -> list[ImportedMessage]:
    return [ImportedMessage(key, f"{key}:{n}", "user", text, n + 1) for n, text in enumerate(texts)]


_SESSION = ImportedSession("k", "Name", "ada", "telegram.home", "7", "9", "idle", None, None, 1, 2)
_RECEIPT = Receipt("sessions.db", "k", "sqlite", "", 10, 2, 0, 5, "")


async def test_what_is_brought_in_comes_in_once_and_behind_what_is_there(
    opened: tuple[Open, Clock],
) -> None:
    """Messages are known by their ids; the session's own data stays as the store has it."""
    make, clock = opened
    async with make("write") as backend:
        store, target = await lead(backend, clock), cast("Transferable", backend)
        assert await target.bring_in([_SESSION], _imported("k", ["one", "two"]), [_RECEIPT]) == 2
        session = await store.session("k")
        shown = (session.name, session.agent, session.channel, session.room, session.sender)
        assert shown == ("Name", "ada", "telegram.home", "7", "9")
        assert (session.created_at, session.last_activity, session.message_count) == (1, 2, 2)
        await store.apply(reply("later", "three", session="k"))
        changed = _SESSION._replace(name="Other")
        assert await target.bring_in([changed], _imported("k", ["one", "two", "four"])) == 1
        assert await store.texts("k") == ["one", "two", "three", "four"]
        assert (await store.session("k")).name == "Name"
        assert await store.found("two") == ["two"]
        assert await target.receipts("sessions.db") == [_RECEIPT]
        assert await target.receipts_of("k") == [_RECEIPT]


async def test_nothing_is_brought_into_a_session_that_was_deleted(
    opened: tuple[Open, Clock],
) -> None:
    """Somebody wanted it gone."""
    make, clock = opened
    async with make("write") as backend:
        store, target = await lead(backend, clock), cast("Transferable", backend)
        await target.bring_in([_SESSION], _imported("k", ["one"]))
        await store.apply(delete("d", session="k"))
        assert await target.bring_in([_SESSION], _imported("k", ["one", "two"])) == 0
        assert await backend.session("k") is None


async def test_a_receipt_is_replaced_by_the_next_one(opened: tuple[Open, Clock]) -> None:
    """There is one for each source and session."""
    make, clock = opened
    async with make("write") as backend:
        await lead(backend, clock)
        target = cast("Transferable", backend)
        done = _RECEIPT._replace(messages=7, digest="ab")
        await target.bring_in([], [], [_RECEIPT])
        await target.bring_in([], [], [done])
        assert await target.receipts("sessions.db") == [done]


async def test_a_store_keeps_its_own_id_unless_it_is_given_one(opened: tuple[Open, Clock]) -> None:
    """An import keeps it, a move or a restore takes the other store's."""
    make, clock = opened
    async with make("write") as backend:
        await lead(backend, clock)
        own = await backend.store_id()
        cursor = replace(await backend.cursor(), epoch=7)
        await cast("Transferable", backend).become(StoreHead(None, 0, cursor, 0))
        assert await backend.store_id() == own
        assert (await backend.cursor()).epoch == 7
        await cast("Transferable", backend).become(StoreHead("other", 0, cursor, 0))
        assert await backend.store_id() == "other"
