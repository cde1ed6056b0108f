"""What the checker of `make proof` expects is what a store does, on the very scripts that run."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from proof.history import Step
from proof.model.expected import ExpectedOutcome, expected_of
from proof.script import SessionScript
from sessions.store.factory import make_session_backend
from tests.events import Fields
from tests.stores import Clock, lead


@pytest.mark.parametrize("seed", range(10))
async def test_a_scripted_session_is_in_the_store_as_the_checker_expects_it(
    tmp_path: Path, seed: int
) -> None:
    """Whatever the worker's decoder makes of the same fields."""
    script = SessionScript("s", "t", random.Random(seed), plain=True)
    steps = [script.next() for _ in range(80)]
    expected = expected_of(steps)
    async with make_session_backend(tmp_path, "sqlite", mode="write") as backend:
        store = await lead(backend, Clock())
        await store.apply(*map(_fields, steps))
        found = await backend.session("s")
        rows = [(row.id, row.role, row.content, row.turn) for row in await store.messages("s")]
        letters = Counter((one.event_id, one.reason) for one in await store.letters())
        assert rows == expected.rows
        assert (found is not None) == bool(expected.live)
        assert (found.name if found else None) == expected.name
        assert letters == Counter(
            {
                (event_id, reason): count
                for event_id, reasons in expected.letters.items()
                for reason, count in reasons.items()
            }
        )
        for event_id, verdict in expected.outcomes.items():
            outcome = await store.outcome(event_id)
            assert ExpectedOutcome(outcome.outcome, outcome.reason) == verdict, event_id


def _fields(step: Step) -> Fields:
    return {name: text.encode(errors="surrogateescape") for name, text in step.fields.items()}
