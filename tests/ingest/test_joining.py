"""Several messages as one turn, whatever dies between: on the level of lanes and replicas."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from harness.waiting import wait_until
from ingest.failures import INTERRUPTED
from ingest.turns.live import Ending
from sessions import times
from sessions.process.settings import Settings
from sessions.stream.lanes.inbound import Inbound
from sessions.stream.lanes.values import Stage, lane_of
from tests.ingest.replicas import HeldScript, Replica, ReplicaFleet, ended, message, say
from tests.leading import Leading


@pytest.fixture
async def fleet(settings: Settings, leading: Leading) -> AsyncIterator[ReplicaFleet]:
    async with ReplicaFleet.of(settings) as fleet:
        yield fleet


def part(text: str, id: str, *, wait: float = 0.0) -> Inbound:
    """A message that is to be joined, and for which `wait` more seconds are waited."""
    return message(text, id=id, due=times.now() + int(wait * times.SECOND), channel="cli.x")


async def put(replica: Replica, *parts: Inbound):
    return [await replica.lanes.enqueue(lane_of("s", "main"), one.id, one.dump()) for one in parts]


async def is_free(replica: Replica) -> bool:
    return await replica.lanes.at_work(lane_of("s", "main")) is None


async def test_a_replica_that_dies_while_it_waits_for_more_loses_nothing(fleet: ReplicaFleet):
    dying = await fleet.replica()
    await dying.freeze()
    await put(dying, part("one", "m1"), part("two", "m2"))
    living = await fleet.replica()
    await wait_until(lambda: living.agent.asked)
    await wait_until(lambda: is_free(living))
    assert await fleet.messages() == [("user", "one\ntwo"), ("assistant", "re: one\ntwo")]


async def test_joined_messages_are_not_answered_again_where_their_replica_died(fleet: ReplicaFleet):
    dying = await fleet.replica()
    await dying.freeze()
    first, second = part("one", "m1"), part("two", "m2")
    places = await put(dying, first, second)
    hold = places[0].hold
    assert hold is not None
    events = [first.joined_with([second]).opening(), second.joining("m1")]
    await dying.lanes.publish(hold, events, stage=Stage.OPENED)
    living = await fleet.replica()
    await wait_until(lambda: is_free(living))
    assert living.agent.asked == []
    assert await fleet.messages() == [("user", "one\ntwo"), ("assistant", INTERRUPTED)]
    assert await fleet.state() == "idle"


async def test_what_does_not_fit_into_one_text_is_a_turn_of_its_own(fleet: ReplicaFleet):
    gate = HeldScript()
    replica = await fleet.replica(gate)
    running = await say(replica, "first")
    half = "x" * (128 * 1024)
    await put(replica, part(half, "m1"), part("y", "m2"), part(half, "m3"))
    replica.agent.script = None
    gate.open()
    await ended(running)
    await wait_until(lambda: len(replica.agent.asked) == 3)
    await wait_until(lambda: is_free(replica))
    assert replica.agent.asked[1:] == [f"{half}\ny", half]


async def test_only_what_came_by_the_same_channel_is_joined(fleet: ReplicaFleet):
    gate = HeldScript()
    replica = await fleet.replica(gate)
    running = await say(replica, "first")
    other = message("three", id="m3", due=1, channel="cli.y")
    await put(replica, part("one", "m1"), message("two", id="m2"), other)
    replica.agent.script = None
    gate.open()
    await ended(running)
    await wait_until(lambda: len(replica.agent.asked) == 4)
    assert replica.agent.asked == ["first", "one", "two", "three"]


async def test_joined_messages_free_their_places_in_the_lane(fleet: ReplicaFleet):
    gate = HeldScript()
    replica = await fleet.replica(gate)
    running = await say(replica, "first")
    await put(replica, *(part(f"p{n}", f"m{n}") for n in range(7)))
    await wait_until(lambda: gate.waiting)
    replica.agent.script = second = HeldScript()
    gate.open()
    await ended(running)
    await wait_until(lambda: len(replica.agent.asked) == 2)
    turns = [await say(replica, f"later {n}") for n in range(7)]
    second.open()
    for turn in turns:
        assert (await ended(turn)).ending is Ending.REPLIED
