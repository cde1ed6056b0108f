"""A workspace with another store: its sessions never go dark without a word."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from harness.system import PREFIX, SystemUnderTest
from harness.waiting import wait_until
from sessions import times
from sessions.errors import ConfigError
from sessions.process.settings import BACKENDS
from sessions.store.backend import Transferable
from sessions.store.engine.receipts import Receipt
from sessions.store.factory import make_session_backend
from sessions.transfer.exporting import COPIED
from sessions.transfer.moving import move_store
from sessions.transfer.others import check_others, other_stores
from sessions.transfer.restoring import BESIDE
from tests.cli.command import process
from tests.events import user
from tests.stores import Clock, lead
from tests.transfer.killing import Quiet, no_stream

PAIRS: Final = [(one, other) for one in BACKENDS for other in BACKENDS if one != other]


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[SystemUnderTest]:
    """A Redis of this test's own, and room for workers."""
    async with SystemUnderTest.running(tmp_path) as system:
        yield system


async def made(workspace: Path, backend: str, *keys: str) -> None:
    """A store with these sessions."""
    async with make_session_backend(workspace, backend, mode="write") as opened:
        store = await lead(opened, Clock())
        await store.apply(*[user(f"{backend}-{key}", session=key) for key in keys])
        await opened.release()


@pytest.mark.parametrize(("old", "new"), PAIRS)
async def test_no_service_starts_on_a_backend_that_hides_the_other_ones_sessions(
    system: SystemUnderTest, old: str, new: str
) -> None:
    """It ends with 78, and names what there is and the commands."""
    await made(system.workspace, old, "a", "b")
    system.backend = new
    for module in ("worker", "api"):
        service = system.start(module, port="0")
        assert await service.ended() == os.EX_CONFIG
        for part in ("2 sessions", f"the {old} backend", f"move --to {new}", "--adopt-stream"):
            assert part in service.log
    assert not [*other_stores(system.workspace, old)]


async def test_stores_that_both_hold_sessions_are_joined_by_an_import(
    system: SystemUnderTest,
) -> None:
    """What both have needs none."""
    await made(system.workspace, "sqlite", "a", "both")
    await made(system.workspace, "jsonl", "b", "both")
    system.backend = "jsonl"
    worker = system.start("worker")
    assert await worker.ended() == os.EX_CONFIG
    path = system.workspace / "sessions" / "turnstream.db"
    assert "holds 1 sessions" in worker.log
    assert f"turnstream import {path}" in worker.log
    environ = {**os.environ, "TURNSTREAM_SESSION_BACKEND": "jsonl"}
    done = process("import", path, workspace=system.workspace, environ=environ)
    assert done.code == 0, done.err
    await system.worker()


async def test_an_import_that_has_not_ended_hides_nothing(tmp_path: Path) -> None:
    """It was killed, maybe. Only its end says that everything is here."""
    await made(tmp_path, "sqlite", "a")
    await made(tmp_path, "jsonl", "b")
    async with make_session_backend(tmp_path, "sqlite") as old:
        source = f"{COPIED}:{await old.store_id()}"
    begun = Receipt(source, "", COPIED, "", 0, 0, 0, times.now(), BESIDE)
    await _noted(tmp_path, begun)
    with pytest.raises(ConfigError, match="turnstream import"):
        await check_others(tmp_path, "jsonl")
    await _noted(tmp_path, begun._replace(digest="-"))
    assert await check_others(tmp_path, "jsonl") == []


async def _noted(workspace: Path, receipt: Receipt) -> None:
    async with make_session_backend(workspace, "jsonl", mode="write") as store:
        await lead(store, Clock())
        assert isinstance(store, Transferable)
        await store.bring_in([], [], [receipt])


async def test_a_store_can_be_left_behind_once_and_for_all(system: SystemUnderTest) -> None:
    """The worker says what it leaves, of the workspace and of the stream, and notes that."""
    old = await system.worker()
    await system.append("e1", session="a")
    position = (await system.outcome("e1")).position
    place = f"{position.epoch}.{position.stream_id}.".encode()
    await wait_until(lambda: _announced(system, place))
    await system.close_store()
    await old.stop(signal.SIGKILL)
    await system.append("e2", session="a")
    system.backend = "jsonl"
    worker = await system.worker("--adopt-stream")
    await worker.says("1 sessions of the sqlite store")
    await worker.says("taken over from the sqlite store")
    assert "it has 2 entries, of which that store has not applied 1" in worker.log
    await worker.stop()
    again = await system.worker()
    assert "sqlite" not in again.log
    assert await system.redis_says("HGET", f"{PREFIX}store", "backend") == b"jsonl"


async def _announced(system: SystemUnderTest, place: bytes) -> bool:
    return await system.redis_says("HGET", f"{PREFIX}store", "applied") == place


async def test_a_store_that_was_moved_or_has_nothing_is_no_other_one(tmp_path: Path) -> None:
    await made(tmp_path, "sqlite", "a")
    await move_store(tmp_path, "sqlite", "jsonl", stream=no_stream, meter=Quiet(), max_content=4096)
    assert other_stores(tmp_path, "jsonl") == []
    await check_others(tmp_path, "jsonl")
    # Opening the old one says where it went.
    await check_others(tmp_path, "sqlite")


async def test_doctor_and_status_name_the_other_stores(tmp_path: Path) -> None:
    """Of our backends, of ZeroClaw, and one that is half made."""
    await made(tmp_path, "sqlite", "a")
    await made(tmp_path, "jsonl", "a", "b")
    sessions = tmp_path / "sessions"
    (sessions / "theirs.jsonl").write_text('{"role":"user","content":"x"}\n', encoding="utf-8")
    (sessions / "index.db.incoming").touch()
    told = "\n".join(
        check["text"] for check in _doctor(tmp_path, "jsonl") if check["name"] == "other store"
    )
    for part in ("turnstream.db", "0 of its sessions", "ZeroClaw", "move to jsonl has not ended"):
        assert part in told
    failed = [check for check in _doctor(tmp_path, "sqlite") if check["verdict"] == "failed"]
    assert [check["name"] for check in failed] == ["other store"]
    status = process("status", workspace=tmp_path)
    assert "index.db is a store of the jsonl backend; 1 of its sessions" in status.out
    with pytest.raises(ConfigError, match="1 sessions of the jsonl backend"):
        await check_others(tmp_path, "sqlite")


def _doctor(workspace: Path, backend: str) -> list[dict[str, str]]:
    environ = {**os.environ, "TURNSTREAM_SESSION_BACKEND": backend}
    return json.loads(process("doctor", "--json", workspace=workspace, environ=environ).out)[
        "checks"
    ]
