"""Compares what publishers were told with what the store shows.

For each session the model says what must be visible. Where the last operations of a session were
never answered, every beginning of them may have happened, and the store may agree with any.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from proof.evidence import Leftovers, StoredSession, StoreEvidence
from proof.history import Operation, OperationStatus, PublishedHistory, Step
from proof.model.expected import ExpectedSession, VisibleMessage, expected_of


class Fault(StrEnum):
    """A promise that was broken."""

    LOST = "lost"
    DUPLICATED = "duplicated"
    REORDERED = "reordered"
    RESURRECTED = "resurrected"
    ALTERED = "altered"
    FOREIGN = "foreign"
    OUTCOME = "outcome"
    LETTERS = "letters"
    SESSION = "session"
    COUNT = "count"
    DAMAGE = "damage"
    STALE = "stale"


@dataclass(frozen=True)
class Finding:
    """One broken promise, in words."""

    fault: Fault
    text: str


@dataclass
class Judgement:
    """What the checker found; nothing is what should be found."""

    events: int = 0
    sessions: int = 0
    reads: int = 0
    findings: list[Finding] = field(default_factory=list[Finding])

    @property
    def counts(self) -> Counter[Fault]:
        """Findings by fault."""
        return Counter(finding.fault for finding in self.findings)


def check(
    told: PublishedHistory,
    stored: StoreEvidence,
    leftovers: Leftovers | None,
    *,
    excused: Collection[str] = frozenset(),
) -> Judgement:
    """Judge a finished run; without leftovers the counts of Redis are not compared.

    `excused` sessions lost entries by the nature of an accident and are not looked into.
    """
    judgement = Judgement(told.accepted, len(told.sessions), told.reads)
    for key, operations in told.sessions.items():
        if key not in excused:
            judgement.findings += _check_session(key, operations, stored, leftovers)
    judgement.findings += _check_strangers(told, stored)
    judgement.findings += [Finding(Fault.DAMAGE, text) for text in stored.damage]
    judgement.findings += [
        Finding(Fault.STALE, f"a fresh read did not show {event_id}") for event_id in told.stale
    ]
    if leftovers is not None:
        judgement.findings += _check_counts(stored, leftovers)
    return judgement


# -- one session -------------------------------------------------------------------------------


def _check_session(
    key: str, operations: Sequence[Operation], stored: StoreEvidence, leftovers: Leftovers | None
) -> list[Finding]:
    """What is wrong with a session, by the reading of its history that comes closest."""
    found = stored.sessions.get(key)
    readings = [
        _compare(key, steps, operations, found, stored, leftovers)
        for steps in possible_histories(operations)
    ]
    return min(readings, key=len)


def possible_histories(operations: Sequence[Operation]) -> list[list[Step]]:
    """The lists of steps that may have reached the stream, the longest first."""
    sent = [operation for operation in operations if operation.known is not OperationStatus.REFUSED]
    certain = len(sent)
    while certain and sent[certain - 1].known is OperationStatus.UNKNOWN:
        certain -= 1
    steps = [operation.step for operation in sent]
    return [steps[:end] for end in range(len(steps), certain - 1, -1)]


def _compare(
    key: str,
    steps: Sequence[Step],
    operations: Sequence[Operation],
    found: StoredSession | None,
    stored: StoreEvidence,
    leftovers: Leftovers | None,
) -> list[Finding]:
    expected = expected_of(steps)
    known = {step.id for step in steps}
    rows = found.rows if found is not None else []
    return [
        *_compare_rows(key, expected.rows, rows, known),
        *_compare_outcomes(key, expected, operations, known, stored),
        *_compare_session(key, expected, found),
        *_compare_letters(expected, known, stored, leftovers),
    ]


def _compare_rows(
    key: str, expected: Sequence[VisibleMessage], found: Sequence[VisibleMessage], known: set[str]
) -> Iterable[Finding]:
    wanted = {row.id: row for row in expected}
    times = Counter(row.id for row in found)
    for event_id in wanted.keys() - times.keys():
        yield Finding(Fault.LOST, f"{event_id} is not in {key!r}")
    for event_id, count in times.items():
        if count > 1:
            yield Finding(Fault.DUPLICATED, f"{event_id} is {count} times in {key!r}")
        if event_id not in wanted:
            fault = Fault.RESURRECTED if event_id in known else Fault.FOREIGN
            yield Finding(fault, f"{event_id} is in {key!r} and must not be")
    for row in found:
        if row.id in wanted and row != wanted[row.id]:
            yield Finding(Fault.ALTERED, f"{row} should be {wanted[row.id]}")
    yield from _compare_order(key, [*wanted], [row.id for row in found])


def _compare_order(key: str, wanted: Sequence[str], found: Sequence[str]) -> Iterable[Finding]:
    place = {event_id: at for at, event_id in enumerate(wanted)}
    once = [event_id for event_id in dict.fromkeys(found) if event_id in place]
    for before, after in itertools.pairwise(once):
        if place[before] > place[after]:
            yield Finding(Fault.REORDERED, f"{before} stands before {after} in {key!r}")


def _compare_outcomes(
    key: str,
    expected: ExpectedSession,
    operations: Sequence[Operation],
    known: set[str],
    stored: StoreEvidence,
) -> Iterable[Finding]:
    for event_id, verdict in expected.outcomes.items():
        outcome = stored.outcomes.get(event_id)
        if outcome is None:
            yield Finding(Fault.LOST, f"{event_id} of {key!r} has no outcome")
        elif outcome != verdict:
            yield Finding(Fault.OUTCOME, f"{event_id} ended as {outcome}, not {verdict}")
    for event_id in {operation.step.id for operation in operations} - known:
        if event_id in stored.outcomes:
            yield Finding(Fault.FOREIGN, f"{event_id} was not taken and has an outcome")


def _compare_session(
    key: str, expected: ExpectedSession, found: StoredSession | None
) -> Iterable[Finding]:
    if found is None:
        if expected.live is not None:
            yield Finding(Fault.SESSION, f"{key!r} is not in the store")
        return
    if found.live != bool(expected.live):
        fault = Fault.RESURRECTED if found.live else Fault.SESSION
        yield Finding(fault, f"{key!r} is {'live' if found.live else 'deleted'}")
    for what, seen, wanted in (
        ("generation", found.generation, expected.generation),
        ("name", found.name, expected.name),
        ("message count", found.count, len(expected.rows)),
    ):
        if seen != wanted:
            yield Finding(Fault.SESSION, f"{key!r} has {what} {seen!r}, not {wanted!r}")


def _compare_letters(
    expected: ExpectedSession, known: set[str], stored: StoreEvidence, leftovers: Leftovers | None
) -> Iterable[Finding]:
    """Each poison once. A conflict has a letter for each of its entries, and retries make more."""
    for event_id in known:
        wanted = expected.letters.get(event_id, Counter())
        found = stored.letters.get(event_id, Counter())
        for reason in wanted | found:
            least = most = wanted[reason]
            if reason == "id_conflict":
                most = (
                    leftovers.entries[event_id] if leftovers and leftovers.whole else found[reason]
                )
            if not least <= found[reason] <= most:
                text = f"{event_id} has {found[reason]} letters {reason}, not {least} to {most}"
                yield Finding(Fault.LETTERS, text)


# -- the whole ---------------------------------------------------------------------------------


def _check_strangers(told: PublishedHistory, stored: StoreEvidence) -> Iterable[Finding]:
    """Nothing is in the store that nobody published."""
    for key in stored.sessions.keys() - told.sessions.keys():
        yield Finding(Fault.FOREIGN, f"nobody published to session {key!r}")
    invoked = {
        operation.step.id for operations in told.sessions.values() for operation in operations
    }
    for event_id in stored.outcomes.keys() - invoked:
        yield Finding(Fault.FOREIGN, f"nobody published {event_id}")


def _check_counts(stored: StoreEvidence, leftovers: Leftovers) -> Iterable[Finding]:
    """Every entry that Redis ever took was resolved once, and every id knows its entries."""
    resolved = stored.resolved + stored.skipped
    if resolved != leftovers.added:
        text = f"Redis took {leftovers.added} entries, the store resolved {resolved}"
        yield Finding(Fault.COUNT, text)
    if not leftovers.whole:
        return
    for event_id, entries in leftovers.entries.items():
        later = stored.duplicates.get(event_id)
        if later is not None and later != entries - 1:
            text = f"{event_id} has {entries} entries and counts {later} later ones"
            yield Finding(Fault.COUNT, text)
