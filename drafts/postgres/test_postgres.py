"""What is this store's own: how often it goes to the server, frozen leaders, and odd characters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from drafts.postgres.backend import PostgresBackend
from drafts.postgres.connection import escaped, unescaped
from drafts.postgres.server import SERVERS
from sessions.errors import Fenced, StoreUnavailable
from tests.events import reset, rollback, user
from tests.stores import Clock, LeadingBackend, Open, lead


@pytest.fixture
def clock() -> Clock:
    """The clock of the backends."""
    return Clock()


@pytest.fixture
def open_store(tmp_path: Path, clock: Clock) -> Open:
    """Makes backends that share one store."""
    return SERVERS.make(tmp_path, clock)


@pytest.fixture
async def store(open_store: Open, clock: Clock) -> AsyncIterator[LeadingBackend]:
    """A backend that leads."""
    async with open_store("write") as opened:
        yield await lead(opened, clock)


@pytest.mark.parametrize(
    "text", ["", "\0", "\1", "\0\1", "\1\0", "\0\2", "\1\1\0\2\1", "a\0b", "\u00e9"]
)
def test_every_text_comes_back(text: str) -> None:
    assert unescaped(escaped(text)) == text
    assert b"\0" not in escaped(text)


async def test_every_text_of_an_event_may_hold_every_character(store: LeadingBackend) -> None:
    odd = "\0\1\2\1\1\0"
    await store.apply(user("e1", odd, session=odd, channel=odd, room=odd, sender=odd, agent=odd))
    session = await store.session(odd)
    assert (session.key, session.agent, session.channel, session.room) == (odd,) * 4
    assert await store.texts(odd) == [odd]
    await store.apply(reset("x", session=odd))
    assert await store.texts(odd) == []


async def test_a_word_longer_than_an_entry_of_the_index_is_stored_and_found(
    store: LeadingBackend,
) -> None:
    word = "long" * 20_000
    await store.apply(user("e1", word), user("e2", f"{word}er"))
    assert await store.found(word) == [word]


async def test_a_batch_is_two_round_trips(store: LeadingBackend) -> None:
    await store.apply(user("e1"), user("e2", session="t"))
    before = store.backend.steps
    await store.apply(*(user(f"f{n}", session=f"s{n}") for n in range(500)))
    assert store.backend.steps - before == 2


async def test_a_leader_that_stands_still_amid_a_batch_holds_up_nobody(
    store: LeadingBackend, open_store: Open, clock: Clock
) -> None:
    assert isinstance(store.backend, PostgresBackend)
    with pytest.raises(Fenced):
        async with store.backend.leading(), open_store("write") as opened:
            await (await lead(opened, clock)).apply(user("e1"))
    assert await store.texts() == ["hello"]


async def test_a_leader_that_stands_still_amid_a_rollback_holds_the_lease_for_a_while(
    store: LeadingBackend, open_store: Open
) -> None:
    assert isinstance(store.backend, PostgresBackend)
    async with open_store("write") as standby, store.backend.leading() as transaction:
        await transaction.forget_ids(0, 1)
        with pytest.raises(StoreUnavailable):
            await standby.acquire("w2", seen=None)


async def test_a_write_on_a_connection_that_was_given_up_for_lost_is_noticed(
    store: LeadingBackend,
) -> None:
    assert isinstance(store.backend, PostgresBackend)
    with pytest.raises(StoreUnavailable):
        async with store.backend.leading():
            await store.apply(user("e1"))
    assert await store.texts() == ["hello"]


async def test_a_lost_connection_is_made_again(store: LeadingBackend) -> None:
    await store.apply(user("e1", "one"), user("e2", "two"))
    assert isinstance(store.backend, PostgresBackend)
    async with store.backend.server.connection() as connection:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
    await asyncio.sleep(0.2)
    await store.apply(user("e3", "three"), rollback("r", target="e1"))
    assert await store.texts() == ["two", "three"]
