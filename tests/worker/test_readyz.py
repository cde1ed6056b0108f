"""A worker's /readyz: ready if it leads or stands by and gets on, whatever else answers."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest

from harness.services import free_port
from harness.system import SystemUnderTest
from harness.waiting import wait_until
from sessions.process.progress import ProgressReporter
from worker.metrics import SILENT, readiness


async def asked(port: int) -> httpx.Response:
    """What the worker on that port answers."""
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.get(f"http://127.0.0.1:{port}/readyz")


async def test_leader_and_standby_are_ready_and_say_which_they_are(tmp_path: Path):
    leads, stands = free_port(), free_port()
    async with SystemUnderTest.running(tmp_path) as system:
        await system.worker(worker_metrics_port=str(leads))
        standby = await system.worker(leads=False, worker_metrics_port=str(stands))
        await standby.says("standing by")
        found = [await asked(port) for port in (leads, stands)]
        assert [answer.status_code for answer in found] == [200, 200]
        assert [answer.json()["status"] for answer in found] == ["leading", "standing by"]


async def test_without_redis_a_worker_is_not_ready_until_it_is_back(tmp_path: Path):
    port = free_port()

    async def is_ready() -> bool:
        return (await asked(port)).status_code == 200

    async def says_why() -> bool:
        return "waiting: " in (await asked(port)).text

    async with SystemUnderTest.running(tmp_path) as system:
        await system.worker(worker_metrics_port=str(port))
        await wait_until(is_ready)
        await system.redis.kill()
        await wait_until(says_why)
        await system.redis.start()
        await wait_until(is_ready)


def test_nothing_done_for_a_while_is_no_progress(monkeypatch: pytest.MonkeyPatch):
    consumer = cast("Any", SimpleNamespace(leading=True, trouble=None))
    progress = ProgressReporter(None)
    assert readiness(consumer, progress) == {"status": "leading"}
    monkeypatch.setattr(ProgressReporter, "silence", SILENT + 1)
    assert "nothing got done" in readiness(consumer, progress)["error"]


def test_what_is_in_the_way_is_told():
    consumer = cast("Any", SimpleNamespace(leading=False, trouble="Redis is away"))
    found = readiness(consumer, ProgressReporter(None))
    assert found == {"status": "standing by", "error": "waiting: Redis is away"}
