"""Each service runs as a Redis user that may do what the docs list for it, and nothing else."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect

from harness.program import Program
from harness.system import PREFIX, STREAM, SystemUnderTest
from harness.waiting import wait_until
from proof.botapi import TOKEN
from proof.proxy import Proxy
from sessions.stream.redis import connect as connect_redis
from sessions.stream.replies.replies import Replies
from sessions.stream.replies.values import ChannelReply, ReplyText
from sessions.stream.users import SERVICES, user_of
from sessions.stream.users import rules_of as rules_made_for
from tests.docs.pages import ROOT, section
from tests.ingest.botapi import bot_api
from tests.redis_server import IMAGES, Image, NoContainer, available, container, tell_covered

_ANY_AGE: Final = {"consistency": "any"}


def rules_of(service: str) -> list[str]:
    """The rules of the service's user, as docs/operating.md lists them."""
    page = (ROOT / "docs/operating.md").read_text(encoding="utf-8")
    block = section(page, "## Redis users").partition("```text\n")[2].partition("```")[0]
    [found] = [part for part in block.split("ACL SETUSER ") if part.startswith(name_of(service))]
    return found.split()[1:]


def name_of(service: str) -> str:
    return user_of(service)


@pytest.mark.parametrize("service", SERVICES)
def test_the_rules_of_the_docs_are_those_that_compose_makes(service: str) -> None:
    told = ["on", ">PASSWORD", *rules_made_for(service, PREFIX)]
    assert sorted(rules_of(service)) == sorted(told)


@dataclass
class RestrictedSystem:
    """A system behind a port, whose services are users of their own."""

    system: SystemUnderTest
    port: int
    stack: AsyncExitStack

    async def allow(self, service: str, *more: str) -> None:
        """Make the service's user, with the rules of the docs and `more`."""
        await self.system.redis_says("ACL", "SETUSER", name_of(service), *rules_of(service), *more)

    def start(self, service: str, **settings: str) -> Program:
        url = f"redis://{name_of(service)}:PASSWORD@127.0.0.1:{self.port}/0"
        return self.system.start(service, redis_url=url, port="0", **settings)

    @asynccontextmanager
    async def replies(self, service: str) -> AsyncIterator[Replies]:
        """The replies that were not taken, as that service's user has them."""
        url = f"redis://{name_of(service)}:PASSWORD@127.0.0.1:{self.port}/0"
        async with aclosing(connect_redis(url)) as redis:
            yield Replies(redis, url=url, prefix=PREFIX, give_up=60)

    async def denied(self) -> list[tuple[str, str]]:
        """What was refused so far, as (user, command or key)."""
        entries = await self.system.redis_says("ACL LOG")
        found = [{k.decode(): v for k, v in _pairs(entry)} for entry in entries]
        told = [(_text(entry["username"]), _text(entry["object"])) for entry in found]
        return [one for one in told if not one[1].startswith("client")]


def _pairs(entry: Any) -> Any:
    if isinstance(entry, dict):
        return [(k if isinstance(k, bytes) else k.encode(), v) for k, v in entry.items()]
    return zip(entry[::2], entry[1::2], strict=True)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


@asynccontextmanager
async def restricted(system: SystemUnderTest, port: int) -> AsyncIterator[RestrictedSystem]:
    """The system with its users; its Redis listens on that port of this machine."""
    async with AsyncExitStack() as stack:
        plan = RestrictedSystem(system, port, stack)
        for service in SERVICES:
            await plan.allow(service)
        yield plan


@asynccontextmanager
async def embedded(folder: Path) -> AsyncIterator[RestrictedSystem]:
    """On the server that `turnstream up` starts."""
    async with SystemUnderTest.running(folder) as system, AsyncExitStack() as stack:
        way = Proxy(system.redis.socket_path)
        await way.start()
        stack.push_async_callback(way.close)
        yield await stack.enter_async_context(restricted(system, way.port))


@asynccontextmanager
async def contained(image: Image, folder: Path) -> AsyncIterator[RestrictedSystem]:
    """On a server in a container. Raises NoContainer if there can be none."""
    with container(image) as url:
        async with SystemUnderTest.on(url, folder) as system:
            port = urlsplit(url).port
            assert port is not None
            async with restricted(system, port) as plan:
                yield plan


@pytest.fixture
async def plan(tmp_path: Path) -> AsyncIterator[RestrictedSystem]:
    async with embedded(tmp_path) as plan:
        yield plan


@pytest.fixture(params=[None, *IMAGES], ids=lambda image: image.name if image else "embedded")
async def anywhere(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[RestrictedSystem]:
    """The same on each server that is supported; the end of the run tells on which it was."""
    image: Image | None = request.param
    if image is not None:
        try:
            available(image)
        except NoContainer as error:
            # `make test` needs no Docker: the embedded server is tried in any case.
            pytest.skip(f"no container of {image.name}: {error}")
    async with contained(image, tmp_path) if image else embedded(tmp_path) as plan:
        tell_covered(request.node, image, await plan.system.redis_says("INFO", "server"))
        yield plan


async def next_of(chat: ClientConnection, *kinds: str) -> dict[str, Any]:
    async with asyncio.timeout(30):
        while (frame := json.loads(await chat.recv()))["type"] not in kinds:
            pass
        return frame


@dataclass
class Everyday:
    """Two workers, an api and two ingests with such users, and what they do on any day."""

    plan: RestrictedSystem
    worker: Program
    standby: Program
    api: Program
    ingests: list[Program]
    urls: list[str]
    auth: dict[str, str]
    http: httpx.AsyncClient

    @classmethod
    async def started(cls, plan: RestrictedSystem) -> Everyday:
        """All of them, ready."""
        worker = plan.start("worker")
        await worker.says("leading under epoch")
        standby = plan.start("worker")
        token = (plan.system.workspace / "token").read_text().strip()
        api = plan.start("api")
        url = await api.address()
        ingests = [plan.start("ingest", api_url=url, token=token) for _ in range(2)]
        urls = [await ingest.address() for ingest in ingests]
        auth = {"Authorization": f"Bearer {token}"}
        http = await plan.stack.enter_async_context(
            httpx.AsyncClient(base_url=url, headers=auth, trust_env=False, timeout=30)
        )
        return cls(plan, worker, standby, api, ingests, urls, auth, http)

    async def chat(self, url: str) -> ClientConnection:
        """A chat with the agent."""
        place = f"{url.replace('http', 'ws')}/ws/chat?agent=main&session_id=one"
        chat = connect(place, additional_headers=self.auth)
        return await self.plan.stack.enter_async_context(chat)

    async def post(self, address: str, body: Any = None) -> httpx.Response:
        """A request that is answered well."""
        answer = await self.http.post(address, json=body)
        assert answer.is_success, answer.text
        return answer

    async def talk_and_call_tools(self, one: ClientConnection, other: ClientConnection) -> None:
        """A message, a note that another page shows, a send, an event, a reset, an abort."""
        await one.send(json.dumps({"type": "message", "content": "hello"}))
        assert (await next_of(one, "done", "error"))["type"] == "done"
        await self.post("/api/sessions/gw_one/messages", {"content": "a note"})
        assert (await next_of(other, "message"))["content"] == "a note"
        message = {"session_id": "gw_one", "message": "hi"}
        sent = await self.post("/api/tools/sessions_send", message)
        assert sent.json()["success"], sent.text
        woken = {"session_id": "gw_one", "message": "news?", "await_reply": 30}
        answer = (await self.post("/api/tools/sessions_send", woken)).json()
        assert answer["data"]["text"] == "news?", answer
        posted = await self.post(f"{self.urls[0]}/api/events", _EVENT)
        assert posted.status_code == 202, posted.text
        reset = await self.post("/api/tools/sessions_reset", {"session_id": "other"})
        assert reset.status_code == 200, reset.text
        assert reset.json()["success"], reset.text
        aborted = await self.post("/api/sessions/gw_one/abort")
        assert aborted.status_code == 200, aborted.text

    async def lose_a_replica_and_the_leader(self, one: ClientConnection) -> None:
        """A replica dies in a turn, which another one takes over; then the leader dies."""
        await self.standby.says("standing by")
        for process in (self.standby, self.worker):
            process.freeze()
        await one.send(json.dumps({"type": "message", "content": "are you there"}))
        await wait_until(lambda: self.plan.system.redis_says("EXISTS", "turnstream:lane_names"))
        await self.remove_a_waiting_message(one)
        await self.ingests[0].stop(signal.SIGKILL)
        await self.ingests[1].says("took over the lane")
        for process in (self.standby, self.worker):
            process.thaw()
        await self.worker.stop(signal.SIGKILL)
        await self.standby.says("leading under epoch 2")
        await wait_until(self._is_idle, within=30)

    async def remove_a_waiting_message(self, one: ClientConnection) -> None:
        """A message behind the one that runs is taken out of the queue."""
        await one.send(json.dumps({"type": "message", "content": "never mind"}))

        async def waiting() -> list[str]:
            found = await self.http.get("/api/sessions/gw_one/queue", params=_ANY_AGE)
            return [row["id"] for row in found.json()["queue"] if row["state"] == "waiting"]

        [message] = await wait_until(waiting)
        path = f"/api/sessions/gw_one/queue/{message}"
        removed = await self.http.delete(path, params=_ANY_AGE)
        assert removed.status_code == 200, removed.text

    async def _is_idle(self) -> bool:
        state = await self.http.get("/api/sessions/gw_one/state")
        return state.is_success and state.json()["state"] == "idle"

    async def trim_a_redis_that_is_nearly_full(self) -> None:
        """The leader makes room in a stream that was applied."""
        says = self.plan.system.redis_says
        used = (await says("INFO", "memory"))["used_memory"]
        await says("CONFIG", "SET", "maxmemory", int(used * 1.15))

        async def is_trimmed() -> bool:
            return await says("XLEN", STREAM) == 0

        await wait_until(is_trimmed, within=30)

    async def end_a_job_of_arq(self) -> None:
        """arq ends one every ten seconds."""

        async def has_ended() -> bool:
            stats = await self.plan.system.redis_says("INFO", "commandstats")
            return "cmdstat_zrem" in stats

        await wait_until(has_ended, within=30)

    async def stop(self) -> list[int]:
        """Stop what still runs; the exit codes."""
        return [await process.stop() for process in (self.ingests[1], self.api, self.standby)]


@pytest.mark.timeout(180)
async def test_a_system_of_such_users_does_everything_and_is_refused_nothing(
    anywhere: RestrictedSystem,
) -> None:
    system = await Everyday.started(anywhere)
    one, other = [await system.chat(url) for url in system.urls]
    await system.talk_and_call_tools(one, other)
    await system.lose_a_replica_and_the_leader(one)
    await system.trim_a_redis_that_is_nearly_full()
    await system.end_a_job_of_arq()
    assert await system.stop() == [0, 0, 0], system.standby.log
    assert await anywhere.denied() == []


_EVENT: Final = {
    "type": "append",
    "session": "other",
    "role": "user",
    "content": "hello",
    "channel": "webhook.shop",
}


@pytest.mark.parametrize(
    ("service", "rule", "names"),
    [
        ("worker", "-info", "'info'"),
        ("worker", "-evalsha", "'evalsha'"),
        ("worker", "-script", "'script|load'"),
        ("worker", "-xread", "'xread'"),
        ("worker", "-zrangebyscore", "'zrangebyscore'"),
        ("worker", "-psetex", "'psetex'"),
        ("api", "-evalsha", "'evalsha'"),
        ("api", "-hgetall", "'hgetall'"),
        ("ingest", "-evalsha", "'evalsha'"),
        ("ingest", "-hincrby", "hincrby"),
        ("ingest", "-subscribe", "'subscribe'"),
        ("ingest", "resetchannels", "a channel"),
        ("ingest", "resetkeys", "a key"),
        ("ingest", ">other", "password"),
    ],
)
async def test_a_service_that_lacks_a_permission_ends_with_78_and_names_it(
    plan: RestrictedSystem, service: str, rule: str, names: str
) -> None:
    more = ("resetpass", rule) if rule.startswith(">") else (rule,)
    await plan.allow(service, *more)
    process = plan.start(service, api_url="http://127.0.0.1:9", token="ts_x")
    assert await process.ended() == 78, process.log
    last = [line for line in process.log.splitlines() if line.startswith(f"{service}: ")][-1]
    assert names in last
    assert "Traceback" not in process.log, process.log


async def test_an_ingest_that_may_not_publish_ends_with_78_at_the_first_message(
    plan: RestrictedSystem,
) -> None:
    worker, api = plan.start("worker"), plan.start("api")
    await worker.says("leading under epoch")
    token = (plan.system.workspace / "token").read_text().strip()
    await plan.allow("ingest", "-xadd")
    ingest = plan.start("ingest", api_url=await api.address(), token=token)
    place = f"{(await ingest.address()).replace('http', 'ws')}/ws/chat?agent=main&session_id=one"
    auth = {"Authorization": f"Bearer {token}"}
    async with connect(place, additional_headers=auth) as chat:
        await chat.send(json.dumps({"type": "message", "content": "hello"}))
        assert await ingest.ended() == 78
    assert "xadd" in ingest.log


KEYS_OF_INGEST: Final = ("turns", "store", "lane[^_]*", "lane_[^o]*", "queue:*", "sent:*")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (("lane_once:*",), None),
        (("poller:*",), "/stop"),
    ],
    ids=["the lease of a bot's poller", "what a message that is polled needs"],
)
async def test_an_ingest_that_lacks_what_only_a_poller_needs_ends_with_78_and_names_it(
    plan: RestrictedSystem, tmp_path: Path, keys: tuple[str, ...], message: str | None
) -> None:
    worker, api = plan.start("worker"), plan.start("api")
    await worker.says("leading under epoch")
    token = (plan.system.workspace / "token").read_text().strip()
    allowed = [f"~turnstream:{key}" for key in (*KEYS_OF_INGEST, *keys)]
    await plan.allow("ingest", "resetkeys", *allowed)
    async with bot_api() as (bot, url):
        file = tmp_path / "turnstream.toml"
        file.write_text(_BOT.format(token=TOKEN, url=url))
        ingest = plan.start("ingest", api_url=await api.address(), token=token, config=str(file))
        if message is not None:
            bot.say(message)
        assert await ingest.ended() == 78, ingest.log
        # Nothing is confirmed that was not taken: after the fix it comes again.
        assert bot.confirmed <= 10000
    last = [line for line in ingest.log.splitlines() if line.startswith("ingest: ")][-1]
    assert "a key" in last
    assert "Traceback" not in ingest.log, ingest.log


_BOT: Final = """
[channels.telegram.home]
bot_token = "{token}"
api_base_url = "{url}"
allowed_users = ["*"]

[agents.main]
channels = ["telegram.home"]
"""


async def test_replies_that_were_not_taken_need_no_more_than_is_listed(
    plan: RestrictedSystem,
) -> None:
    """Ingest keeps and sends them; the api shows, retries and drops them."""
    kept = ("t1", "s", "main", "webhook.shop", "", "", "failed", ReplyText.FAILED)
    reply = ChannelReply(*kept)
    async with plan.replies("ingest") as ingest, plan.replies("api") as api:
        assert not (await ingest.look(reply)).behind
        await ingest.park(reply, "503", tries=1)
        await ingest.fail(reply, "503", asked=30)
        seen = await ingest.watch(None)
        await ingest.heads("webhook.shop", 4)
        await ingest.note(reply, 1)
        await ingest.give_up(reply, "blocked")
        assert await ingest.claim_report(seen)
        assert await ingest.find("t1") is not None
        assert len(await api.page(0, 10)) == 1
        assert await api.counts() == [("webhook.shop", 0, 1)]
        assert await api.retry("t1") is not None
        assert await api.remove("t1")
        await ingest.refuse(reply, "blocked", tries=1)
        assert await ingest.remove("t1")
    assert await plan.denied() == []
