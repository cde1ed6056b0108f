"""The queue of a session: what waits is shown, and what is removed never runs, whatever happens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, Final
from urllib.parse import quote

import httpx
import pytest

from harness.waiting import wait_until
from ingest.turns.live import Ending
from sessions import times
from sessions.access.tokens import TokenScope, create_token
from sessions.models import Event, EventType, Position
from sessions.process.settings import Settings
from sessions.stream.lanes.inbound import Inbound
from sessions.stream.lanes.values import Stage, former_lane_of, lane_of
from sessions.stream.redis import connect as redis_client
from tests.ingest.channel_fleet import SECRET, ChannelFleet, IngestSite, Shop, free, with_channels
from tests.ingest.replicas import HeldScript, ReplicaFleet, ScriptedAgent, ended, message, say
from tests.ingest.serving import serving
from tests.ingest.stand_ins import put_agent
from tests.ingest.test_apart import talking
from tests.ingest.test_joining import part
from tests.leading import Leading

KEY: Final = "webhook_shop_ada_ada"
S: Final = lane_of("s", "main")

Given = dict[str, str] | None


@pytest.fixture
async def shop() -> Shop:
    return Shop()


@pytest.fixture
async def fleet(settings: Settings, leading: Leading, shop: Shop) -> AsyncIterator[ChannelFleet]:
    async with serving(shop.app()) as url:
        own = {"secret": SECRET, "send_url": f"http://{url}/replies"}
        configured = with_channels(settings, webhook={"shop": own})
        async with ChannelFleet.of(configured) as fleet:
            yield fleet


@pytest.fixture
async def site(fleet: ChannelFleet) -> IngestSite:
    return await fleet.site()


@pytest.fixture
async def gate(site: IngestSite) -> HeldScript:
    """What the agent waits for."""
    site.agent.script = gate = HeldScript()
    return gate


async def post(site: IngestSite, content: str, id: str) -> str:
    """Post a message; the id of its turn."""
    answer = await site.post(content, id=id)
    assert answer.status_code == 200, answer.text
    return answer.json()["accepted"][0]["id"]


async def fill(site: IngestSite, gate: HeldScript, count: int = 8) -> list[str]:
    """So many messages in the lane, the first of which is being answered; their ids."""
    first = await post(site, "text 0", "m0")
    await wait_until(lambda: gate.waiting)
    return [first, *[await post(site, f"text {n}", f"m{n}") for n in range(1, count)]]


async def queue(
    fleet: ChannelFleet, key: str = KEY, *, headers: Given = None, params: Given = None
) -> list[dict[str, Any]]:
    """What the administrator sees of a session's queue."""
    answer = await fleet.admin.get(f"/api/sessions/{key}/queue", headers=headers, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()["queue"]


async def remove(
    fleet: ChannelFleet,
    message: str,
    key: str = KEY,
    *,
    headers: Given = None,
    params: Given = None,
) -> httpx.Response:
    path = f"/api/sessions/{key}/queue/{message}"
    return await fleet.admin.delete(path, headers=headers, params=params)


async def forget_removals(settings: Settings) -> None:
    """Let Redis lose what it remembers of removed messages."""
    url, prefix = settings.redis_url, settings.turnstream.prefix
    assert url is not None
    async with aclosing(redis_client(url)) as redis:
        found = await redis.execute_command("KEYS", f"{prefix}lane_removed:*")
        assert found
        await redis.execute_command("DEL", *found)


def token(fleet: ChannelFleet, agent: str, scope: TokenScope = TokenScope.SEND) -> dict[str, str]:
    made, _ = create_token(fleet.settings.workspace, scope=scope, agent=agent)
    return {"Authorization": f"Bearer {made}"}


async def test_a_full_lane_is_listed_and_goes_on_without_what_was_removed(
    fleet: ChannelFleet, site: IngestSite, gate: HeldScript, shop: Shop
):
    ids = await fill(site, gate)
    assert (await site.post("too many", id="m8")).status_code == 429
    listed = await queue(fleet)
    assert [row["id"] for row in listed] == ids
    assert [row["state"] for row in listed] == ["running", *["waiting"] * 7]
    assert [row["place"] for row in listed] == [*range(8)]
    told = listed[3]
    assert (told["content"], told["channel"], told["sender"]) == ("text 3", "webhook.shop", "ada")
    assert (told["agent"], told["from_agent"]) == ("anna", None)

    removed = await remove(fleet, ids[3])
    assert removed.status_code == 200, removed.text
    assert removed.json() == {"removed": True, "session_id": KEY, "id": ids[3]}
    assert [row["id"] for row in await queue(fleet)] == [*ids[:3], *ids[4:]]
    # Its place is free.
    late = await post(site, "text 8", "m8")
    assert [row["id"] for row in await queue(fleet)][-1] == late

    gate.open()
    await wait_until(lambda: len(shop.replies) == 8)
    await free(site, KEY)
    wanted = [f"text {n}" for n in (0, 1, 2, 4, 5, 6, 7, 8)]
    assert site.agent.asked == wanted
    assert shop.texts == [f"re: {text}" for text in wanted]
    assert await queue(fleet) == []


@pytest.mark.parametrize("remembered", [True, False], ids=["remembered", "forgotten by Redis"])
async def test_a_removed_message_that_is_delivered_again_does_not_run(
    fleet: ChannelFleet, site: IngestSite, gate: HeldScript, shop: Shop, remembered: bool
):
    _, second, _ = await fill(site, gate, 3)
    position = (await remove(fleet, second)).headers["x-turnstream-position"]
    if not remembered:
        await forget_removals(fleet.settings)
    assert await post(site, "text 1", "m1") == second
    gate.open()
    await wait_until(lambda: len(shop.replies) == 2)
    assert await post(site, "text 1", "m1") == second
    await free(site, KEY)
    assert await post(site, "the last", "m9")
    await wait_until(lambda: len(shop.replies) == 3)
    await free(site, KEY)

    assert site.agent.asked == ["text 0", "text 2", "the last"]
    assert shop.texts == ["re: text 0", "re: text 2", "re: the last"]
    assert ("user", "text 1") not in await fleet.messages(KEY)
    assert (await fleet.row(KEY))["state"] == "idle"
    assert await fleet.dead_letters() == []
    read = await fleet.admin.get("/api/outcomes/" + f"{second}:removed", params={"after": position})
    assert (read.json()["outcome"], read.json()["reason"]) == ("applied", "target_not_seen")


async def test_a_message_is_removed_before_its_session_is_stored(
    fleet: ChannelFleet, site: IngestSite, gate: HeldScript, leading: Leading, shop: Shop
):
    await leading.pause()
    first, second = await post(site, "text 0", "m0"), await post(site, "text 1", "m1")
    await wait_until(lambda: site.services.queue.lanes.at_work(lane_of(KEY, "anna")))
    anyhow = {"consistency": "any"}
    assert [row["id"] for row in await queue(fleet, params=anyhow)] == [first, second]
    own, strange = token(fleet, "anna"), token(fleet, "bert")
    seen = await queue(fleet, headers=own, params=anyhow)
    assert [row["id"] for row in seen] == [first, second]
    path = f"/api/sessions/{KEY}/queue"
    answer = await fleet.admin.get(path, headers=strange, params=anyhow)
    assert (answer.status_code, answer.json()["error"]) == (404, "Session not found")
    assert (await remove(fleet, second, headers=own, params=anyhow)).status_code == 200
    await leading.resume()
    gate.open()
    await wait_until(lambda: shop.replies)
    await free(site, KEY)
    assert await fleet.messages(KEY) == [("user", "text 0"), ("assistant", "re: text 0")]
    assert (await fleet.row(KEY))["state"] == "idle"


async def test_what_is_removed_from_a_deleted_session_does_not_bring_it_back(
    fleet: ChannelFleet, site: IngestSite, gate: HeldScript, leading: Leading
):
    _, second = await fill(site, gate, 2)
    await leading.publish(Event("d", EventType.DELETE, KEY, agent="anna"))
    assert (await remove(fleet, second)).status_code == 200
    gate.open()
    await free(site, KEY)
    assert await post(site, "text 1", "m1") == second
    assert (await fleet.admin.get(f"/api/sessions/{KEY}/state")).status_code == 404
    assert site.agent.asked == ["text 0"]
    assert await fleet.dead_letters() == []


class TestReplicas:
    @pytest.fixture
    async def replicas(self, settings: Settings, leading: Leading) -> AsyncIterator[ReplicaFleet]:
        async with ReplicaFleet.of(settings) as fleet:
            yield fleet

    async def entries(self, replicas: ReplicaFleet) -> list[tuple[str, str]]:
        answer = await replicas.api.get("/api/sessions/s/queue", params={"consistency": "any"})
        return [(row["id"], row["state"]) for row in answer.json()["queue"]]

    async def remove(self, replicas: ReplicaFleet, message: str) -> int:
        path = f"/api/sessions/s/queue/{message}"
        return (await replicas.api.delete(path, params={"consistency": "any"})).status_code

    async def test_a_dead_replicas_queue_is_shown_and_runs_without_what_was_removed(
        self, replicas: ReplicaFleet
    ):
        gate = HeldScript()
        dying = await replicas.replica(gate)
        turns = [await say(dying, f"text {n}", id=f"m{n}", attended=False) for n in range(4)]
        await wait_until(lambda: gate.waiting)
        await dying.freeze()
        assert await self.remove(replicas, "m1") == 200
        living = await replicas.replica()
        await wait_until(lambda: len(living.agent.asked) == 2)
        assert living.agent.asked == ["text 2", "text 3"]
        assert await self.remove(replicas, "m1") == 404
        again = await say(living, "text 1", id="m1", attended=False)
        assert (await ended(again)).ending is Ending.ELSEWHERE
        await wait_until(lambda: self.is_idle(replicas))
        assert len(living.agent.asked) == 2
        assert len(turns) == 4

    async def is_idle(self, replicas: ReplicaFleet) -> bool:
        return await replicas.state() == "idle" and await self.entries(replicas) == []

    async def test_a_free_lane_goes_on_when_its_first_message_is_removed(
        self, replicas: ReplicaFleet
    ):
        replica = await replicas.replica()
        await replica.freeze()
        hold = (await replica.lanes.enqueue(S, "m0", message("text 0", id="m0").dump())).hold
        assert hold is not None
        other = await replicas.replica()
        await other.freeze()
        for name in ("m1", "m2"):
            await other.lanes.enqueue(S, name, message(name, id=name).dump())
        await replica.lanes.finish(hold)
        assert await self.entries(replicas) == [("m1", "waiting"), ("m2", "waiting")]
        assert await self.remove(replicas, "m1") == 200
        await other.thaw()
        await wait_until(lambda: other.agent.asked == ["m2"])

    async def test_a_message_that_joined_a_turn_runs_and_is_not_removed(
        self, replicas: ReplicaFleet
    ):
        replica = await replicas.replica()
        await replica.freeze()
        first, second, third = (part(text, text) for text in ("one", "two", "three"))
        places = [await replica.lanes.enqueue(S, one.id, one.dump()) for one in (first, second)]
        hold = places[0].hold
        assert hold is not None
        events = [first.joined_with([second]).opening(), second.joining("one")]
        await replica.lanes.publish(hold, events, stage=Stage.OPENED, joined=["two"])
        await replica.lanes.enqueue(S, third.id, third.dump())
        states = [("one", "running"), ("two", "running"), ("three", "waiting")]
        assert await self.entries(replicas) == states
        assert await self.remove(replicas, "two") == 409
        assert await self.remove(replicas, "three") == 200

    async def test_a_message_that_is_removed_just_before_it_joins_is_not_answered(
        self, replicas: ReplicaFleet, monkeypatch: pytest.MonkeyPatch
    ):
        replica = await replicas.replica()
        publish = replica.lanes.publish

        async def late(*given: Any, **more: Any) -> list[Position]:
            monkeypatch.undo()
            assert more["joined"] == ["two", "three"]
            assert await self.remove(replicas, "two") == 200
            return await publish(*given, **more)

        monkeypatch.setattr(replica.lanes, "publish", late)
        for text in ("one", "two", "three"):
            await replica.queue.accept(part(text, text, wait=0.5), attended=False)
        await wait_until(lambda: replica.agent.asked)
        await wait_until(lambda: self.is_idle(replicas))
        assert replica.agent.asked == ["one\nthree"]
        assert await replicas.messages() == [
            ("user", "one\nthree"),
            ("assistant", "re: one\nthree"),
        ]

    @pytest.mark.parametrize("order", [["two", "one"], ["one", "two"]])
    async def test_a_removed_message_never_joins_a_turn(
        self, replicas: ReplicaFleet, order: list[str]
    ):
        """Not even if Redis has forgotten that it was removed."""
        gate = HeldScript()
        replica = await replicas.replica(gate)
        await say(replica, "first", attended=False)
        await wait_until(lambda: gate.waiting)
        await replica.queue.accept(part("two", "two"), attended=False)
        assert await self.remove(replicas, "two") == 200
        await forget_removals(replicas.settings)
        for text in order:
            await replica.queue.accept(part(text, text), attended=False)
        replica.agent.script = None
        gate.open()
        await wait_until(lambda: len(replica.agent.asked) == 2)
        await wait_until(lambda: self.is_idle(replicas))
        assert replica.agent.asked == ["first", "one"]
        letters = await replicas.api.get("/api/dead-letters")
        assert letters.json()["dead_letters"] == []

    @pytest.mark.parametrize("remembered", [True, False], ids=["remembered", "forgotten by Redis"])
    async def test_a_removed_command_does_not_clear_the_session(
        self, replicas: ReplicaFleet, remembered: bool
    ):
        gate = HeldScript()
        replica = await replicas.replica(gate)
        await say(replica, "first", attended=False)
        await wait_until(lambda: gate.waiting)
        command = message("/new", id="new", command="new")
        await replica.lanes.enqueue(S, "new", command.dump())
        assert await self.remove(replicas, "new") == 200
        if not remembered:
            await forget_removals(replicas.settings)
        await replica.queue.accept(command, attended=False)
        gate.open()
        await wait_until(lambda: self.is_idle(replicas))
        stored = await replicas.messages()
        assert stored[0] == ("user", "first")


class TestRefusals:
    async def test_what_was_removed_or_never_waited_is_not_found(
        self, fleet: ChannelFleet, site: IngestSite, gate: HeldScript
    ):
        _, second = await fill(site, gate, 2)
        assert (await remove(fleet, second)).status_code == 200
        again = await remove(fleet, second)
        assert (again.status_code, again.json()["code"]) == (404, "not_found")
        assert (await remove(fleet, "nothing")).status_code == 404
        nowhere = await remove(fleet, second, key="nowhere")
        assert (nowhere.status_code, nowhere.json()["error"]) == (404, "Session not found")
        assert (await fleet.admin.get("/api/sessions/nowhere/queue")).status_code == 404
        gate.open()

    async def test_what_is_being_answered_is_not_removed(
        self, fleet: ChannelFleet, site: IngestSite, gate: HeldScript, shop: Shop
    ):
        [first] = await fill(site, gate, 1)
        answer = await remove(fleet, first)
        assert (answer.status_code, answer.json()["code"]) == (409, "running")
        assert "abort" in answer.json()["error"]
        gate.open()
        await wait_until(lambda: shop.texts == ["re: text 0"])

    async def test_another_agent_finds_no_queue_and_removes_nothing(
        self, fleet: ChannelFleet, site: IngestSite, gate: HeldScript
    ):
        _, second = await fill(site, gate, 2)
        bert = token(fleet, "bert")
        missing = await fleet.admin.get("/api/sessions/nowhere/queue", headers=bert)
        found = await fleet.admin.get(f"/api/sessions/{KEY}/queue", headers=bert)
        assert (found.status_code, found.json()) == (404, missing.json())
        refused = await remove(fleet, second, headers=bert)
        assert (refused.status_code, refused.json()) == (404, missing.json())
        assert len(await queue(fleet)) == 2
        gate.open()

    async def test_reading_is_enough_to_look_and_not_to_remove(
        self, fleet: ChannelFleet, site: IngestSite, gate: HeldScript
    ):
        ids = await fill(site, gate, 2)
        reader = token(fleet, "anna", TokenScope.READ)
        assert [row["id"] for row in await queue(fleet, headers=reader)] == ids
        assert (await remove(fleet, ids[1], headers=reader)).status_code == 403
        gate.open()

    async def test_an_administrator_sees_the_lanes_of_all_agents(
        self, fleet: ChannelFleet, site: IngestSite, gate: HeldScript
    ):
        [own] = await fill(site, gate, 1)
        lanes = site.services.queue.lanes
        other = Inbound("bert:1", KEY, "from bert", "bert", times.now())
        older = Inbound("old:1", KEY, "from before", "anna", times.now())
        await lanes.enqueue(other.lane, other.id, other.dump())
        await lanes.enqueue(former_lane_of(KEY), older.id, older.dump())
        assert {row["id"] for row in await queue(fleet)} == {own, "bert:1", "old:1"}
        anna = await queue(fleet, headers=token(fleet, "anna"))
        assert [row["id"] for row in anna] == ["old:1", own]
        bert = await queue(fleet, headers=token(fleet, "bert"))
        assert [row["id"] for row in bert] == ["bert:1"]
        gate.open()

    @pytest.mark.parametrize("key", ["a/queue", "a/queue/b", "queue"])
    async def test_a_key_may_end_like_the_route(
        self, fleet: ChannelFleet, leading: Leading, key: str
    ):
        await leading.publish(
            Event("e", EventType.APPEND, key, role="user", content="x"),
            Event("f", EventType.APPEND, "a", role="user", content="x"),
        )
        path = f"/api/sessions/{quote(key, safe='')}"
        answer = await fleet.admin.get(f"{path}/queue")
        assert answer.json() == {"session_id": key, "queue": []}
        assert (await fleet.admin.delete(path)).json() == {"deleted": True, "session_id": key}
        assert await fleet.messages("a") == [("user", "x")]


class TestChats:
    async def test_a_client_sees_its_queue_removes_a_message_and_is_told(
        self, fleet: ChannelFleet, site: IngestSite, gate: HeldScript
    ):
        async with talking(fleet, site, "anna") as one, talking(fleet, site, "anna") as two:
            await one.say("first")
            await wait_until(lambda: gate.waiting)
            await one.send(type="queue")
            running = await one.until("queue")
            [first] = running["entries"]
            assert (first["state"], first["content"], first["cut"]) == ("running", "first", False)
            await one.say("second", id="mine")
            await one.say("x" * 3000)
            await wait_until(lambda: _length(fleet, "gw_one", 3))
            await two.send(type="queue")
            _, second, third = (await two.until("queue"))["entries"]
            assert (second["state"], second["content"]) == ("waiting", "second")
            assert (len(third["content"]), third["cut"]) == (2000, True)

            await two.send(type="queue_remove", id=second["id"])
            assert await two.until("queue_removed") == {"type": "queue_removed", "id": second["id"]}
            told = await one.until("error")
            assert (told["code"], told["id"]) == ("MESSAGE_REMOVED", second["id"])
            await one.say("second", id="mine")
            assert await one.until("error") == told

            await two.send(type="queue_remove", id=first["id"])
            assert (await two.until("error"))["code"] == "MESSAGE_RUNNING"
            await two.send(type="queue_remove", id=second["id"])
            assert (await two.until("error"))["code"] == "MESSAGE_UNKNOWN"
            await two.send(type="queue_remove")
            assert (await two.until("error"))["code"] == "MESSAGE_UNKNOWN"
            gate.open()
            assert (await one.until("done"))["full_response"] == "re: first"
            assert (await one.until("done"))["full_response"].startswith("re: xxx")
        assert site.agent.asked == ["first", "x" * 3000]
        assert await fleet.dead_letters() == []

    async def test_a_client_of_another_replica_is_told_too(
        self, fleet: ChannelFleet, site: IngestSite, gate: HeldScript
    ):
        other = await fleet.site()
        async with talking(fleet, site, "anna") as one, talking(fleet, other, "anna") as two:
            await one.say("first")
            await wait_until(lambda: gate.waiting)
            await one.say("second", id="mine")
            await wait_until(lambda: _length(fleet, "gw_one", 2))
            await two.say("second", id="mine")
            second = (await queue(fleet, "gw_one"))[1]["id"]
            assert (await remove(fleet, second, "gw_one")).status_code == 200
            for client in (one, two):
                told = await client.until("error")
                assert (told["code"], told["id"]) == ("MESSAGE_REMOVED", second)
            gate.open()
            assert (await one.until("done"))["full_response"] == "re: first"

    async def test_another_agents_chat_sees_nothing(
        self, fleet: ChannelFleet, site: IngestSite, gate: HeldScript
    ):
        put_agent(site.services, "bert", ScriptedAgent())
        async with talking(fleet, site, "anna") as anna, talking(fleet, site, "bert") as bert:
            await anna.say("first")
            await wait_until(lambda: gate.waiting)
            await anna.say("second")
            await wait_until(lambda: _length(fleet, "gw_one", 2))
            second = (await queue(fleet, "gw_one"))[1]["id"]
            await bert.send(type="queue")
            assert await bert.next() == {"type": "queue", "entries": []}
            await bert.send(type="queue_remove", id=second)
            assert (await bert.next())["code"] == "MESSAGE_UNKNOWN"
            gate.open()
            await anna.until("done")
            assert (await anna.until("done"))["full_response"] == "re: second"


async def _length(fleet: ChannelFleet, key: str, wanted: int) -> bool:
    return len(await queue(fleet, key)) == wanted
