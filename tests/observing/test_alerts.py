"""Each alert of deploy/alerts.yml fires when its condition is caused, and is quiet before.

The conditions are caused on real processes. What these show before and after goes through promtool,
which evaluates the rules as Prometheus does; only the time between two scrapes is made up.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from harness.program import Program
from harness.system import SMALL, STREAM, SystemUnderTest
from harness.waiting import wait_until
from sessions.models import Event, EventType
from sessions.stream.replies.replies import Replies
from sessions.stream.replies.values import ChannelReply, ReplyText
from tests.docs.pages import ROOT
from tests.ingest.model_server import failure, model_server
from tests.observing.prometheus import Promtool
from tests.observing.scraping import Scrape, scraped, watched_worker
from tests.walk.site import Site, running_site

RULES: Final = ROOT / "deploy/alerts.yml"
ALERTS: Final = set(re.findall(r"- alert: (\w+)", RULES.read_text(encoding="utf-8")))
METRICS: Final = set(re.findall(r"\bturnstream_\w+", RULES.read_text(encoding="utf-8")))
# Scrapes, one each 15 s: 5 minutes before, 25 minutes after.
BEFORE: Final = 20
AFTER: Final = 100
# Which test causes what; a test says so by `causes`, and the last one finds what is missing.
CAUSED: Final[dict[str, set[str]]] = {
    "talk": {
        *("TurnstreamDeadLetters", "TurnstreamAgentErrors", "TurnstreamTurnErrors"),
        *("TurnstreamSessionsOfOthers", "TurnstreamRepliesParked", "TurnstreamRepliesUndelivered"),
    },
    "memory": {
        *("TurnstreamRedisMemory", "TurnstreamEventsRefused", "TurnstreamMessagesRefused"),
    },
    "leader": {"TurnstreamNoLeader", "TurnstreamNotReady", "TurnstreamTargetDown"},
    "backlog": {"TurnstreamBehind"},
    "redis": {"TurnstreamWorkerHindered"},
    "stream": {
        *("TurnstreamEntriesVanished", "TurnstreamStreamWentBackwards", "TurnstreamRepliesLost"),
    },
    "disk": {"TurnstreamDiskAlmostFull"},
}

# The session of a room of the command line, as the agent main would have it.
THEIRS: Final = "cli_main_theirs_user"

Pages = Mapping[str, Scrape | None]


class Judge:
    """Says which alerts fire."""

    def __init__(self, promtool: Promtool, folder: Path) -> None:
        self._promtool = promtool
        self._file = folder / "alerts_test.json"

    def fires(self, alerts: Iterable[str], before: Pages, after: Pages) -> None:
        """Fail unless these alerts fire behind the change, and none of them before."""
        checks = [
            check
            for alert in alerts
            for check in (_check(alert, f"{BEFORE * 15 - 30}s", 0), _check(alert, "29m", 1))
        ]
        test = {"interval": "15s", "input_series": _series(before, after)}
        document = {
            "rule_files": [str(RULES)],
            "evaluation_interval": "15s",
            "tests": [{**test, "promql_expr_test": checks}],
        }
        self._file.write_text(json.dumps(document), encoding="utf-8")
        done = self._promtool.run("test", "rules", str(self._file))
        assert done.returncode == 0, done.stdout + done.stderr


def _check(alert: str, at: str, value: int) -> dict[str, Any]:
    fired = f'count_over_time(ALERTS{{alertname="{alert}",alertstate="firing"}}[30m])'
    expression = f"(count({fired}) or vector(0)) > bool 0"
    return {
        "expr": expression,
        "eval_time": at,
        "exp_samples": [{"labels": "{}", "value": value}],
    }


def _series(before: Pages, after: Pages) -> list[dict[str, str]]:
    series: dict[str, str] = {}
    for instance in before.keys() | after.keys():
        first, second = _values(before.get(instance)), _values(after.get(instance))
        for name in first.keys() | second.keys():
            parts = (_times(first.get(name), BEFORE), _times(second.get(name), AFTER))
            told = f'{{job="turnstream",instance="{instance}"'
            series[name.replace("{", told, 1)] = " ".join(parts)
    return [{"series": name, "values": values} for name, values in series.items()]


def _values(page: Scrape | None) -> dict[str, float]:
    """The samples of a page that the rules look at, by their names with labels."""
    found = {"up{}": float(page is not None)}
    for sample in page.samples if page is not None else ():
        if sample.name in METRICS:
            labels = "".join(f",{k}={json.dumps(v)}" for k, v in sample.labels.items())
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


def _times(value: float | None, count: int) -> str:
    if value is None:
        return f"_x{count}"
    return " ".join(["NaN"] * count) if value != value else f"{value!r}+0x{count - 1}"


@pytest.fixture
def judge(promtool: Promtool, tmp_path: Path) -> Judge:
    return Judge(promtool, tmp_path)


class Watched:
    """A worker and a web process that are scraped."""

    def __init__(self, worker: Program, worker_url: str, site: Site) -> None:
        self.worker = worker
        self.site = site
        self._worker_url = worker_url

    async def scrape(self) -> dict[str, Scrape]:
        return {"worker": await self.of_worker(), "web": await self.of_web()}

    async def of_worker(self) -> Scrape:
        return await scraped(self._worker_url)

    async def of_web(self) -> Scrape:
        return await scraped(str(self.site.http.base_url))


@asynccontextmanager
async def watched(system: SystemUnderTest, **settings: str) -> AsyncIterator[Watched]:
    worker, url = await watched_worker(system)
    async with running_site(system, **settings) as site:
        yield Watched(worker, url, site)


def replies_of(system: SystemUnderTest) -> Replies:
    return Replies(system.client, url=system.redis.url, prefix="turnstream:", give_up=86_400)


def reply(turn: str) -> ChannelReply:
    session, channel = "telegram_home_42", "telegram.home"
    return ChannelReply(turn, session, "main", channel, "42", "ada", "replied", ReplyText.STORED)


def test_promtool_takes_the_rules(promtool: Promtool) -> None:
    done = promtool.run("check", "rules", "--lint=all", "--lint-fatal", str(RULES))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_condition_of_each_alert_is_caused_here() -> None:
    assert set().union(*CAUSED.values()) == ALERTS


async def test_what_goes_wrong_in_turns(system: SystemUnderTest, judge: Judge) -> None:
    async with (
        model_server(lambda _: failure(401, "no")) as (_, url),
        watched(system, config=str(_config(system, url))) as all_of_it,
    ):
        before = await all_of_it.scrape()
        await system.xadd("v", "1", "id", "bad id!", "type", "append")
        event = Event("theirs", EventType.APPEND, THEIRS, "user", "x", agent="broken")
        await system.stream.publish([event])
        await system.outcome("theirs")
        for agent, session in (("main", "a"), ("broken", "b")):
            await _chat(all_of_it.site, agent, session)
        message = {"id": "m1", "room": "theirs", "content": "hello"}
        sent = await all_of_it.site.http.post("/channels/cli/main", json=message)
        assert sent.is_success, sent.text
        await _until(all_of_it, "turnstream_ingest_foreign_sessions_total", 1)
        replies = replies_of(system)
        await replies.park(reply("t1"), "503", tries=3)
        await replies.refuse(reply("t2"), "gone", tries=1)
        judge.fires(CAUSED["talk"], before, await all_of_it.scrape())


def _config(system: SystemUnderTest, url: str) -> Path:
    """An agent whose model refuses it, and one whose requests cannot even be written."""
    path = system.workspace.parent / "turnstream.toml"
    model = f'provider = "openai"\nbase_url = "{url}"\nmodel = "m"\n'
    broken = f"[agents.broken]\n{model}extra_body = {{ when = 2026-01-01 }}\n"
    path.write_text(f"[agents.main]\n{model}{broken}", encoding="utf-8")
    return path


async def _chat(site: Site, agent: str, session: str) -> None:
    async with site.chat(session, agent=agent) as chat:
        await chat.say("hello")
        await chat.hears("error")


async def test_a_redis_that_is_full(system: SystemUnderTest, judge: Judge) -> None:
    async with watched(system) as all_of_it:
        before = await all_of_it.scrape()
        used = before["worker"].value("turnstream_redis_memory_used_bytes")
        assert used is not None
        await system.redis_says("CONFIG", "SET", "maxmemory", int(used * 1.02))

        async def is_seen() -> bool:
            page = await all_of_it.of_worker()
            limit = page.value("turnstream_redis_memory_limit_bytes")
            return limit is not None and limit < SMALL

        await wait_until(is_seen)
        nearly = await all_of_it.of_worker()
        await system.redis_says("CONFIG", "SET", "maxmemory", 1)
        event = {"id": "e1", "type": "append", "session": "s", "role": "user", "content": "x"}
        answer = await all_of_it.site.http.post("/api/events", json=event, timeout=20)
        assert answer.status_code == 503
        await _chat(all_of_it.site, "main", "a")
        after = {"worker": nearly, "web": await all_of_it.of_web()}
        await system.redis_says("CONFIG", "SET", "maxmemory", SMALL)
        judge.fires(CAUSED["memory"], before, after)


async def test_no_worker(system: SystemUnderTest, judge: Judge) -> None:
    async with watched(system) as all_of_it:
        before = await all_of_it.scrape()
        all_of_it.worker.close()

        async def is_not_ready() -> bool:
            return (await all_of_it.of_web()).value("turnstream_ready") == 0

        await wait_until(is_not_ready)
        after = {"worker": None, "web": await all_of_it.of_web()}
        judge.fires(CAUSED["leader"], before, after)


async def test_a_backlog(system: SystemUnderTest, judge: Judge) -> None:
    """The entry came a minute ago, by Redis' clock in its id."""
    async with running_site(system) as site:
        url = str(site.http.base_url)
        before = await scraped(url)
        fields = ("v", "1", "id", "e1", "type", "append", "session", "s", "role", "user")
        old = f"{int(time.time() - 60) * 1000}-0"
        await system.redis_says("XADD", STREAM, old, *fields, "content", "x")
        judge.fires(CAUSED["backlog"], {"web": before}, {"web": await scraped(url)})


async def test_a_redis_that_is_away(system: SystemUnderTest, judge: Judge) -> None:
    async with watched(system) as all_of_it:
        before = {"worker": await all_of_it.of_worker()}
        await system.redis.kill()

        async def is_hindered() -> bool:
            return (await all_of_it.of_worker()).value("turnstream_worker_hindered") == 1

        await wait_until(is_hindered)
        judge.fires(CAUSED["redis"], before, {"worker": await all_of_it.of_worker()})


async def test_a_stream_that_lost_something(system: SystemUnderTest, judge: Judge) -> None:
    async with watched(system) as all_of_it:
        await replies_of(system).park(reply("t1"), "503", tries=3)
        await system.append("e1")
        await system.outcome("e1")
        before = await all_of_it.scrape()
        all_of_it.worker.freeze()
        # The worker's last question to Redis is answered with the first one.
        await system.append("e2")
        await system.append("e3")
        [(entry, _)] = await system.redis_says("XREVRANGE", STREAM, "+", "-", "COUNT", 1)
        await system.redis_says("XDEL", STREAM, entry)
        all_of_it.worker.thaw()
        vanished = await _until(all_of_it, "turnstream_stream_entries_vanished", 1)
        judge.fires({"TurnstreamEntriesVanished"}, before, {"web": vanished})
        await system.redis_says("FLUSHALL")
        await _until(all_of_it, "turnstream_ingest_replies_lost_total", 1)
        await _until(all_of_it, "turnstream_stream_epoch", 2)
        others = CAUSED["stream"] - {"TurnstreamEntriesVanished"}
        judge.fires(others, before, await all_of_it.scrape())


async def _until(all_of_it: Watched, name: str, value: float) -> Scrape:
    """The page of the web process once it shows that."""

    async def page() -> Scrape | None:
        found = await all_of_it.of_web()
        return found if found.value(name) == value else None

    found = await wait_until(page, f"{name} is {value}")
    assert found is not None
    return found


@pytest.fixture
def small_disk(workspace: Path) -> Iterator[Path]:
    """A workspace on a disk of 64 MB, which needs root."""
    workspace.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(workspace)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        # A disk can be filled safely only if it is one of its own, and that takes root.
        pytest.skip("no right to mount a disk of 64 MB")
    yield workspace
    subprocess.run(["umount", "--lazy", str(workspace)], check=True)


async def test_a_disk_that_is_almost_full(
    small_disk: Path, system: SystemUnderTest, judge: Judge
) -> None:
    assert small_disk == system.workspace
    _, url = await watched_worker(system)
    before = {"worker": await scraped(url)}
    (small_disk / "ballast").write_bytes(bytes(60 * 1024 * 1024))
    judge.fires(CAUSED["disk"], before, {"worker": await scraped(url)})
