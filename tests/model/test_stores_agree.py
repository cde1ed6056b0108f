"""Every store, through batches, restarts and crashes, shows what the model shows.

Hypothesis makes up a stream and the accidents on the way, and shrinks what fails to a few steps.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from sessions.errors import Fenced
from sessions.ids import stored_id
from sessions.models import Entry
from sessions.store.backend import SessionBackend
from sessions.times import DAY
from tests.events import EntrySequence, Fields, dead
from tests.scripts import KEYS, WORDS, again, numbered, some_events
from tests.stores import MAKERS, MODEL, Clock, Open, telling
from tests.visible import visible

T = TypeVar("T")

PROFILE: Final = settings.get_profile("model")
# Seconds: a fixed part, and far more than any example takes.
pytestmark = pytest.mark.timeout(60 + 2 * PROFILE.max_examples)


class Copy:
    """One store that gets the whole stream, and the backends that ever led it."""

    def __init__(self, open_store: Open) -> None:
        self._open = open_store
        self._opened: list[SessionBackend] = []
        self._fallen: list[SessionBackend] = []
        self.backend: SessionBackend

    async def start(self) -> None:
        """Open a backend and take the lead, whatever became of the one before."""
        self.backend = await self._open("write").__aenter__()
        self._opened.append(self.backend)
        assert await self.backend.acquire("worker", seen=None) is not None
        if (await self.backend.cursor()).epoch == 0:
            await self.backend.begin_epoch(skipped=0)

    async def stop(self, *, cleanly: bool) -> None:
        """Close the backend, or leave it behind as a crash would."""
        if cleanly:
            await self.backend.release()
            await self.backend.__aexit__(None, None, None)
            self._opened.remove(self.backend)
        else:
            self._fallen.append(self.backend)

    async def wake_the_fallen(self, entries: list[Entry]) -> None:
        """Those that lost the lead try to write, in vain."""
        for backend in self._fallen:
            with pytest.raises(Fenced):
                await backend.apply(entries)

    async def close(self) -> None:
        """Close everything that was opened."""
        for backend in self._opened:
            await backend.__aexit__(None, None, None)


class StoresAgree(RuleBasedStateMachine):
    """A stream that goes to all stores: in one piece to the model, in batches to the others."""

    @initialize()
    def open_all(self) -> None:
        """Make the stores."""
        self.runner = asyncio.Runner()
        self.directory = tempfile.TemporaryDirectory()
        self.clock = Clock()
        self.copies = {
            name: Copy(make(Path(self.directory.name) / name, self.clock))
            for name, make in MAKERS.items()
        }
        self.stream = EntrySequence()
        self.count = 0
        self.events: list[Fields] = []
        self.waiting: list[Entry] = []
        self.applied: list[Entry] = []
        for copy in self.copies.values():
            self.run(copy.start())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something asynchronous."""
        return self.runner.run(work)

    @property
    def model(self) -> SessionBackend:
        """The one that is right."""
        return self.copies[MODEL].backend

    # -- the stream ------------------------------------------------------------------------------

    def publish(self, fields: Fields) -> None:
        """Put an event at the end of the stream."""
        self.events.append(fields)
        self.waiting.append(self.stream.entry(fields))

    @rule(data=st.data(), number=st.integers(1, 5))
    def publish_some(self, data: st.DataObject, number: int) -> None:
        """A producer publishes."""
        for _ in range(number):
            for fields in data.draw(some_events(self.count)):
                self.publish(fields)
                self.count += 1

    @precondition(lambda self: self.events)
    @rule(data=st.data())
    def publish_again(self, data: st.DataObject) -> None:
        """A producer repeats itself, or uses an id for something else."""
        self.publish(data.draw(again(self.events)))

    @rule(data=st.data(), action=st.sampled_from(("replay", "replay", "purge")))
    def treat_a_dead_letter(self, data: st.DataObject, action: str) -> None:
        """Somebody replays or purges a dead letter."""
        letters = self.run(self.model.dead_letters(limit=100)).items
        if letters:
            letter = data.draw(st.sampled_from([one.id for one in letters]))
            self.publish(dead(f"d{len(self.events)}", action, letter))

    # -- the worker ------------------------------------------------------------------------------

    @precondition(lambda self: self.waiting)
    @rule(size=st.integers(1, 7), ahead=st.booleans())
    def apply(self, size: int, ahead: bool) -> None:
        """Everything that waits is applied, in batches; then all stores show the same."""
        for entry in self.waiting:
            self.run(self.model.apply([entry]))
        batches = [
            self.waiting[start : start + size] for start in range(0, len(self.waiting), size)
        ]
        # Behind the last one something comes that was not foretold.
        behind = [*batches[1:], batches[0]]
        for name, copy in self.copies.items():
            if name != MODEL:
                for batch, following in zip(batches, behind, strict=True):
                    told = telling(following) if ahead else None
                    self.run(copy.backend.apply(batch, following=told))
        self.applied += self.waiting
        self.waiting = []
        self.compare()

    @precondition(lambda self: self.applied)
    @rule(back=st.integers(1, 30))
    def read_again(self, back: int) -> None:
        """The stream went backwards: a part of it is read again under a new epoch."""
        for copy in self.copies.values():
            self.run(copy.backend.begin_epoch(skipped=0))
        self.waiting = self.applied[-back:] + self.waiting
        self.applied = self.applied[:-back]

    @rule(days=st.sampled_from((0.001, 1, 20, 40)))
    def wait(self, days: float) -> None:
        """Time goes by."""
        self.clock.pass_days(days)

    @rule(days=st.sampled_from((0, 2, 30)))
    def expire(self, days: int) -> None:
        """Old sessions are deleted."""
        older_than = self.clock.now - days * DAY
        counts = {
            self.run(copy.backend.expire_sessions(older_than=older_than, limit=10))
            for copy in self.copies.values()
        }
        assert len(counts) == 1

    @rule()
    def forget(self) -> None:
        """Ids are forgotten whose time is up."""
        counts = {
            self.run(copy.backend.forget_ids(before=self.clock.now, limit=1000))
            for copy in self.copies.values()
        }
        assert len(counts) == 1

    @rule()
    def tidy(self) -> None:
        """The stores are tidied up."""
        for copy in self.copies.values():
            for _ in range(100):
                if not self.run(copy.backend.tidy()):
                    break

    @rule(cleanly=st.booleans())
    def restart(self, cleanly: bool) -> None:
        """The worker is started again, after a stop or a crash."""
        for copy in self.copies.values():
            self.run(copy.stop(cleanly=cleanly))
            self.run(copy.start())
        self.compare()

    @precondition(lambda self: self.waiting)
    @rule()
    def wake_the_fallen(self) -> None:
        """A worker that lost the lead wakes up."""
        for copy in self.copies.values():
            self.run(copy.wake_the_fallen(self.waiting))
        self.compare()

    # -- what must hold --------------------------------------------------------------------------

    def compare(self) -> None:
        """All stores show the same."""
        ids = {numbered(number) for number in range(self.count + 3)}
        ids |= {str(fields["id"]) for fields in self.events}
        ids |= {stored_id(one, by) for one in ids for by in ("x", "y")}
        shown = {
            name: self.run(
                visible(copy.backend, keys=KEYS, ids=ids, words=[*filter(None, WORDS), "other"])
            )
            for name, copy in self.copies.items()
        }
        for name, other in shown.items():
            for what, value in shown[MODEL].items():
                assert other[what] == value, f"{name} shows other {what}"

    def teardown(self) -> None:
        """Apply what is left, and close everything."""
        if hasattr(self, "copies"):
            for copy in self.copies.values():
                self.run(copy.close())
            self.runner.close()
            self.directory.cleanup()


TestStoresAgree = StoresAgree.TestCase
TestStoresAgree.settings = PROFILE
