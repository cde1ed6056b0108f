"""Lanes on a real Redis: one turn at a time, and nobody publishes into a lane that was lost."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncGenerator

import pytest

from harness.waiting import wait_until
from sessions.errors import (
    DeclaredDead,
    InvalidEvent,
    LaneChanged,
    LaneFull,
    LaneLost,
    LaneTimeout,
    StoreBehind,
    StreamFull,
)
from sessions.models import STREAM_START, Event, EventType, Position, StreamId
from sessions.stream.lanes.inbound import Inbound
from sessions.stream.lanes.lanes import Lanes
from sessions.stream.lanes.queues import QueueEntry
from sessions.stream.lanes.values import Hold, Signal, Stage, lane_of
from sessions.stream.lanes.watch import ReplicaWatch
from sessions.stream.redis import RedisClient, connect

S = lane_of("s", "anna")


@pytest.fixture
async def redis(redis_url: str) -> AsyncGenerator[RedisClient]:
    client = connect(redis_url)
    yield client
    await client.aclose()


@pytest.fixture
def prefix() -> str:
    return f"t{uuid.uuid4().hex[:8]}:"


@pytest.fixture
async def lanes(redis: RedisClient, redis_url: str, prefix: str) -> Lanes:
    return await replica(redis, redis_url, prefix)


@pytest.fixture
async def others(redis: RedisClient, redis_url: str, prefix: str) -> Lanes:
    return await replica(redis, redis_url, prefix)


async def replica(redis: RedisClient, redis_url: str, prefix: str) -> Lanes:
    lanes = Lanes(redis, url=redis_url, prefix=prefix)
    await lanes.replicas.register()
    return lanes


async def keys(redis: RedisClient, prefix: str) -> set[str]:
    """What the lanes occupy in Redis, beside the stream and what every replica needs."""
    found = {key.decode() for key in await redis.execute_command("KEYS", f"{prefix}*")}
    return found - {f"{prefix}lane_beats", f"{prefix}lane_token", f"{prefix}turns"}


def key_of(prefix: str, kind: str) -> bytes:
    """The Redis key of that kind of lane S."""
    return f"{prefix}{kind}:{S}".encode(errors="surrogateescape")


async def entries(redis: RedisClient, prefix: str) -> list[bytes]:
    found = await redis.execute_command("XRANGE", f"{prefix}turns", "-", "+")
    return [fields[b"id"] for _, fields in found]


async def held(lanes: Lanes, session: str, message: str) -> Hold:
    place = await lanes.enqueue(session, message, "{}")
    assert place.hold is not None
    return place.hold


async def claimed(lanes: Lanes, session: str, message: str) -> Hold | None:
    place = await lanes.take(session, message)
    return None if place is None else place.hold


def append(event_id: str, *, turn: str, role: str = "user") -> Event:
    return Event(event_id, EventType.APPEND, session="s", role=role, content="hello", turn=turn)


class TestOrder:
    async def test_the_first_message_takes_the_lane_and_the_next_one_waits(self, lanes: Lanes):
        first = await lanes.enqueue(S, "a", "one")
        second = await lanes.enqueue(S, "b", "two")

        assert first.hold is not None
        assert (first.hold.id, first.hold.message, first.hold.stage) == ("a", "one", Stage.TAKEN)
        assert (second.hold, second.waiting, second.known) == (None, 1, False)

    async def test_a_waiting_message_cannot_take_the_lane_before_its_time(self, lanes: Lanes):
        hold = await held(lanes, S, "a")
        await lanes.enqueue(S, "b", "")
        await lanes.enqueue(S, "c", "")

        assert await claimed(lanes, S, "b") is None
        following = await lanes.finish(hold)
        assert following is not None
        assert following.id == "b"
        assert await claimed(lanes, S, "c") is None

    async def test_messages_of_several_replicas_run_in_order_of_arrival(
        self, lanes: Lanes, others: Lanes
    ):
        first = await held(lanes, S, "a")
        await others.enqueue(S, "b", "")
        await lanes.enqueue(S, "c", "")

        assert await lanes.finish(first) is None
        assert await claimed(lanes, S, "c") is None
        second = await claimed(others, S, "b")
        assert second is not None
        assert await others.finish(second) is None
        assert await claimed(lanes, S, "c") is not None

    async def test_sessions_do_not_wait_for_each_other(self, lanes: Lanes):
        await held(lanes, S, "a")
        assert (await held(lanes, "t", "b")).lane == "t"

    async def test_a_replica_that_waits_hears_that_the_lane_is_free(
        self, lanes: Lanes, others: Lanes
    ):
        signals = others.replicas.signals()
        await anext(signals)
        hold = await held(lanes, "a b:c", "a")
        await others.enqueue("a b:c", "b", "")

        await lanes.finish(hold)

        assert await anext(signals) == Signal("free", "a b:c")
        await signals.aclose()

    async def test_a_beat_tells_of_a_free_lane_whose_signal_was_missed(
        self, lanes: Lanes, others: Lanes
    ):
        hold = await held(lanes, S, "a")
        await others.enqueue(S, "b", "")
        assert (await others.replicas.beat([], [S])).free == frozenset()

        await lanes.finish(hold)

        assert (await others.replicas.beat([], [S])).free == {S}


class TestBounds:
    async def test_the_ninth_message_is_refused_and_leaves_nothing(
        self, lanes: Lanes, redis: RedisClient, prefix: str
    ):
        for number in range(8):
            await lanes.enqueue(S, f"m{number}", "text")
        before = await redis.execute_command("HGETALL", key_of(prefix, "lane"))

        with pytest.raises(LaneFull, match=r"Session s queue full \(8 pending requests\)"):
            await lanes.enqueue(S, "m8", "text")

        assert await redis.execute_command("HGETALL", key_of(prefix, "lane")) == before
        assert await redis.execute_command("LLEN", key_of(prefix, "queue")) == 8

    async def test_a_message_that_is_in_a_full_lane_already_is_not_refused(self, lanes: Lanes):
        for number in range(8):
            await lanes.enqueue(S, f"m{number}", "text")
        assert (await lanes.enqueue(S, "m5", "text")).waiting == 5

    async def test_a_withdrawn_message_makes_room_and_is_not_run(self, lanes: Lanes):
        hold = await held(lanes, S, "a")
        for name in "bc":
            await lanes.enqueue(S, name, "")

        assert (await lanes.withdraw(S, "b")).done
        following = await lanes.finish(hold)

        assert following is not None
        assert following.id == "c"
        assert await lanes.take(S, "b") is None

    async def test_a_message_whose_turn_has_begun_cannot_be_withdrawn(self, lanes: Lanes):
        await held(lanes, S, "a")
        withdrawal = await lanes.withdraw(S, "a")
        assert (withdrawal.done, withdrawal.running) == (False, True)

    async def test_an_empty_lane_leaves_nothing_in_redis(
        self, lanes: Lanes, redis: RedisClient, prefix: str
    ):
        hold = await held(lanes, S, "a")
        await lanes.enqueue(S, "b", "")
        await lanes.publish(hold, [append("a", turn="a")], stage=Stage.OPENED)
        await lanes.request_abort("s", "anna")
        await lanes.withdraw(S, "b")
        await lanes.finish(hold)

        assert await keys(redis, prefix) == set()

    async def test_the_next_turn_inherits_nothing_of_the_last(
        self, lanes: Lanes, redis: RedisClient, prefix: str
    ):
        hold = await held(lanes, S, "a")
        await lanes.enqueue(S, "b", "")
        await lanes.publish(hold, [append("a", turn="a")], stage=Stage.OPENED)
        await lanes.publish(hold, [append("a:reply", turn="a")], stage=Stage.ENDED)
        await lanes.request_abort("s", "anna")
        following = await lanes.finish(hold)

        assert following is not None
        assert (following.stage, following.opened) == (Stage.TAKEN, None)
        assert (await lanes.replicas.beat([following], [])).aborted == frozenset()
        fields = await redis.execute_command("HKEYS", key_of(prefix, "lane"))
        assert {*fields} == {b"token", b"holder", b"stage", b"+b"}


class TestRepetition:
    async def test_a_message_is_in_the_lane_once_however_often_it_comes(
        self, lanes: Lanes, others: Lanes, redis: RedisClient, prefix: str
    ):
        first = await held(lanes, S, "a")
        await lanes.enqueue(S, "b", "")

        assert (await lanes.enqueue(S, "a", "")).hold == first
        assert (await lanes.enqueue(S, "b", "")).waiting == 1
        assert (await others.enqueue(S, "b", "")).known
        assert await redis.execute_command("LLEN", key_of(prefix, "queue")) == 2

    async def test_taking_twice_gives_the_same_token(self, lanes: Lanes):
        first = await held(lanes, S, "a")
        assert await claimed(lanes, S, "a") == first

    async def test_publishing_twice_publishes_once_and_answers_the_same(
        self, lanes: Lanes, redis: RedisClient, prefix: str
    ):
        hold = await held(lanes, S, "a")
        opening, closing = [append("a", turn="a")], [append("a:reply", turn="a")]

        first = await lanes.publish(hold, opening, stage=Stage.OPENED)
        assert await lanes.publish(hold, opening, stage=Stage.OPENED) == first
        last = await lanes.publish(hold, closing, stage=Stage.ENDED)
        assert await lanes.publish(hold, closing, stage=Stage.ENDED) == last

        assert await entries(redis, prefix) == [b"a", b"a:reply"]

    async def test_finishing_twice_does_not_end_the_next_turn(self, lanes: Lanes):
        hold = await held(lanes, S, "a")
        await lanes.enqueue(S, "b", "")
        following = await lanes.finish(hold)
        assert await lanes.finish(hold) is None
        assert await claimed(lanes, S, "b") == following


class TestFence:
    async def test_events_of_a_turn_are_published_together_and_in_order(
        self, lanes: Lanes, redis: RedisClient, prefix: str
    ):
        hold = await held(lanes, S, "a")
        events = [append(f"a:{number}", turn="a", role="tool") for number in range(5)]
        positions = await lanes.publish(hold, events, stage=Stage.ENDED)
        assert await entries(redis, prefix) == [event.id.encode() for event in events]
        assert [position.event_id for position in positions] == [event.id for event in events]

    async def test_a_lost_lane_publishes_nothing(
        self, lanes: Lanes, others: Lanes, redis: RedisClient, prefix: str
    ):
        hold = await held(lanes, S, "a")
        await others.replicas.sweep({lanes.replicas.name: 0})

        with pytest.raises(LaneLost):
            await lanes.publish(hold, [append("a", turn="a")], stage=Stage.OPENED)

        assert await lanes.finish(hold) is None
        assert await entries(redis, prefix) == []

    async def test_an_invalid_event_publishes_nothing(
        self, lanes: Lanes, redis: RedisClient, prefix: str
    ):
        hold = await held(lanes, S, "a")
        with pytest.raises(InvalidEvent):
            await lanes.publish(
                hold, [append("a", turn="a"), append("b", turn="a", role="")], stage=Stage.OPENED
            )
        assert await entries(redis, prefix) == []

    async def test_tokens_are_never_used_twice(self, lanes: Lanes, others: Lanes):
        tokens: set[str] = set()
        for number in range(20):
            hold = await held(lanes if number % 2 else others, S, f"m{number}")
            tokens.add(hold.token)
            await (lanes if number % 2 else others).finish(hold)
        assert len(tokens) == 20


class TestTakeover:
    async def test_a_dead_replicas_lane_and_its_waiting_messages_go_to_the_sweeper(
        self, lanes: Lanes, others: Lanes
    ):
        hold = await held(lanes, S, "a")
        position = (await lanes.publish(hold, [append("a", turn="a")], stage=Stage.OPENED))[0]
        await lanes.enqueue(S, "b", "of the dead")

        [taken] = (await others.replicas.sweep({lanes.replicas.name: 0})).taken

        assert (taken.id, taken.stage, taken.opened) == ("a", Stage.OPENED, position.stream_id)
        assert taken.token != hold.token
        following = await others.finish(taken)
        assert following is not None
        assert (following.id, following.message) == ("b", "of the dead")

    async def test_a_replica_that_has_beaten_since_keeps_its_lanes(
        self, lanes: Lanes, others: Lanes
    ):
        hold = await held(lanes, S, "a")
        seen = await others.replicas.beats()
        await lanes.replicas.beat([hold], [])

        assert (
            await others.replicas.sweep({lanes.replicas.name: seen[lanes.replicas.name]})
        ).taken == []
        assert (await lanes.replicas.beat([hold], [])).lost == frozenset()

    async def test_of_two_sweepers_one_gets_the_lane(
        self, lanes: Lanes, others: Lanes, redis: RedisClient, redis_url: str, prefix: str
    ):
        third = await replica(redis, redis_url, prefix)
        await held(lanes, S, "a")
        sweeps = await asyncio.gather(
            others.replicas.sweep({lanes.replicas.name: 0}),
            third.replicas.sweep({lanes.replicas.name: 0}),
        )
        assert sorted(len(sweep.taken) for sweep in sweeps) == [0, 1]

    async def test_a_free_lane_whose_next_message_is_of_a_dead_replica_is_taken_over(
        self, lanes: Lanes, others: Lanes
    ):
        hold = await held(lanes, S, "a")
        await others.enqueue(S, "b", "")
        await lanes.finish(hold)

        [taken] = (await lanes.replicas.sweep({others.replicas.name: 0})).taken

        assert taken.id == "b"

    async def test_a_replica_that_left_has_its_messages_run_elsewhere(
        self, lanes: Lanes, others: Lanes
    ):
        hold = await held(lanes, S, "a")
        await others.enqueue(S, "b", "")
        await others.replicas.unregister()
        following = await lanes.finish(hold)
        assert following is not None
        assert following.id == "b"

    async def test_a_replica_that_was_declared_dead_is_told_and_starts_again(
        self, lanes: Lanes, others: Lanes
    ):
        hold = await held(lanes, S, "a")
        await others.replicas.sweep({lanes.replicas.name: 0})

        with pytest.raises(DeclaredDead):
            await lanes.replicas.beat([hold], [])
        with pytest.raises(DeclaredDead):
            await lanes.enqueue("t", "b", "")
        await lanes.replicas.register()

        assert (await lanes.replicas.beat([hold], [])).lost == {S}
        assert (await held(lanes, "t", "b")).id == "b"

    async def test_a_sweep_shows_what_the_sweeper_itself_holds(self, lanes: Lanes):
        hold = await held(lanes, S, "a")
        assert (await lanes.replicas.sweep({})).held == [hold]

    async def test_a_sweep_shows_the_sweepers_own_messages_whose_turn_has_come(
        self, lanes: Lanes, others: Lanes
    ):
        hold = await held(lanes, S, "a")
        await others.enqueue(S, "b", "")
        assert (await others.replicas.sweep({})).due == []
        await lanes.finish(hold)
        assert (await others.replicas.sweep({})).due == [(S, "b")]


class LoopClock:
    """The event loop's clock, moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def look(self, watch: ReplicaWatch, *, at: float, **beats: int) -> dict[str, int]:
        self.now = at
        return watch.observe(beats, ignore="me")


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> LoopClock:
    clock = LoopClock()
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: clock.now)
    return clock


class TestWatch:
    async def test_a_beat_that_was_seen_unchanged_for_ten_seconds_is_a_dead_replicas(
        self, clock: LoopClock
    ):
        watch = ReplicaWatch()
        for second in range(10):
            assert clock.look(watch, at=second, me=1, dead=1, living=second) == {}
        assert clock.look(watch, at=10, me=1, dead=1, living=10) == {"dead": 1}

    async def test_a_sweeper_that_stood_still_itself_blames_nobody(self, clock: LoopClock):
        watch = ReplicaWatch()
        clock.look(watch, at=0, other=1)
        assert clock.look(watch, at=60, other=1) == {}

    async def test_silence_of_redis_is_nobodys_death(self, clock: LoopClock):
        watch = ReplicaWatch()
        for second in range(10):
            clock.look(watch, at=second, other=1)
        watch.forget()
        assert clock.look(watch, at=10, other=1) == {}


class TestAbort:
    async def test_the_holder_learns_of_an_abort_by_signal_and_by_beat(
        self, lanes: Lanes, others: Lanes
    ):
        signals = lanes.replicas.signals()
        await anext(signals)
        hold = await held(lanes, S, "a")

        running = await others.request_abort("s", "anna")

        assert running is not None
        assert (running.turn, running.token) == ("a", hold.token)
        assert await anext(signals) == Signal("abort", S)
        assert (await lanes.replicas.beat([hold], [])).aborted == {S}
        await signals.aclose()

    async def test_an_abort_is_answered_when_the_turn_has_ended(self, lanes: Lanes, others: Lanes):
        hold = await held(lanes, S, "a")
        await lanes.enqueue(S, "b", "")
        abort = asyncio.create_task(others.abort("s", "anna"))
        await wait_until(lambda: aborted(lanes, hold))
        assert not abort.done()

        await lanes.finish(hold)

        assert await abort

    async def test_a_turn_whose_reply_is_being_sent_keeps_no_abort_waiting(
        self, lanes: Lanes, others: Lanes
    ):
        hold = await held(lanes, S, "a")
        abort = asyncio.create_task(others.abort("s", "anna"))
        await wait_until(lambda: aborted(lanes, hold))
        await lanes.publish(hold, [append("a:reply", turn="a")], stage=Stage.ENDED)
        assert await abort
        assert not await others.abort("s", "anna", patience=0)

    async def test_an_abort_that_nobody_heeds_says_so(self, lanes: Lanes, others: Lanes):
        await held(lanes, S, "a")
        with pytest.raises(LaneTimeout):
            await others.abort("s", "anna", patience=0)

    async def test_there_is_nothing_to_abort_in_an_idle_session(self, lanes: Lanes):
        assert await lanes.request_abort("s", "anna") is None
        assert not await lanes.abort("s", "anna")


async def aborted(lanes: Lanes, hold: Hold) -> bool:
    return S in (await lanes.replicas.beat([hold], [])).aborted


class TestNewest:
    """What a session still has in the stream, so that a turn waits for that only."""

    @pytest.fixture
    async def start(self, redis: RedisClient, prefix: str) -> Position:
        await redis.execute_command("HSET", f"{prefix}store", "epoch", 1)
        return Position(1, STREAM_START)

    async def publish(self, redis: RedisClient, prefix: str, *sessions: str) -> Position:
        for session in sessions:
            fields = ("v", "1", "content", session, "session", session)
            found = await redis.execute_command("XADD", f"{prefix}turns", "*", *fields)
        return Position(1, StreamId.parse(found))

    async def test_it_is_the_last_entry_of_that_session(
        self, lanes: Lanes, redis: RedisClient, prefix: str, start: Position
    ):
        newest = await self.publish(redis, prefix, *"abcabc" * 10, "s", *"abc" * 20, "s")
        await self.publish(redis, prefix, *"abc" * 20)
        assert await lanes.newest("s", start) == newest

    async def test_entries_of_others_are_not_waited_for(
        self, lanes: Lanes, redis: RedisClient, prefix: str, start: Position
    ):
        applied = await self.publish(redis, prefix, "s")
        await self.publish(redis, prefix, "a", "b")
        assert await lanes.newest("s", applied) is None

    async def test_behind_a_long_backlog_it_is_the_end_of_the_stream(
        self, lanes: Lanes, redis: RedisClient, prefix: str, start: Position
    ):
        end = await self.publish(redis, prefix, *["other"] * 2100)
        assert await lanes.newest("s", start) == end

    async def test_a_stream_that_went_backwards_is_no_base_for_an_answer(
        self, lanes: Lanes, redis: RedisClient, prefix: str, start: Position
    ):
        applied = await self.publish(redis, prefix, "s")
        with pytest.raises(StoreBehind):
            await lanes.newest("s", Position(2, applied.stream_id))
        await redis.execute_command("DEL", f"{prefix}turns")
        with pytest.raises(StoreBehind):
            await lanes.newest("s", applied)

    async def test_a_stream_that_was_trimmed_to_nothing_is_still_the_same(
        self, lanes: Lanes, redis: RedisClient, prefix: str, start: Position
    ):
        applied = await self.publish(redis, prefix, "s")
        await redis.execute_command("XTRIM", f"{prefix}turns", "MAXLEN", 0)
        assert await lanes.newest("s", applied) is None


@pytest.fixture
async def full(redis: RedisClient) -> AsyncGenerator[None]:
    """Fills Redis once the test asks for it, and empties it afterwards."""
    yield
    await redis.execute_command("CONFIG", "SET", "maxmemory", "0")


async def waits(lanes: Lanes, message: str) -> QueueEntry:
    """A message of session s that waits in the lane, and what the queue tells of it."""
    inbound = Inbound(message, "s", "hello", "anna", 1)
    await lanes.enqueue(S, message, inbound.dump())
    entries = await lanes.queues.entries("s", "anna")
    return next(entry for entry in entries if entry.message == inbound)


class TestRemoval:
    async def test_removing_twice_removes_once_and_answers_the_same(
        self, lanes: Lanes, redis: RedisClient, prefix: str
    ):
        await held(lanes, S, "a")
        entry = await waits(lanes, "b")
        removal = await lanes.queues.remove(entry)
        assert removal.published is not None
        assert await lanes.queues.remove(entry) == removal
        assert await entries(redis, prefix) == [b"b:removed"]

    async def test_a_removed_message_finds_no_place_again(self, lanes: Lanes, others: Lanes):
        hold = await held(lanes, S, "a")
        entry = await waits(lanes, "b")
        await lanes.queues.remove(entry)
        for replica in (lanes, others):
            place = await replica.enqueue(S, "b", entry.message.dump())
            assert (place.hold, place.known) == (None, True)
        assert await lanes.take(S, "b") is None
        assert await lanes.finish(hold) is None

    async def test_removing_leaves_nothing_of_an_empty_lane(
        self, lanes: Lanes, others: Lanes, redis: RedisClient, prefix: str
    ):
        hold = await held(lanes, S, "a")
        entry = await waits(others, "b")
        await lanes.finish(hold)
        assert not (await lanes.queues.entries("s", "anna"))[0].running
        await lanes.queues.remove(entry)
        assert await keys(redis, prefix) == {f"{prefix}lane_removed:b"}
        assert await lanes.queues.entries("s", "anna") == []

    async def test_the_replica_that_waits_hears_of_it(self, lanes: Lanes, others: Lanes):
        signals = others.replicas.signals()
        await anext(signals)
        await held(lanes, S, "a")
        await lanes.queues.remove(await waits(others, "b"))
        assert await anext(signals) == Signal("removed", S)
        await signals.aclose()

    async def test_a_message_that_left_the_lane_does_not_join_a_turn(
        self, lanes: Lanes, redis: RedisClient, prefix: str
    ):
        hold = await held(lanes, S, "a")
        await lanes.queues.remove(await waits(lanes, "b"))
        opening = [append("a", turn="a")]
        with pytest.raises(LaneChanged):
            await lanes.publish(hold, opening, stage=Stage.OPENED, joined=["b"])
        assert await entries(redis, prefix) == [b"b:removed"]
        await lanes.publish(hold, opening, stage=Stage.OPENED)

    async def test_what_no_version_can_read_is_left_out(self, lanes: Lanes):
        await held(lanes, S, "a")
        await lanes.enqueue(S, "b", "no message")
        assert [entry.message.id for entry in await lanes.queues.entries("s", None)] == []


class TestFullRedis:
    async def test_a_full_redis_lets_a_message_be_removed(
        self, lanes: Lanes, redis: RedisClient, prefix: str, full: None
    ):
        await held(lanes, S, "a")
        entry = await waits(lanes, "b")
        await redis.execute_command("CONFIG", "SET", "maxmemory", "1")
        assert await lanes.queues.entries("s", "anna") == [entry]
        assert (await lanes.queues.remove(entry)).published is not None
        assert await lanes.queues.entries("s", "anna") == []

    async def test_a_full_redis_refuses_messages_and_ends_turns(
        self, lanes: Lanes, others: Lanes, redis: RedisClient, prefix: str, full: None
    ):
        hold = await held(lanes, S, "a")
        await others.enqueue(S, "b", "")
        dead = await held(others, "t", "c")
        await redis.execute_command("CONFIG", "SET", "maxmemory", "1")

        with pytest.raises(StreamFull):
            await lanes.enqueue("u", "d", json.dumps({"text": "x" * 1000}))
        with pytest.raises(StreamFull):
            await lanes.publish(hold, [append("a", turn="a")], stage=Stage.OPENED)

        assert (await lanes.replicas.beat([hold], [])).lost == frozenset()
        await lanes.finish(hold)
        taken = (await lanes.replicas.sweep({others.replicas.name: 0})).taken
        assert {item.id for item in taken} == {dead.id, "b"}
        for item in taken:
            await lanes.finish(item)
        assert await keys(redis, prefix) == set()
