"""The judge of `make storm` sees what is wrong and only that; its model answers as models do."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import httpx
import pytest

from ingest.failures import INTERRUPTED
from proof.evidence import StoredSession, StoreEvidence
from proof.model.expected import VisibleMessage
from proof.storm.external import ExternalServers
from proof.storm.faults import Casualty, Death, PlatformOutage
from proof.storm.journal import AIDE, AgentRun, Ingress, Journal, SentReply, StormMessage
from proof.storm.judge import Evidence, StormFault, judge


class Aftermath:
    """What is left of a storm in one session, as it should be; tests then spoil it."""

    def __init__(self, ingress: Ingress = Ingress.WEBHOOK) -> None:
        self.messages = [StormMessage("s1", place, ingress) for place in range(2)]
        self.messages.append(StormMessage("s1", 0, ingress, waker=AIDE))
        self.journal = Journal()
        self.rows: list[VisibleMessage] = []
        for message in self.messages:
            self.journal.runs.append(AgentRun(message.name, len(self.rows) + 1, at=1.0))
            self.journal.ended[message.name] = message.answer
            if ingress is not Ingress.SOCKET:
                at = float(len(self.rows))
                self.journal.replies[message.turn] = [SentReply(message.answer, at)]
            turn = message.turn
            self.rows.append(VisibleMessage(turn, "user", message.text, turn))
            self.rows.append(VisibleMessage(f"{turn}:reply", "assistant", message.answer, turn))
        self.key = self.messages[0].key
        self.stored = StoreEvidence(sessions={self.key: StoredSession(True, 1, None, 6, self.rows)})
        self.entries = Counter(row.id for row in self.rows)
        self.states = {self.key: "idle"}
        self.deaths: list[Death] = []
        self.outage: PlatformOutage | None = None

    def interrupt(self, place: int) -> StormMessage:
        """Let the replica die that ran this turn, as it should look then."""
        message = self.messages[place]
        self.answer(place, INTERRUPTED)
        self.journal.ended[message.name] = INTERRUPTED
        if message.ingress is not Ingress.SOCKET:
            at = self.journal.replies[message.turn][0].at
            self.journal.replies[message.turn] = [SentReply(INTERRUPTED, at)]
        casualty = Casualty(self.key, message.turn, True, (), followed=False, closed=11.0)
        self.deaths.append(Death(0.5, "r", [casualty]))
        return message

    def answer(self, place: int, text: str) -> None:
        """Put another reply into the store."""
        self.rows[2 * place + 1] = self.rows[2 * place + 1]._replace(content=text)

    def broken(self) -> set[StormFault]:
        """What the judge finds."""
        evidence = Evidence(
            *(self.messages, self.journal, self.deaths, self.entries, self.stored, self.states),
            outage=self.outage,
        )
        return {finding.broken for finding in judge(evidence)}


@pytest.fixture(params=[*Ingress])
def aftermath(request: pytest.FixtureRequest) -> Aftermath:
    return Aftermath(request.param)


def test_nothing_is_found_where_all_is_well(aftermath: Aftermath):
    assert aftermath.broken() == set()


def test_an_interrupted_turn_is_well_where_its_replica_died(aftermath: Aftermath):
    message = aftermath.interrupt(1)
    assert aftermath.broken() == set()
    aftermath.journal.runs = [run for run in aftermath.journal.runs if run.name != message.name]
    assert aftermath.broken() == set()


def test_a_message_that_is_nowhere_is_lost(aftermath: Aftermath):
    del aftermath.rows[-2:]
    assert StormFault.LOST in aftermath.broken()


def test_a_message_that_is_there_twice_is_doubled(aftermath: Aftermath):
    aftermath.rows += aftermath.rows[:2]
    assert StormFault.DOUBLED in aftermath.broken()


def test_a_message_that_nobody_sent_is_seen(aftermath: Aftermath):
    aftermath.rows += [
        VisibleMessage("x", "user", "x", "x"),
        VisibleMessage("x:reply", "assistant", "y", "x"),
    ]
    assert StormFault.DOUBLED in aftermath.broken()


def test_two_user_messages_in_a_row_are_no_order(aftermath: Aftermath):
    aftermath.rows[1], aftermath.rows[2] = aftermath.rows[2], aftermath.rows[1]
    assert StormFault.ORDER in aftermath.broken()


def test_a_reply_to_another_message_is_seen(aftermath: Aftermath):
    aftermath.answer(0, aftermath.messages[1].answer)
    assert StormFault.DOUBLED in aftermath.broken()


def test_an_interruption_without_a_death_is_seen(aftermath: Aftermath):
    aftermath.interrupt(1)
    aftermath.deaths.clear()
    assert aftermath.broken() == {StormFault.INTERRUPTED}


def test_a_second_run_of_the_agent_is_seen(aftermath: Aftermath):
    aftermath.journal.runs.append(aftermath.journal.runs[-1])
    assert aftermath.broken() == {StormFault.AGENT}


def test_an_agent_that_was_not_told_all_is_seen(aftermath: Aftermath):
    aftermath.journal.runs[2] = replace(aftermath.journal.runs[2], lines=3)
    assert aftermath.broken() == {StormFault.AGENT}


def test_a_second_reply_at_the_platform_is_seen():
    aftermath = Aftermath()
    turn = aftermath.messages[0].turn
    aftermath.journal.replies[turn] *= 2
    assert aftermath.broken() == {StormFault.REPLY}


def test_a_parked_reply_may_come_twice_if_its_sender_died_between():
    aftermath = Aftermath()
    turn, replies = aftermath.messages[2].turn, aftermath.journal.replies
    first = replies[turn][0]
    replies[turn].append(first._replace(at=first.at + 20))
    aftermath.deaths = [Death(first.at - 5, "r", [], frozenset({turn}))]
    assert aftermath.broken() == {StormFault.REPLY}, "nothing of it was sent when the replica died"
    aftermath.deaths = [Death(first.at, "r", [])]
    assert aftermath.broken() == {StormFault.REPLY}, "it was not parked then"
    aftermath.deaths = [Death(first.at, "r", [], frozenset({turn}))]
    assert aftermath.broken() == set()
    replies[turn].append(first)
    assert aftermath.broken() == {StormFault.REPLY}, "three times is too often"


def test_a_reply_that_comes_before_an_earlier_one_is_seen():
    aftermath = Aftermath()
    replies = aftermath.journal.replies[aftermath.messages[2].turn]
    replies[0] = replies[0]._replace(at=-1.0)
    assert aftermath.broken() == {StormFault.ARRIVAL}


def test_a_channel_that_parks_nothing_while_its_platform_is_away_is_seen():
    aftermath = Aftermath()
    aftermath.outage = PlatformOutage(1.0, 2.0)
    aftermath.journal.parked["another"] = "slack.storm"
    assert aftermath.broken() == {StormFault.PARKED}
    aftermath.journal.parked[aftermath.messages[1].turn] = "webhook.storm"
    assert aftermath.broken() == set()


def test_a_woken_session_whose_answer_was_not_sent_is_seen():
    aftermath = Aftermath()
    del aftermath.journal.replies[aftermath.messages[2].turn]
    assert aftermath.broken() == {StormFault.REPLY}


def test_what_a_woken_replica_published_is_seen(aftermath: Aftermath):
    message = aftermath.interrupt(1)
    aftermath.entries[f"{message.turn}:reply"] += 1
    assert aftermath.broken() == {StormFault.FENCE}


def test_a_session_that_stays_running_is_seen(aftermath: Aftermath):
    aftermath.states[aftermath.key] = "running"
    assert aftermath.broken() == {StormFault.STATE}


def test_a_sender_that_was_told_something_else_is_seen(aftermath: Aftermath):
    aftermath.journal.ended[aftermath.messages[0].name] = "something else"
    assert aftermath.broken() == {StormFault.TOLD}


def test_a_session_that_is_usable_too_late_is_seen(aftermath: Aftermath):
    aftermath.interrupt(1)
    aftermath.deaths[0].casualties[0].closed = 15.5
    assert aftermath.broken() == {StormFault.LATE}


async def test_the_model_of_storms_says_why_an_answer_ends():
    outside = ExternalServers(Journal(), seed="", longest=0.05)
    said = [{"role": "user", "content": "message s1/0, please answer"}]
    async with outside.served(), httpx.AsyncClient(trust_env=False) as http:
        answer = await http.post(f"{outside.url}/v1/chat/completions", json={"messages": said})
    *chunks, done, _ = answer.text.split("\n\n")
    assert done == "data: [DONE]"
    choices = [json.loads(chunk.removeprefix("data: "))["choices"][0] for chunk in chunks]
    assert "".join(one["delta"]["content"] for one in choices) == "an answer to s1/0 for you"
    assert [one["finish_reason"] for one in choices] == [None, "stop"]
