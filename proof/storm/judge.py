"""Compares what was said and seen with what the store, the stream and the platform have at the end.

The order, the single turn and the single run are read from the store's own file; that a replica
which was taken over published nothing more, from the stream itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Final

from ingest.failures import INTERRUPTED
from ingest.prompt import HISTORY
from proof.evidence import StoreEvidence, database_of, read_store
from proof.model.expected import VisibleMessage
from proof.storm.faults import Death, PlatformOutage
from proof.storm.journal import Journal, StormMessage
from proof.storm.system import BACKEND
from sessions.store.sqlite.library import sqlite3

# Seconds from the death of a replica within which its sessions must be usable.
USABLE_WITHIN: Final = 15.0
# Seconds after its death in which we may still read what a replica sent before.
_LAST_WORDS: Final = 1.0


class StormFault(StrEnum):
    """A promise that was broken."""

    LOST = "lost"
    DOUBLED = "doubled"
    ORDER = "order"
    AGENT = "agent runs"
    REPLY = "replies"
    PARKED = "not parked"
    ARRIVAL = "replies out of order"
    FENCE = "fence"
    INTERRUPTED = "interrupted without cause"
    STATE = "left open"
    TOLD = "told otherwise"
    LATE = "late"
    SURPRISE = "surprise"
    STUCK = "stuck"


@dataclass(frozen=True)
class StormFinding:
    """One broken promise, in words."""

    broken: StormFault
    text: str


@dataclass
class Evidence:
    """All that is looked at: `entries` are the ids on the stream, None where nobody asked it."""

    messages: Sequence[StormMessage]
    journal: Journal
    deaths: Sequence[Death]
    entries: Counter[str] | None
    store: StoreEvidence
    states: Mapping[str, str]
    outage: PlatformOutage | None = None
    interrupted: list[StormMessage] = field(default_factory=list[StormMessage])

    @classmethod
    def gathered(
        cls,
        workspace: Path,
        messages: Sequence[StormMessage],
        journal: Journal,
        deaths: Sequence[Death],
        entries: Sequence[str] | None,
        backend: str = BACKEND,
        *,
        outage: PlatformOutage | None = None,
    ) -> Evidence:
        """With the store of a workspace in which nothing runs any more."""
        with closing(sqlite3.connect(database_of(workspace, backend))) as store:
            states = dict(store.execute("SELECT key, state FROM sessions WHERE live").fetchall())
        stored = read_store(workspace, backend)
        counted = None if entries is None else Counter(entries)
        return cls(messages, journal, deaths, counted, stored, states, outage)

    @property
    def fallen(self) -> set[str]:
        """The turns that a replica ran when it died or froze."""
        return {c.turn for death in self.deaths for c in death.casualties if c.turn is not None}

    def is_repeated_after_death(self, turn: str) -> bool:
        """Whether a parked reply was sent before the death of a replica and again after it."""
        return any(
            turn in death.parked and first.at <= death.at + _LAST_WORDS
            for death in self.deaths
            for first in self.journal.replies.get(turn, [])[:1]
        )

    def repeated(self, turns: Iterable[str]) -> set[str]:
        """Those of the turns whose reply was sent more than once."""
        return {turn for turn in turns if len(self.journal.replies.get(turn, [])) > 1}


def judge(evidence: Evidence) -> list[StormFinding]:
    """Every broken promise; none is what should be found."""
    for death in evidence.deaths:
        death.count_in_agent(evidence.journal)
    found = [StormFinding(StormFault.SURPRISE, text) for text in evidence.journal.surprises]
    found += [StormFinding(StormFault.LOST, text) for text in evidence.store.damage]
    found += _check_sessions(evidence)
    for message in evidence.messages:
        found += _check_message(evidence, message)
    found += _check_arrivals(evidence)
    found += _check_parked(evidence)
    found += _check_runs(evidence)
    found += _check_letters(evidence)
    found += _check_times(evidence)
    return found


def _check_sessions(evidence: Evidence) -> Iterator[StormFinding]:
    sent = {message.turn for message in evidence.messages}
    for key, session in evidence.store.sessions.items():
        roles = [row.role for row in session.rows]
        if roles != ["user", "assistant"] * (len(roles) // 2):
            yield StormFinding(StormFault.ORDER, f"{key}: {' '.join(roles)}")
        if evidence.states.get(key) != "idle":
            yield StormFinding(StormFault.STATE, f"{key} is {evidence.states.get(key)}")
        for row in session.rows:
            if row.turn not in sent:
                yield StormFinding(StormFault.DOUBLED, f"{key}: nobody sent {row.content!r}")


def _check_message(evidence: Evidence, message: StormMessage) -> Iterator[StormFinding]:
    session = evidence.store.sessions.get(message.key)
    rows = [row for row in session.rows if row.turn == message.turn] if session else []
    if not rows:
        yield StormFinding(StormFault.LOST, f"{message.name} is not in the store")
        return
    if [row.role for row in rows] != ["user", "assistant"] or rows[0].content != message.text:
        yield StormFinding(StormFault.DOUBLED, f"{message.name}: {[*map(_shown, rows)]}")
        return
    yield from _check_reply(evidence, message, rows[1])
    count = 1 if evidence.entries is None else evidence.entries[f"{message.turn}:reply"]
    if count != 1:
        yield StormFinding(StormFault.FENCE, f"{count} replies to {message.name} were published")


def _check_reply(
    evidence: Evidence, message: StormMessage, reply: VisibleMessage
) -> Iterator[StormFinding]:
    if reply.content == INTERRUPTED:
        evidence.interrupted.append(message)
        if message.turn not in evidence.fallen:
            yield StormFinding(StormFault.INTERRUPTED, f"{message.name}: its replica lived")
    elif reply.content != message.answer:
        yield StormFinding(StormFault.DOUBLED, f"{message.name} was answered {reply.content!r}")
    told = evidence.journal.ended.get(message.name)
    if told != reply.content:
        yield StormFinding(
            StormFault.TOLD, f"{message.name}: told {told!r}, stored {reply.content!r}"
        )
    if message.is_sent:
        yield from _check_delivery(evidence, message, reply)


def _check_delivery(
    evidence: Evidence, message: StormMessage, reply: VisibleMessage
) -> Iterator[StormFinding]:
    """One reply; a replica that dies between sending one and noting it leaves it to be repeated.

    It does so with the reply to the turn that it ran, and with a parked one.
    """
    turn = message.turn
    sent = [reply.text for reply in evidence.journal.replies.get(turn, [])]
    most = 2 if turn in evidence.fallen or evidence.is_repeated_after_death(turn) else 1
    if not 1 <= len(sent) <= most or {*sent} != {reply.content}:
        yield StormFinding(
            StormFault.REPLY, f"{message.name}: sent {sent}, stored {reply.content!r}"
        )


def _check_arrivals(evidence: Evidence) -> Iterator[StormFinding]:
    """The platforms had the replies of each session in the order in which the store has them."""
    replies = evidence.journal.replies
    for key, session in evidence.store.sessions.items():
        turns = [row.turn for row in session.rows if row.role == "assistant" and row.turn]
        arrivals = [replies[turn][0] for turn in turns if turn in replies]
        for before, after in pairwise(arrivals):
            if after.at < before.at:
                text = f"{key}: {after.text!r} came before {before.text!r}"
                yield StormFinding(StormFault.ARRIVAL, text)


def _check_parked(evidence: Evidence) -> Iterator[StormFinding]:
    """While the platforms took none, each channel had replies parked."""
    if evidence.outage is None:
        return
    parked = {*evidence.journal.parked.values()}
    for channel in sorted({message.way for message in evidence.messages if message.is_sent}):
        if channel not in parked:
            text = f"{channel}: no reply was parked while its platform took none"
            yield StormFinding(StormFault.PARKED, text)


def _check_runs(evidence: Evidence) -> Iterator[StormFinding]:
    """The agent was asked once, after all that was said before; not at all in some interrupted."""
    runs = Counter(run.name for run in evidence.journal.runs)
    interrupted = {message.name for message in evidence.interrupted}
    for message in evidence.messages:
        fewest = 0 if message.name in interrupted else 1
        if not fewest <= runs[message.name] <= 1:
            yield StormFinding(StormFault.AGENT, f"{runs[message.name]} runs for {message.name}")
    places = {
        row.content: place
        for session in evidence.store.sessions.values()
        for place, row in enumerate(session.rows)
    }
    texts = {message.name: message.text for message in evidence.messages}
    for run in evidence.journal.runs:
        before = min(places.get(texts.get(run.name, ""), 0), HISTORY)
        if run.lines != before + 1:
            text = f"{run.name}: the agent read {run.lines - 1} messages of {before}"
            yield StormFinding(StormFault.AGENT, text)


def _check_letters(evidence: Evidence) -> Iterator[StormFinding]:
    for event_id, reasons in evidence.store.letters.items():
        yield StormFinding(StormFault.FENCE, f"dead letters of {event_id}: {dict(reasons)}")


def _check_times(evidence: Evidence) -> Iterator[StormFinding]:
    for death in evidence.deaths:
        for casualty in death.casualties:
            if casualty.usable > USABLE_WITHIN:
                text = f"{casualty.session} was usable after {casualty.usable:.1f} s"
                yield StormFinding(StormFault.LATE, text)


def _shown(row: VisibleMessage) -> str:
    return f"{row.role}: {row.content}"
