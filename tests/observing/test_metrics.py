"""/metrics of each process: Prometheus' own parser takes it, and it shows what happened."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pytest

from harness.system import SystemUnderTest
from harness.waiting import wait_until
from sessions.access.tokens import ensure_admin_token
from sessions.process.durations import QUICK, Durations
from tests.docs.pages import ROOT
from tests.ingest.model_server import failure
from tests.observing.prometheus import Promtool
from tests.observing.scraping import Scrape, scraped, watched_worker
from tests.walk.site import Site, running_site, site_with_model

LABELS = {
    *("version", "python", "backend", "route", "method", "status", "tool", "door", "success"),
    *("limit", "kind", "type", "outcome", "reason", "agent", "result", "channel", "state"),
    *("ending", "le"),
}


@dataclass
class Pages:
    """A page of each kind of process, after a turn and a dead letter."""

    worker: Scrape
    standby: Scrape
    web: Scrape
    api: Scrape
    ingest: Scrape

    @property
    def all(self) -> dict[str, Scrape]:
        return dict(vars(self))


@pytest.fixture
async def pages(system: SystemUnderTest) -> Pages:
    _, worker = await watched_worker(system)
    _, standby = await watched_worker(system, leads=False)
    async with running_site(system) as site:
        await talked(site)
        await system.xadd("v", "1", "id", "bad id!", "type", "append")
        await system.append("e1")
        await system.append("e1")
        await system.append("e2")
        await system.outcome("e2")
        url = str(site.http.base_url)
        api, _ = await system.serving("api")
        token = ensure_admin_token(system.workspace)
        ingest, _ = await system.serving("ingest", api_url=api, token=token)
        await wait_until(lambda: stands_by(standby))
        return Pages(*[await scraped(one) for one in (worker, standby, url, api, ingest)])


async def stands_by(url: str) -> bool:
    return (await scraped(url)).value("turnstream_worker_standing_by") == 1


async def talked(site: Site) -> None:
    async with site.chat("kitchen") as chat:
        await chat.say("hello")
        await chat.hears("done")


async def test_what_every_process_shows(pages: Pages, promtool: Promtool) -> None:
    """One start of everything for all of this, since it takes seconds."""
    for name, page in pages.all.items():
        assert promtool.accepts(page.text) == "", name
        assert page.value("turnstream_build_info", backend="sqlite") == 1, name
        assert page.value("process_resident_memory_bytes"), name
        for sample in page.samples:
            assert sample.labels.keys() <= LABELS, sample
            assert "kitchen" not in sample.labels.values(), sample
    worker_is_right(pages.worker)
    web_is_right(pages.web)
    assert pages.standby.value("turnstream_worker_leading") == 0
    assert pages.standby.value("turnstream_redis_memory_used_bytes") is None
    assert pages.api.value("turnstream_ingest_chats") is None
    assert pages.ingest.value("turnstream_api_requests_total") is None
    documented_are_shown(pages)


def worker_is_right(page: Scrape) -> None:
    outcomes = "turnstream_worker_outcomes_total"
    # Two messages of the chat, and two that came by the stream.
    assert page.value(outcomes, type="append", outcome="applied") == 4
    assert page.value(outcomes, type="append", outcome="duplicate") == 1
    assert page.value(outcomes, type="unknown", outcome="dead", reason="invalid_field") == 1
    assert page.value(outcomes) == page.value("turnstream_worker_applied_entries_total") == 6
    delays = "turnstream_worker_publish_to_applied_seconds"
    assert page.value(f"{delays}_count") == page.value(f"{delays}_bucket", le="+Inf") == 6
    used, limit = (page.value(f"turnstream_redis_memory_{n}_bytes") for n in ("used", "limit"))
    assert used
    assert limit
    assert 0 < used < limit
    free, size = (page.value(f"turnstream_workspace_{n}_bytes") for n in ("free", "size"))
    assert free
    assert size
    assert 0 < free < size


def web_is_right(page: Scrape) -> None:
    # By the lane, and none by /api/events.
    assert page.value("turnstream_published_events_total", type="append") == 2
    assert page.value("turnstream_refused_events_total") == 0
    assert page.value("turnstream_lag_seconds") == page.value("turnstream_lag_entries") == 0
    assert page.value("turnstream_dead_letters") == 1
    assert page.value("turnstream_ingest_messages_accepted_total") == 1
    calls = "turnstream_ingest_agent_seconds_count"
    assert page.value(calls, agent="main", result="answered") == page.value(calls) == 1
    for name in ("queue_wait", "turn"):
        assert page.value(f"turnstream_ingest_{name}_seconds_count") == 1


def documented_are_shown(pages: Pages) -> None:
    """Every metric of the table is on one of these pages."""
    text = (ROOT / "docs/operating.md").read_text(encoding="utf-8")
    told = set(re.findall(r"^\| `(turnstream_\w+)` \|", text, re.M))
    shown = {
        name
        for page in pages.all.values()
        for name in re.findall(r"^# TYPE (turnstream_\w+)", page.text, re.M)
    }
    assert told - shown == set()


async def test_what_an_agent_failed_at_is_counted(system: SystemUnderTest) -> None:
    await system.worker()

    def refuse(request: object) -> Any:
        return failure(401, "no", code="invalid_api_key")

    async with site_with_model(system, refuse) as (site, _):
        async with site.chat("kitchen") as chat:
            await chat.say("hello")
            await chat.hears("error")
        page = await scraped(str(site.http.base_url))
    assert page.value("turnstream_ingest_agent_seconds_count", agent="main", result="failed") == 1
    failed = "turnstream_ingest_turns_failed_total"
    assert page.value(failed, agent="main", status="401", reason="invalid_api_key") == 1


async def test_the_lag_grows_while_nobody_applies(system: SystemUnderTest) -> None:
    worker = await system.worker()
    async with running_site(system) as site:
        await system.append("e1")
        await system.outcome("e1")
        assert await worker.stop() == 0
        await system.append("e2")
        url = str(site.http.base_url)
        first = (await scraped(url)).value("turnstream_lag_seconds")
        assert first is not None
        later = await wait_until(lambda: grown(url, first))
        assert later
        await system.worker()
        await system.outcome("e2")
        assert (await scraped(url)).value("turnstream_lag_seconds") == 0


async def grown(url: str, first: float) -> bool:
    now = (await scraped(url)).value("turnstream_lag_seconds")
    return now is not None and now > first


async def test_events_that_redis_does_not_take_are_counted(system: SystemUnderTest) -> None:
    await system.worker()
    async with running_site(system) as site:
        await system.redis_says("CONFIG", "SET", "maxmemory", "1")
        event = {"id": "e1", "type": "append", "session": "s", "role": "user", "content": "x"}
        answer = await site.http.post("/api/events", json=event, timeout=20)
        assert answer.status_code == 503
        page = await scraped(str(site.http.base_url))
        assert page.value("turnstream_refused_events_total", reason="full") == 1
        await system.redis_says("CONFIG", "SET", "maxmemory", "64mb")


@pytest.mark.parametrize("now", [0, 5_000, 1_000_000])
def test_ages_are_counted_as_one_by_one(now: int) -> None:
    moments = sorted((*range(0, 6_000, 7), 999_000, 999_999, 1_000_000, 1_000_001))
    together, single = Durations(QUICK), Durations(QUICK)
    together.add_ages(moments, now)
    for moment in moments:
        single.add((now - moment) / 1000)
    assert together.buckets == single.buckets
    assert together.total == pytest.approx(single.total)
