"""A backup out of a stack that works: into another project, another store and an embedded one."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import turnstream
from tests.stack.stack import Stack
from tests.stack.test_deaths import talking

# Seconds of traffic before the backup and after it.
_SECONDS = 5.0


@pytest.fixture
async def saved(stack: Stack) -> str:
    """A backup that was taken while people talked."""
    async with talking(stack):
        await asyncio.sleep(_SECONDS)
        backup = await asyncio.to_thread(
            stack.compose, "exec", "-T", "worker", "turnstream", "backup", "-"
        )
        await asyncio.sleep(_SECONDS)
    return backup


def _texts(backup: str) -> list[tuple[str, str, str]]:
    """The messages of a backup: session, role and content, in their order."""
    lines: list[dict[str, Any]] = [json.loads(line) for line in backup.splitlines()]
    messages = [one for one in lines if one["kind"] == "message"]
    return [(one["session"], one["role"], one["content"]) for one in messages]


async def test_it_restores_into_another_project(stack: Stack, saved: str):
    """One command before the first start; then it is the store."""
    assert len(_texts(saved)) > 20
    with stack.another() as other:
        # The passwords of Redis are made at the first start, and nothing here needs Redis.
        without = ("-e", "TURNSTREAM_REDIS_URL_FILE=")
        run = ("run", "--rm", "-T", "--no-deps", *without, "worker")
        await asyncio.to_thread(other.compose, *run, "restore", "-", given=saved)
        await asyncio.to_thread(other.compose, *run, "verify")
        again = await asyncio.to_thread(other.compose, *run, "backup", "-")
        assert again == saved
        await asyncio.to_thread(other.up)
        live = await asyncio.to_thread(
            other.compose, "exec", "-T", "worker", "turnstream", "export", "-"
        )
        assert _texts(live) == _texts(saved)


@pytest.mark.parametrize("backend", ["sqlite", "jsonl"])
async def test_it_restores_into_an_embedded_workspace_of_any_store(
    backend: str, saved: str, tmp_path: Path
):
    """From compose to a laptop it takes two commands, and back as well."""
    file = tmp_path / "backup.jsonl"
    file.write_text(saved, encoding="utf-8")
    environ = {"TURNSTREAM_SESSION_BACKEND": backend}
    here = {"workspace": tmp_path / "ts", "environ": environ}
    for command in (("restore", file), ("verify",), ("backup", tmp_path / "again.jsonl")):
        done = await asyncio.to_thread(turnstream, *command, **here)
        assert done.code == 0, done.err
    assert (tmp_path / "again.jsonl").read_text(encoding="utf-8") == saved
