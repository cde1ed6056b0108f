"""A turn, from the message that opens it to its end in the store, whatever comes between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import httpx
import pytest

from harness.waiting import wait_until
from ingest.agents.base import Progress, Reply
from ingest.counters import CounterName
from ingest.failures import ABORTED, FAILED, INTERRUPTED, TIMED_OUT, AgentError
from ingest.prompt import PromptMessage, ToolCall, dump_calls, dump_result
from ingest.turns.live import Ending, TurnEnd
from sessions.errors import LaneFull
from sessions.models import Event, EventType
from sessions.process.settings import Settings
from sessions.stream.lanes.inbound import Inbound
from sessions.stream.lanes.values import Place, Stage, lane_of
from sessions.stream.redis import connect
from tests.ingest.replicas import HeldScript, Replica, ReplicaFleet, ended, message, say
from tests.leading import Leading


@pytest.fixture
async def fleet(settings: Settings, leading: Leading) -> AsyncIterator[ReplicaFleet]:
    async with ReplicaFleet.of(settings) as fleet:
        yield fleet


def failing(error: Exception):
    async def script(session: str, lines: Sequence[PromptMessage], progress: Progress) -> Reply:
        raise error

    return script


class Mailbox:
    """A delivery that keeps what it was given."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str | None]] = []

    async def deliver(self, inbound: Inbound, end: TurnEnd | None) -> None:
        self.sent.append((inbound.id, end.text if end is not None else None))


class TestReply:
    async def test_a_message_and_its_reply_are_stored_in_this_order(self, fleet: ReplicaFleet):
        replica = await fleet.replica()
        end = await ended(await say(replica, "hello"))
        assert (end.ending, end.text) == (Ending.REPLIED, "re: hello")
        assert await fleet.messages() == [("user", "hello"), ("assistant", "re: hello")]
        assert await fleet.state() == "idle"

    async def test_the_message_is_stored_before_the_agent_is_asked(self, fleet: ReplicaFleet):
        gate = HeldScript()
        replica = await fleet.replica(gate)
        turn = await say(replica, "hello")
        await wait_until(lambda: gate.waiting)
        assert await fleet.messages() == [("user", "hello")]
        assert await fleet.state() == "running"
        gate.open()
        await ended(turn)

    async def test_the_agent_reads_what_the_session_held_before(self, fleet: ReplicaFleet):
        prompts: list[list[str]] = []

        async def script(session: str, lines: Sequence[PromptMessage], progress: Progress) -> Reply:
            prompts.append([line.written for line in lines])
            return Reply("ok")

        replica = await fleet.replica(script)
        for text in ("one", "two"):
            await ended(await say(replica, text))
        assert prompts == [["one"], ["one", "ok", "two"]]

    async def test_what_another_program_published_a_moment_ago_is_read(
        self, fleet: ReplicaFleet, leading: Leading
    ):
        read: list[str] = []

        async def script(session: str, lines: Sequence[PromptMessage], progress: Progress) -> Reply:
            read.extend(line.written for line in lines)
            return Reply("ok")

        replica = await fleet.replica(script)
        await leading.publish(
            Event("n", EventType.APPEND, "s", role="assistant", content="note", agent="main")
        )
        await ended(await say(replica, "hello"))
        assert read == ["note", "hello"]

    async def test_a_message_that_waited_is_answered_in_view_of_what_came_meanwhile(
        self, fleet: ReplicaFleet
    ):
        gate = HeldScript()
        read: list[str] = []

        async def script(session: str, lines: Sequence[PromptMessage], progress: Progress) -> Reply:
            read.extend(line.written for line in lines)
            return Reply("ok")

        one, other = await fleet.replica(gate), await fleet.replica(script)
        first = await say(one, "one")
        await wait_until(lambda: gate.waiting)
        second = await say(other, "two")
        gate.open()
        await ended(first)
        await ended(second)
        assert read == ["one", "re: one", "two"]

    async def test_tool_turns_are_stored_between_message_and_reply(self, fleet: ReplicaFleet):
        between = [
            ("assistant", dump_calls([ToolCall("c", "sessions_list", "{}")], None)),
            ("tool", dump_result("c", "none")),
        ]

        async def script(session: str, lines: Sequence[PromptMessage], progress: Progress) -> Reply:
            return Reply("done", between)

        replica = await fleet.replica(script)
        await ended(await say(replica, "look"))
        assert await fleet.messages() == [("user", "look"), *between, ("assistant", "done")]

    async def test_every_entry_of_a_turn_has_an_id_that_follows_from_the_message(
        self, fleet: ReplicaFleet
    ):
        replica = await fleet.replica()
        await ended(await say(replica, "hello", id="m1"))
        assert [row["id"] for row in await fleet.rows()] == ["m1", "m1:reply"]


class TestOrder:
    async def test_messages_at_once_become_turns_one_after_the_other(self, fleet: ReplicaFleet):
        replicas = [await fleet.replica() for _ in range(3)]
        turns = [await say(replicas[n % 3], f"m{n}") for n in range(8)]
        for turn in turns:
            assert (await ended(turn)).ending is Ending.REPLIED
        assert await fleet.messages() == [
            pair for n in range(8) for pair in (("user", f"m{n}"), ("assistant", f"re: m{n}"))
        ]

    async def test_the_ninth_message_at_once_is_refused_and_not_stored(self, fleet: ReplicaFleet):
        gate = HeldScript()
        replica, other = await fleet.replica(gate), await fleet.replica()
        turns = [await say(replica, f"m{n}") for n in range(8)]
        with pytest.raises(LaneFull):
            await say(other, "m8")
        gate.open()
        for turn in turns:
            await ended(turn)
        assert ("user", "m8") not in await fleet.messages()

    async def test_a_message_that_waited_too_long_is_taken_back(self, fleet: ReplicaFleet):
        gate = HeldScript()
        replica = await fleet.replica(gate, wait=0.1)
        first = await say(replica, "first")
        end = await ended(await say(replica, "second"))
        assert (end.ending, end.code, end.retryable) == (
            *(Ending.REFUSED, "SESSION_QUEUE_TIMEOUT", True),
        )
        gate.open()
        await ended(first)
        assert await fleet.messages() == [("user", "first"), ("assistant", "re: first")]

    async def test_a_replica_beats_on_while_lanes_that_are_free_are_slow_to_take(
        self, fleet: ReplicaFleet
    ):
        gate, slow = HeldScript(), asyncio.Event()
        replica, other = await fleet.replica(), await fleet.replica(gate)
        first = await say(other, "first")
        second = await say(replica, "second")
        take = replica.lanes.take

        async def take_slowly(lane: str, id: str) -> Place | None:
            await slow.wait()
            return await take(lane, id)

        replica.lanes.take = take_slowly
        gate.open()
        await ended(first)
        before = await beat_of(replica)
        await wait_until(lambda: _has_beaten(replica, before + 10))
        slow.set()
        assert (await ended(second)).ending is Ending.REPLIED

    async def test_an_acknowledged_message_waits_as_long_as_it_takes(self, fleet: ReplicaFleet):
        gate = HeldScript()
        replica = await fleet.replica(gate, wait=0.05)
        first = await say(replica, "first")
        second = await say(replica, "second", attended=False)
        await wait_until(lambda: gate.waiting)
        await asyncio.wait([second.end], timeout=0.2)
        gate.open()
        await ended(first)
        assert (await ended(second)).ending is Ending.REPLIED


class TestOnce:
    async def test_a_redelivery_while_the_turn_runs_is_the_same_turn(self, fleet: ReplicaFleet):
        gate = HeldScript()
        replica, other = await fleet.replica(gate), await fleet.replica()
        first = await say(replica, "hello", id="m1")
        assert await say(replica, "hello", id="m1") is first
        elsewhere = await ended(await say(other, "hello", id="m1"))
        gate.open()
        await ended(first)
        assert elsewhere.ending is Ending.ELSEWHERE
        assert (replica.agent.asked, other.agent.asked) == (["hello"], [])
        assert len(await fleet.messages()) == 2

    async def test_a_redelivery_after_the_turn_asks_no_agent(self, fleet: ReplicaFleet):
        replica, other = await fleet.replica(), await fleet.replica()
        await ended(await say(replica, "hello", id="m1"))
        for again in (replica, other):
            await ended(await say(again, "hello", id="m1"))
        assert (replica.agent.asked, other.agent.asked) == (["hello"], [])
        assert len(await fleet.messages()) == 2
        assert await fleet.state() == "idle"

    async def test_a_redelivery_after_a_delete_brings_nothing_back(
        self, fleet: ReplicaFleet, leading: Leading
    ):
        replica = await fleet.replica()
        await ended(await say(replica, "hello", id="m1"))
        await wait_until(lambda: _is_free(replica))
        await leading.publish(Event("d", EventType.DELETE, session="s"))
        await ended(await say(replica, "hello", id="m1"))
        assert replica.agent.asked == ["hello"]
        assert await fleet.messages() == []

    async def test_a_reply_is_delivered_once_whatever_is_redelivered(self, fleet: ReplicaFleet):
        mailbox = Mailbox()
        replica = await fleet.replica(delivery=mailbox)
        for _ in range(3):
            turn = await say(replica, "hello", id="m1", attended=False, reply_to="cli.x")
            await ended(turn)
        await wait_until(lambda: mailbox.sent)
        assert mailbox.sent == [("m1", "re: hello")]


class TestFailure:
    @pytest.mark.parametrize(
        "error",
        [
            AgentError("this text is not allowed", status=400),
            AgentError("it cannot be processed", status=422),
            AgentError("no images", capability="vision"),
        ],
    )
    async def test_a_message_that_can_never_be_answered_leaves_no_trace(
        self, fleet: ReplicaFleet, error: AgentError
    ):
        replica = await fleet.replica(failing(error))
        end = await ended(await say(replica, "hello"))
        assert (end.ending, end.text) == (Ending.FAILED, str(error))
        assert await fleet.messages() == []
        assert await fleet.state() == "error"

    async def test_what_another_agent_wrote_meanwhile_stays(
        self, fleet: ReplicaFleet, leading: Leading
    ):
        async def script(session: str, lines: Sequence[PromptMessage], progress: Progress) -> Reply:
            await leading.publish(
                Event("x", EventType.APPEND, session="s", role="user", content="from another")
            )
            raise AgentError("not allowed", status=400)

        replica = await fleet.replica(script)
        end = await ended(await say(replica, "hello"))
        assert end.code == "PROVIDER_ERROR"
        assert await fleet.messages() == [("user", "from another")]

    @pytest.mark.parametrize(
        "error",
        [
            AgentError("overloaded", status=529),
            AgentError("slow down", status=429),
            AgentError("Incorrect API key provided", status=401),
            AgentError("the model does not exist", status=404),
            AgentError("context_length_exceeded", status=400),
            RuntimeError("a defect"),
        ],
    )
    async def test_any_other_error_closes_the_turn(self, fleet: ReplicaFleet, error: Exception):
        replica = await fleet.replica(failing(error))
        assert (await ended(await say(replica, "hello"))).ending is Ending.FAILED
        assert await fleet.messages() == [("user", "hello"), ("assistant", FAILED)]
        assert await fleet.state() == "error"

    @pytest.mark.parametrize(
        ("error", "marker"),
        [
            (AgentError("not allowed", status=400), FAILED),
            (RuntimeError("a defect"), FAILED),
            (None, TIMED_OUT),
        ],
    )
    async def test_what_was_shown_is_stored_above_the_marker_however_the_turn_fails(
        self, fleet: ReplicaFleet, error: Exception | None, marker: str
    ):
        async def script(session: str, lines: Sequence[PromptMessage], progress: Progress) -> Reply:
            progress.chunk("half a ")
            progress.chunk("word")
            if error is not None:
                raise error
            await asyncio.Event().wait()
            raise AssertionError

        mailbox = Mailbox()
        replica = await fleet.replica(script, limit=0.3, delivery=mailbox)
        end = await ended(await say(replica, "hello", reply_to="cli.x"))
        kept = f"half a word\n\n{marker}"
        assert await fleet.messages() == [("user", "hello"), ("assistant", kept)]
        assert (end.ending, end.stored) == (Ending.FAILED, kept)

    async def test_a_turn_that_takes_too_long_is_closed(self, fleet: ReplicaFleet):
        replica = await fleet.replica(HeldScript(), limit=0.1)
        await ended(await say(replica, "hello"))
        assert await fleet.messages() == [("user", "hello"), ("assistant", TIMED_OUT)]
        assert await fleet.state() == "error"

    async def test_a_reply_that_cannot_be_stored_closes_the_turn(self, fleet: ReplicaFleet):
        async def script(session: str, lines: Sequence[PromptMessage], progress: Progress) -> Reply:
            return Reply("x" * (256 * 1024 + 1))

        replica = await fleet.replica(script)
        await ended(await say(replica, "hello"))
        assert await fleet.messages() == [("user", "hello"), ("assistant", FAILED)]

    async def test_a_message_that_cannot_be_stored_is_refused_and_the_session_goes_on(
        self, fleet: ReplicaFleet
    ):
        replica = await fleet.replica()
        end = await ended(await say(replica, "x" * (256 * 1024 + 1)))
        assert (end.ending, end.retryable) == (Ending.REFUSED, False)
        assert (await ended(await say(replica, "hello"))).ending is Ending.REPLIED
        assert await fleet.messages() == [("user", "hello"), ("assistant", "re: hello")]

    async def test_after_a_failure_the_session_goes_on(self, fleet: ReplicaFleet):
        replica = await fleet.replica(failing(AgentError("overloaded", status=503)))
        await ended(await say(replica, "one"))
        replica.agent.script = None
        assert (await ended(await say(replica, "two"))).ending is Ending.REPLIED
        assert await fleet.state() == "idle"

    async def test_a_prompt_that_was_too_long_is_tried_once_more_and_shorter(
        self, fleet: ReplicaFleet
    ):
        async def script(session: str, lines: Sequence[PromptMessage], progress: Progress) -> Reply:
            if len(lines) > 12:
                raise AgentError("maximum context length exceeded", status=400)
            return Reply("ok")

        replica = await fleet.replica(script)
        for number in range(8):
            assert (await ended(await say(replica, f"m{number}"))).ending is Ending.REPLIED
        assert len(await fleet.messages()) == 16

    async def test_while_the_store_is_behind_nothing_is_stored_and_the_user_may_try_again(
        self, fleet: ReplicaFleet, leading: Leading
    ):
        replica = await fleet.replica()
        await leading.pause()
        await leading.publish(Event("x", EventType.APPEND, session="s", role="user", content="x"))
        end = await ended(await say(replica, "hello"))
        assert (end.ending, end.code, end.retryable) == (Ending.REFUSED, "STORE_BEHIND", True)
        await leading.resume()
        assert await fleet.messages() == [("user", "x")]

    async def test_a_turn_does_not_wait_for_the_backlog_of_other_sessions(
        self, fleet: ReplicaFleet, leading: Leading
    ):
        gate = HeldScript()
        replica = await fleet.replica(gate)
        await leading.pause()
        await leading.publish(Event("x", EventType.APPEND, session="t", role="user", content="x"))
        turn = await say(replica, "hello")
        await wait_until(lambda: replica.queue.running(lane_of("s", "main")))
        await wait_until(lambda: _is_on_stream(leading, 2))
        await leading.resume()
        gate.open()
        assert (await ended(turn)).ending is Ending.REPLIED


async def _is_on_stream(leading: Leading, count: int) -> bool:
    return (await leading.stream.facts()).length >= count


class TestAbort:
    async def test_an_abort_keeps_what_was_said_and_marks_it(self, fleet: ReplicaFleet):
        async def script(session: str, lines: Sequence[PromptMessage], progress: Progress) -> Reply:
            progress.chunk("once upon")
            progress.chunk(" a time")
            await asyncio.Event().wait()
            raise AssertionError

        replica, other = await fleet.replica(script), await fleet.replica()
        turn = await say(replica, "tell me")
        await wait_until(lambda: turn.said)
        assert await other.lanes.abort("s", "main")
        assert (await ended(turn)).ending is Ending.ABORTED
        assert await fleet.messages() == [
            ("user", "tell me"),
            ("assistant", f"once upon a time\n\n{ABORTED}"),
        ]
        assert await fleet.state() == "idle"

    async def test_an_agent_that_misses_its_cancellation_is_cancelled_again(
        self, fleet: ReplicaFleet
    ):
        missed: list[bool] = []

        async def script(session: str, lines: Sequence[PromptMessage], progress: Progress) -> Reply:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                missed.append(True)
            await asyncio.Event().wait()
            return Reply("too late")

        replica = await fleet.replica(script)
        turn = await say(replica, "hello")
        await wait_until(lambda: replica.agent.asked)
        assert await replica.lanes.abort("s", "main")
        assert (await ended(turn)).ending is Ending.ABORTED
        assert missed == [True]
        agents = [task for task in asyncio.all_tasks() if task.get_name().startswith("agent ")]
        assert agents == []

    async def test_the_messages_behind_an_aborted_turn_run(self, fleet: ReplicaFleet):
        replica = await fleet.replica(HeldScript())
        first = await say(replica, "one")
        await wait_until(lambda: replica.agent.asked)
        second = await say(replica, "two")
        replica.agent.script = None
        await replica.lanes.abort("s", "main")
        await ended(first)
        assert (await ended(second)).text == "re: two"

    async def test_after_a_reset_a_late_reply_is_not_stored(
        self, fleet: ReplicaFleet, leading: Leading
    ):
        gate = HeldScript()
        replica = await fleet.replica(gate)
        turn = await say(replica, "hello")
        await wait_until(lambda: gate.waiting)
        await leading.publish(Event("r", EventType.RESET, session="s"))
        gate.open()
        await ended(turn)
        assert await fleet.messages() == []
        assert await fleet.state() == "idle"


class Nonsense(httpx.AsyncBaseTransport):
    """The api behind a proxy that answers so many requests itself, with a page of its own."""

    def __init__(self, api: httpx.AsyncClient, times: int) -> None:
        self._api = api
        self.left = times

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.left > 0:
            self.left -= 1
            return httpx.Response(200, text="<html>welcome</html>")
        return await self._api.send(request)


_NEVER: Any = "never"


class TestDefects:
    """Errors that nobody foresaw, in the turn itself instead of in its agent."""

    async def test_a_turn_that_fails_again_and_again_is_closed_and_its_session_goes_on(
        self, fleet: ReplicaFleet, caplog: pytest.LogCaptureFixture
    ):
        replica = await fleet.replica()
        # What no version writes into a lane, and no entry can hold.
        impossible = replace(message("SECRET"), at=_NEVER)
        turn = await replica.queue.accept(impossible, attended=False)
        await ended(turn)
        await wait_until(lambda: _is_free(replica))
        assert await fleet.messages() == [("user", "SECRET"), ("assistant", FAILED)]
        assert await fleet.state() == "error"
        assert (await ended(await say(replica, "two"))).ending is Ending.REPLIED
        counters = replica.queue.counters
        assert (counters.of(CounterName.TURN_ERRORS), counters.of(CounterName.TURNS_GIVEN_UP)) == (
            3,
            1,
        )
        lines = [record.getMessage() for record in caplog.records]
        assert len([record for record in caplog.records if record.exc_info]) == 1
        assert [line for line in lines if "is given up: agent main, session 's'" in line]
        assert not [line for line in lines if "SECRET" in line]

    @pytest.mark.parametrize(("times", "says"), [(2, "re: hello"), (9, FAILED)])
    async def test_an_error_of_a_moment_is_survived_and_a_lasting_one_closes_the_turn(
        self, fleet: ReplicaFleet, times: int, says: str
    ):
        api = fleet.api
        async with httpx.AsyncClient(transport=Nonsense(api, times), base_url=api.base_url) as odd:
            odd.headers.update(api.headers)
            fleet.api = odd
            replica = await fleet.replica()
            await say(replica, "hello", attended=False)
            await wait_until(lambda: _is_free(replica))
            fleet.api = api
            assert await fleet.messages() == [("user", "hello"), ("assistant", says)]

    async def test_a_delivery_with_a_defect_does_not_hold_its_session(self, fleet: ReplicaFleet):
        class Broken(Mailbox):
            async def deliver(self, inbound: Inbound, end: TurnEnd | None) -> None:
                await super().deliver(inbound, end)
                raise KeyError("SECRET")

        mailbox = Broken()
        replica = await fleet.replica(delivery=mailbox)
        await say(replica, "hello", id="m1", attended=False, reply_to="cli.x")
        await wait_until(lambda: len(mailbox.sent) == 3)
        await wait_until(lambda: _is_free(replica))
        assert mailbox.sent == [("m1", "re: hello"), ("m1", None), ("m1", None)]
        assert (await ended(await say(replica, "two"))).ending is Ending.REPLIED

    async def test_a_command_with_a_defect_is_given_up_without_a_trace(self, fleet: ReplicaFleet):
        class Broken(Mailbox):
            async def deliver(self, inbound: Inbound, end: TurnEnd | None) -> None:
                raise KeyError("SECRET")

        replica = await fleet.replica(delivery=Broken())
        await say(replica, "/new", command="new", attended=False, reply_to="cli.x")
        await wait_until(lambda: _is_free(replica))
        assert (await ended(await say(replica, "two"))).ending is Ending.REPLIED
        assert await fleet.messages() == [("user", "two"), ("assistant", "re: two")]


class TestDeath:
    async def test_a_dead_replicas_turn_is_closed_and_its_waiting_messages_run_elsewhere(
        self, fleet: ReplicaFleet
    ):
        dead, living = await fleet.replica(HeldScript()), await fleet.replica()
        await say(dead, "one")
        await wait_until(lambda: dead.agent.asked)
        await say(dead, "two")
        mine = await say(living, "three")

        await dead.freeze()

        assert (await ended(mine)).ending is Ending.REPLIED
        assert await fleet.messages() == [
            *(("user", "one"), ("assistant", INTERRUPTED)),
            *(("user", "two"), ("assistant", "re: two")),
            *(("user", "three"), ("assistant", "re: three")),
        ]
        assert await fleet.state() == "idle"

    async def test_a_replica_that_wakes_publishes_nothing_into_a_turn_that_was_taken_over(
        self, fleet: ReplicaFleet
    ):
        gate = HeldScript()
        frozen, living = await fleet.replica(gate), await fleet.replica()
        turn = await say(frozen, "hello")
        await wait_until(lambda: gate.waiting)
        await frozen.freeze()
        await wait_until(lambda: _has_ended(fleet))

        gate.open()
        await frozen.thaw()

        assert (await ended(turn)).ending is Ending.ELSEWHERE
        assert await fleet.messages() == [("user", "hello"), ("assistant", INTERRUPTED)]
        frozen.agent.script = None
        assert (await ended(await say(frozen, "again"))).ending is Ending.REPLIED
        assert living.agent.asked == []

    async def test_a_replica_that_was_declared_dead_while_idle_takes_messages_again(
        self, fleet: ReplicaFleet
    ):
        replica, other = await fleet.replica(), await fleet.replica()
        await replica.freeze()
        beats = await other.lanes.replicas.beats()
        await other.lanes.replicas.sweep(
            {replica.lanes.replicas.name: beats[replica.lanes.replicas.name]}
        )
        turn = await say(replica, "hello")
        await replica.thaw()
        assert (await ended(turn)).ending is Ending.REPLIED

    async def test_a_message_whose_turn_was_not_opened_yet_runs_elsewhere(
        self, fleet: ReplicaFleet, leading: Leading
    ):
        dying = await fleet.replica()
        await dying.freeze()
        lane = message("hello", id="m1")
        await dying.lanes.enqueue(lane_of("s", "main"), lane.id, lane.dump())
        living = await fleet.replica()
        await wait_until(lambda: living.agent.asked)
        await wait_until(lambda: _has_ended(fleet))
        assert await fleet.messages() == [("user", "hello"), ("assistant", "re: hello")]

    async def test_a_reply_that_was_stored_but_not_sent_is_sent_by_another(
        self, fleet: ReplicaFleet
    ):
        class Stuck(Mailbox):
            async def deliver(self, inbound: Inbound, end: TurnEnd | None) -> None:
                await asyncio.Event().wait()

        mailbox = Mailbox()
        dying = await fleet.replica(delivery=Stuck())
        await fleet.replica(delivery=mailbox)
        await say(dying, "hello", id="m1", attended=False, reply_to="cli.x")
        await wait_until(lambda: _has_ended(fleet))
        await dying.freeze()
        await wait_until(lambda: mailbox.sent)
        assert mailbox.sent == [("m1", None)]
        assert await fleet.messages() == [("user", "hello"), ("assistant", "re: hello")]

    async def test_a_redelivery_that_was_cut_off_does_not_close_the_answered_turn_again(
        self, fleet: ReplicaFleet
    ):
        first = await fleet.replica()
        await ended(await say(first, "hello", id="m1"))
        dying = await fleet.replica()
        again = message("hello", id="m1")
        await dying.freeze()
        place = await dying.lanes.enqueue(lane_of("s", "main"), again.id, again.dump())
        assert place.hold is not None
        await dying.lanes.publish(place.hold, [again.opening()], stage=Stage.OPENED)
        await wait_until(lambda: _is_free(dying))
        assert await fleet.messages() == [("user", "hello"), ("assistant", "re: hello")]
        assert await fleet.state() == "idle"

    async def test_a_stopped_replica_closes_its_turn_and_leaves_the_rest_to_others(
        self, fleet: ReplicaFleet, settings: Settings
    ):
        async with ReplicaFleet.of(settings) as closing:
            leaving = await closing.replica(HeldScript())
            await say(leaving, "one")
            await wait_until(lambda: leaving.agent.asked)
            await say(leaving, "two", attended=False)
        living = await fleet.replica()
        await wait_until(lambda: living.agent.asked == ["two"])
        await wait_until(lambda: _is_free(living))
        assert await fleet.messages() == [
            *(("user", "one"), ("assistant", INTERRUPTED)),
            *(("user", "two"), ("assistant", "re: two")),
        ]


class TestLostRedis:
    """Redis loses everything that it held: streams, lanes, heartbeats."""

    @staticmethod
    async def flush(fleet: ReplicaFleet, leading: Leading) -> None:
        assert fleet.settings.redis_url is not None
        async with aclosing(connect(fleet.settings.redis_url)) as redis:
            await redis.execute_command("FLUSHALL")
        await leading.pause()
        await leading.begin_epoch()
        await leading.resume()

    async def test_a_turn_that_runs_then_is_closed_and_the_session_goes_on(
        self, fleet: ReplicaFleet, leading: Leading
    ):
        gate = HeldScript()
        replica = await fleet.replica(gate)
        await fleet.replica()
        turn = await say(replica, "hello")
        await wait_until(lambda: gate.waiting)

        await self.flush(fleet, leading)

        await wait_until(lambda: _has_ended(fleet))
        assert await fleet.messages() == [("user", "hello"), ("assistant", INTERRUPTED)]
        assert await fleet.state() == "idle"
        assert (await ended(turn)).ending is Ending.ELSEWHERE
        replica.agent.script = None
        assert (await ended(await say(replica, "again"))).ending is Ending.REPLIED

    async def test_a_turn_that_ends_before_anybody_noticed_is_closed_too(
        self, fleet: ReplicaFleet, leading: Leading
    ):
        gate = HeldScript()
        replica = await fleet.replica(gate)
        await say(replica, "hello")
        await wait_until(lambda: gate.waiting)
        await replica.freeze()

        await self.flush(fleet, leading)
        gate.open()

        await wait_until(lambda: _has_ended(fleet))
        assert await fleet.messages() == [("user", "hello"), ("assistant", INTERRUPTED)]
        assert await fleet.state() == "idle"

    async def test_a_turn_whose_reply_was_lost_on_its_way_to_the_store_is_closed(
        self, fleet: ReplicaFleet, leading: Leading
    ):
        gate = HeldScript()
        replica = await fleet.replica(gate)
        turn = await say(replica, "hello")
        await wait_until(lambda: gate.waiting)
        await leading.pause()
        gate.open()
        assert (await ended(turn)).ending is Ending.REPLIED

        await self.flush(fleet, leading)

        await wait_until(lambda: _has_ended(fleet))
        assert await fleet.messages() == [("user", "hello"), ("assistant", INTERRUPTED)]
        assert await fleet.state() == "idle"
        assert replica.agent.asked == ["hello"]

    async def test_turns_that_ended_well_are_not_touched(
        self, fleet: ReplicaFleet, leading: Leading
    ):
        replica = await fleet.replica()
        for text in ("one", "two"):
            await ended(await say(replica, text))
        await wait_until(lambda: _has_all(fleet, 4))
        before = replica.lanes.replicas.name

        await self.flush(fleet, leading)

        await wait_until(lambda: replica.lanes.replicas.name != before)
        assert (await ended(await say(replica, "three"))).ending is Ending.REPLIED
        assert await fleet.messages() == [
            pair
            for text in ("one", "two", "three")
            for pair in (("user", text), ("assistant", f"re: {text}"))
        ]
        assert replica.agent.asked == ["one", "two", "three"]

    async def test_a_message_that_waited_is_answered_all_the_same(
        self, fleet: ReplicaFleet, leading: Leading
    ):
        gate = HeldScript()
        replica = await fleet.replica(gate)
        await say(replica, "one", attended=False)
        await wait_until(lambda: gate.waiting)
        await say(replica, "two", attended=False)

        await self.flush(fleet, leading)
        replica.agent.script = None
        gate.open()

        await wait_until(lambda: replica.agent.asked[-1] == "two")
        await wait_until(lambda: _is_free(replica))
        assert ("assistant", "re: two") in await fleet.messages()
        assert replica.agent.asked == ["one", "two"]
        assert await fleet.state() == "idle"

    async def test_a_redelivery_closes_a_turn_that_nobody_knows_of_any_more(
        self, fleet: ReplicaFleet, leading: Leading
    ):
        forgotten = message("hello", id="m1")
        await leading.publish(forgotten.opening())
        replica = await fleet.replica()

        end = await ended(await say(replica, "hello", id="m1"))

        assert (end.ending, end.text) == (Ending.FAILED, INTERRUPTED)
        assert await fleet.messages() == [("user", "hello"), ("assistant", INTERRUPTED)]
        assert replica.agent.asked == []


async def _has_all(fleet: ReplicaFleet, count: int) -> bool:
    return len(await fleet.messages()) == count


async def _has_ended(fleet: ReplicaFleet) -> bool:
    return [role for role, _ in await fleet.messages()][-1:] == ["assistant"]


async def beat_of(replica: Replica) -> int:
    return (await replica.lanes.replicas.beats())[replica.lanes.replicas.name]


async def _has_beaten(replica: Replica, beat: int) -> bool:
    return await beat_of(replica) >= beat


async def _is_free(replica) -> bool:
    return await replica.lanes.at_work(lane_of("s", "main")) is None
