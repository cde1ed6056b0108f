"""The checker of `make proof` on made-up runs: it sees what is wrong, and only that."""

from __future__ import annotations

from collections import Counter

import pytest

from proof.checker import Fault, check
from proof.evidence import Leftovers, StoredSession, StoreEvidence
from proof.history import Operation, OperationStatus, PublishedHistory, Step
from proof.model.expected import ExpectedOutcome, VisibleMessage, expected_of
from tests import events


def step(fields: events.Fields, poison: str | None = None) -> Step:
    """A step of a publisher."""
    return Step({name: str(value) for name, value in fields.items()}, poison)


class FinishedRun:
    """A finished run of one session, as it should be; tests then spoil it."""

    def __init__(self, *steps: Step, doubtful: int = 0, took: int | None = None) -> None:
        """All steps are confirmed but the last `doubtful` ones, of which the store `took` some."""
        operations = [Operation(each, OperationStatus.ACCEPTED) for each in steps]
        for operation in operations[len(steps) - doubtful :]:
            operation.known = OperationStatus.UNKNOWN
        self.told = PublishedHistory({"s": operations})
        applied = steps[: len(steps) - doubtful + (doubtful if took is None else took)]
        expected = expected_of(applied)
        self.stored = StoreEvidence(
            outcomes=dict(expected.outcomes),
            letters={key: Counter(found) for key, found in expected.letters.items()},
            resolved=len(applied),
        )
        if expected.live is not None:
            self.stored.sessions["s"] = StoredSession(
                expected.live,
                expected.generation,
                expected.name,
                len(expected.rows),
                list(expected.rows),
            )
        self.entries = Counter(each.id for each in applied)
        self.stored.duplicates = {key: count - 1 for key, count in self.entries.items()}

    @property
    def rows(self) -> list[VisibleMessage]:
        """The stored messages, to be spoiled."""
        return self.stored.sessions["s"].rows

    def faults(self) -> set[Fault]:
        """What the checker finds."""
        added = self.entries.total()
        judgement = check(self.told, self.stored, Leftovers(added, True, self.entries))
        return {finding.fault for finding in judgement.findings}


TALK = (
    step(events.user("u1")),
    step(events.reply("a1", turn="u1")),
    step(events.user("u2")),
    step(events.rename("n", "name")),
)


def test_a_store_that_shows_what_was_confirmed_is_right() -> None:
    """Nothing is found where nothing is wrong."""
    assert FinishedRun(*TALK).faults() == set()


@pytest.mark.parametrize("took", [0, 1, 2])
def test_steps_that_were_never_confirmed_may_have_happened_or_not(took: int) -> None:
    """Every beginning of what is in doubt is right."""
    assert FinishedRun(*TALK, doubtful=2, took=took).faults() == set()


def test_a_later_doubtful_step_cannot_have_happened_without_the_earlier_one() -> None:
    """A hole in what is in doubt is a loss."""
    run = FinishedRun(*TALK, doubtful=2)
    del run.rows[-1]
    assert Fault.LOST in run.faults()


def test_a_confirmed_message_that_is_missing_is_lost() -> None:
    """Accepted means stored."""
    run = FinishedRun(*TALK)
    del run.rows[1]
    assert Fault.LOST in run.faults()


def test_a_confirmed_event_without_outcome_is_lost() -> None:
    """Also one that shows no message."""
    run = FinishedRun(*TALK)
    del run.stored.outcomes["n"]
    assert run.faults() == {Fault.LOST}


def test_a_message_that_is_there_twice_is_duplicated() -> None:
    """An id makes one row."""
    run = FinishedRun(*TALK)
    run.rows.append(run.rows[0])
    assert Fault.DUPLICATED in run.faults()


def test_messages_in_another_order_are_reordered() -> None:
    """The publisher's order is the session's."""
    run = FinishedRun(*TALK)
    run.rows.reverse()
    assert run.faults() == {Fault.REORDERED}


def test_a_message_of_an_ended_generation_is_resurrected() -> None:
    """What a delete removed never comes back."""
    run = FinishedRun(*TALK, step(events.delete("d")), step(events.user("u3")))
    run.rows.insert(0, VisibleMessage("u1", "user", "hello", None))
    assert Fault.RESURRECTED in run.faults()


def test_a_session_that_lives_after_its_delete_is_resurrected() -> None:
    """A late reply does not open a session again."""
    run = FinishedRun(*TALK, step(events.delete("d")), step(events.reply("a2", turn="u2")))
    run.stored.sessions["s"].live = True
    assert run.faults() == {Fault.RESURRECTED}


def test_a_rollback_of_another_message_is_seen() -> None:
    """The target must go, and its equal must stay."""
    again = step(events.user("u2"))
    run = FinishedRun(step(events.user("u1")), again, step(events.rollback("r", target="u1")))
    run.rows[0] = VisibleMessage("u1", "user", "hello", None)
    assert {Fault.LOST, Fault.RESURRECTED} <= run.faults()


def test_another_text_is_altered() -> None:
    """Text out is text in."""
    run = FinishedRun(*TALK)
    run.rows[0] = run.rows[0]._replace(content="hell")
    assert run.faults() == {Fault.ALTERED}


def test_rows_and_outcomes_that_nobody_published_are_foreign() -> None:
    """No row without an invoke."""
    run = FinishedRun(*TALK)
    run.rows.append(VisibleMessage("x", "user", "hello", None))
    run.stored.outcomes["y"] = ExpectedOutcome("applied")
    assert Fault.FOREIGN in run.faults()


def test_an_event_that_was_refused_leaves_nothing() -> None:
    """Fail means none."""
    run = FinishedRun(*TALK)
    refused = Operation(step(events.user("bad")), OperationStatus.REFUSED)
    run.told.sessions["s"].append(refused)
    assert run.faults() == set()
    run.stored.outcomes["bad"] = ExpectedOutcome("applied")
    assert run.faults() == {Fault.FOREIGN}


def test_another_outcome_than_the_contracts_is_seen() -> None:
    """Outcomes are part of the promise."""
    run = FinishedRun(*TALK)
    run.stored.outcomes["n"] = ExpectedOutcome("noop", "no_session")
    assert run.faults() == {Fault.OUTCOME}


def test_a_conflict_without_a_letter_is_seen() -> None:
    """An id that is used for two things is never dropped in silence."""
    run = FinishedRun(*TALK, step(events.rename("u1", "conflict")))
    assert run.faults() == set()
    run.stored.letters.clear()
    assert run.faults() == {Fault.LETTERS}


def test_a_good_event_that_was_buried_is_seen() -> None:
    """A neighbour's poison condemns nobody."""
    run = FinishedRun(*TALK, step(events.poison("p"), poison="unknown_type"))
    assert run.faults() == set()
    run.stored.letters["u1"] = Counter(apply_failed=1)
    assert run.faults() == {Fault.LETTERS}


def test_entries_that_nobody_resolved_are_counted() -> None:
    """Redis' count and the store's must agree."""
    run = FinishedRun(*TALK)
    run.stored.resolved -= 1
    assert run.faults() == {Fault.COUNT}


def test_a_read_without_what_was_confirmed_before_it_is_stale() -> None:
    """A client that publishes and then reads sees it, or is told to wait."""
    run = FinishedRun(*TALK)
    run.told.stale.append("u2")
    assert run.faults() == {Fault.STALE}


def test_damage_is_reported() -> None:
    """A file that SQLite calls damaged is no proof of anything."""
    run = FinishedRun(*TALK)
    run.stored.damage.append("row 3 missing from index")
    assert run.faults() == {Fault.DAMAGE}
