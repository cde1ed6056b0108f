"""The model of `make proof` against the shipped in-memory backend, on the very scripts that run."""

from __future__ import annotations

import random

import pytest

from proof.history import Step
from proof.model import Verdict, expected_of
from proof.script import SessionScript
from sessions.store.memory.backend import MemoryBackend
from sessions.store.memory.store import MemoryStore
from tests.events import Fields
from tests.stores import Clock, lead


@pytest.mark.parametrize("seed", range(20))
async def test_model_and_backend_agree_on_a_scripted_session(seed: int) -> None:
    """Two readings of the contract show the same session and the same outcomes."""
    script = SessionScript("s", "t", random.Random(seed), plain=True)
    steps = [script.next() for _ in range(80)]
    expected = expected_of(steps)
    clock = Clock()
    async with MemoryBackend(MemoryStore(), mode="write", clock=clock) as backend:
        store = await lead(backend, clock)
        await store.apply(*map(_fields, steps))
        found = await backend.session("s")
        rows = [(row.id, row.role, row.content, row.turn) for row in await store.messages("s")]
        assert rows == expected.rows
        assert (found.name if found else None) == expected.name
        for event_id, verdict in expected.outcomes.items():
            outcome = await store.outcome(event_id)
            assert Verdict(outcome.outcome, outcome.reason) == verdict, event_id


def _fields(step: Step) -> Fields:
    return {name: text.encode(errors="surrogateescape") for name, text in step.fields.items()}
