"""What one session must look like after what publishers did to it.

Events are made of a step's fields here, and its poison is the one that the script meant: what the
worker's decoder says of them is a part of what is judged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from proof.history import Fields, Step
from proof.model.rules import Model
from sessions.models import Entry, Event, EventType, Poison, RawEntry, Reason, StreamId
from sessions.wire import DEFAULT_MAX_CONTENT


class VisibleMessage(NamedTuple):
    """A message that is visible."""

    id: str
    role: str
    content: str
    turn: str | None


class ExpectedOutcome(NamedTuple):
    """How an event ended: `applied`, `noop` or `dead`, and why."""

    outcome: str
    reason: str | None = None


@dataclass
class ExpectedSession:
    """A session as it must be. `live` is None for one that never was.

    `outcomes` are by event id, and so are `letters`: dead letters by reason.
    """

    live: bool | None = None
    generation: int = 1
    name: str | None = None
    rows: list[VisibleMessage] = field(default_factory=list[VisibleMessage])
    outcomes: dict[str, ExpectedOutcome] = field(default_factory=dict[str, ExpectedOutcome])
    letters: dict[str, Counter[str]] = field(default_factory=dict[str, Counter[str]])


def expected_of(steps: Iterable[Step]) -> ExpectedSession:
    """The session after these steps, all of which reached the stream in this order."""
    model = Model()
    for number, step in enumerate(steps, start=1):
        model.take(_entry(number, step), now=number, max_content=DEFAULT_MAX_CONTENT)
    return _seen(model)


def _entry(number: int, step: Step) -> Entry:
    raw = [part.encode(errors="surrogateescape") for pair in step.fields.items() for part in pair]
    return Entry(RawEntry(StreamId(number, 0), raw), _body(step), b"")


def _body(step: Step) -> Event | Poison:
    if step.poison is not None:
        return Poison(Reason(step.poison), "", step.id, step.session)
    return _event(step.fields)


def _event(fields: Fields) -> Event:
    values = {name: value for name, value in fields.items() if name not in ("v", "id", "type")}
    return Event(fields["id"], EventType(fields["type"]))._replace(**values)


def _seen(model: Model) -> ExpectedSession:
    expected = ExpectedSession()
    for stored in model.sessions.values():
        expected.live, expected.generation = stored.live, stored.shown.generation
        expected.name = stored.shown.name
        messages = [line.message for line in stored.lines]
        expected.rows = [
            VisibleMessage(one.id, one.role, one.content, one.turn) for one in messages
        ]
    for event_id, known in model.events.items():
        expected.outcomes[event_id] = ExpectedOutcome(known.outcome.outcome, known.outcome.reason)
    for letter in model.letters:
        reasons = expected.letters.setdefault(letter.shown.event_id or "", Counter())
        reasons[letter.shown.reason] += 1
    return expected
