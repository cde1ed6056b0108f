"""A store that commit 42a6d7d wrote is opened, upgraded by the worker that leads, and goes on.

stores/version-1.tar.gz holds one of each backend, made by that commit's own code.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from sessions.errors import StoreUnavailable
from sessions.reading import Scope
from sessions.store.backend import SessionBackend
from sessions.store.factory import make_session_backend
from sessions.store.jsonl.backend import INDEX
from sessions.store.sqlite.backend import FILE
from sessions.store.sqlite.library import sqlite3
from sessions.store.sqlite.schema import VERSION
from tests.events import EntrySequence, Fields, reply, rollback, user
from tests.stores import Clock, LeadingBackend, lead

STORES: Final = Path(__file__).with_name("stores") / "version-1.tar.gz"
FILES: Final = {"sqlite": FILE, "jsonl": INDEX}
TELEGRAM: Final = "telegram_home_42_ada"
_FIRST: Fields = {"channel": "telegram.home", "room": "42", "sender": "ada"}

Open = Callable[..., SessionBackend]


@pytest.fixture(params=FILES)
def kind(request: pytest.FixtureRequest) -> str:
    """The backend of the store."""
    return request.param


@pytest.fixture
def database(tmp_path: Path, kind: str) -> Path:
    """The unpacked store's SQLite file."""
    with tarfile.open(STORES) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / kind / "sessions" / FILES[kind]


@pytest.fixture
def opening(database: Path, kind: str) -> Open:
    """Makes backends on that store."""
    workspace = database.parent.parent
    return lambda mode: make_session_backend(workspace, kind, mode=mode)


def version(database: Path) -> int:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute("PRAGMA user_version").fetchone()[0]


async def upgraded(backend: SessionBackend) -> LeadingBackend:
    stream = EntrySequence()
    for number in range(100):
        # What that version has read of the stream already.
        stream.entry(user(f"before{number}"))
    return await lead(backend, Clock(), stream)


async def test_only_the_worker_that_leads_upgrades_the_store(opening: Open, database: Path) -> None:
    async with opening("write") as standby, opening("write") as leader:
        assert (await standby.lease()).epoch == 1
        assert (await standby.cursor()).epoch == 1
        assert await standby.store_id()
        assert version(database) == 1
        await upgraded(leader)
        assert version(database) == VERSION


async def test_readers_wait_until_it_is_upgraded(opening: Open) -> None:
    async with opening("read") as reader, opening("write") as leader:
        with pytest.raises(StoreUnavailable, match="older Turnstream"):
            await reader.sessions()
        await upgraded(leader)
        assert {session.key for session in (await reader.sessions()).items} == {
            *(TELEGRAM, "gw_kitchen", "webhook_shop_ada_ada"),
        }


async def test_everything_is_still_there(opening: Open) -> None:
    async with opening("write") as backend:
        store = await upgraded(backend)
        assert await store.texts(TELEGRAM) == ["Is the kettle on?", "It is."]
        assert (await store.session("gw_kitchen")).name == "Kitchen"
        assert await store.found("kettle") == ["Is the kettle on?"]
        assert [letter.reason for letter in await store.letters()] == [
            "unknown_type",
            "id_conflict",
        ]
        assert await store.result("r2") == "applied"


async def test_what_comes_again_across_the_upgrade_has_no_second_effect(opening: Open) -> None:
    async with opening("write") as backend:
        store = await upgraded(backend)
        await store.apply(
            user("tg:one", "Is the kettle on?", session=TELEGRAM, turn="tg:one", state="running"),
            user("gw:two", "another text again", session="gw_kitchen"),
            user("late", session="gw_kitchen"),
        )
        assert await store.texts(TELEGRAM) == ["Is the kettle on?", "It is."]
        assert (await store.outcome("tg:one")).duplicates == 1
        assert (await store.letters())[0].reason == "id_conflict"
        assert await store.result("late") == "already_rolled_back"


async def test_turns_that_were_open_are_answered_and_taken_back(opening: Open) -> None:
    async with opening("write") as backend:
        store = await upgraded(backend)
        await store.apply(
            rollback("x", target="tg:one", session=TELEGRAM),
            reply("wh:three:reply", "done", session="webhook_shop_ada_ada", turn="wh:three"),
            rollback("y", target="wh:three", session="webhook_shop_ada_ada"),
        )
        assert [await store.result(one) for one in ("x", "y")] == ["answered", "answered"]


async def test_a_channels_session_gets_its_agent_with_the_next_message(opening: Open) -> None:
    async with opening("write") as backend:
        store = await upgraded(backend)
        assert (await store.session(TELEGRAM)).agent is None
        await store.apply({**user("x", session=TELEGRAM), "by": "b", "agent": "b"})
        assert await store.result("x", by="b") == "not_owner"
        await store.apply({**user("tg:four", session=TELEGRAM, agent="anna"), **_FIRST})
        assert (await store.session(TELEGRAM)).agent == "anna"
        assert len(await store.messages(TELEGRAM)) == 3
        mine = await backend.sessions(scope=Scope("anna"))
        assert [session.key for session in mine.items] == [TELEGRAM]


async def test_a_worker_of_the_version_before_cannot_lead_any_more(
    opening: Open, database: Path
) -> None:
    async with opening("write") as backend:
        await upgraded(backend)
    with (
        closing(sqlite3.connect(database)) as old,
        pytest.raises(sqlite3.IntegrityError, match="newer Turnstream"),
    ):
        # The statement by which that version takes the lead.
        old.execute("UPDATE lease SET epoch = ?, holder = ?, beat = ?", (99, "old", 1))
    async with opening("write") as backend:
        assert await backend.acquire("new", seen=await backend.lease()) is not None
