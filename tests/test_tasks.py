"""Background tasks do not die unseen: their owner is told, or the process ends with their error."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Generator

import pytest

from harness.waiting import wait_until
from sessions.process.tasks import ProcessEnd, TaskWatcher


async def fail(text: str = "a defect") -> None:
    raise ValueError(text)


@pytest.fixture
def asked() -> Generator[list[int]]:
    """The requests to end that this process got."""
    numbers: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: numbers.append(number))
    yield numbers
    signal.signal(signal.SIGTERM, before)


class TestWatcher:
    async def test_a_task_that_fails_is_told_at_once_by_its_name(self):
        told: list[tuple[str, str]] = []
        async with TaskWatcher(lambda name, error: told.append((name, str(error)))) as tasks:
            tasks.start(fail(), "something")
            await wait_until(lambda: told)
        assert told == [("something", "a defect")]

    async def test_what_still_runs_ends_with_its_owner_and_counts_as_no_failure(self):
        told: list[str] = []
        async with TaskWatcher(lambda name, _: told.append(name)) as tasks:
            task = tasks.start(asyncio.sleep(60), "something")
        assert task.cancelled()
        assert told == []


class TestProcessEnd:
    async def test_the_process_is_asked_to_end_once_and_ends_with_the_first_error(
        self, asked: list[int]
    ):
        async def work() -> None:
            with ProcessEnd() as end:
                async with TaskWatcher(end.fail) as tasks:
                    tasks.start(fail("first"), "one")
                    tasks.start(fail("second"), "another")
                    await wait_until(lambda: asked)

        with pytest.raises(ValueError, match="first"):
            await work()
        assert asked == [signal.SIGTERM]

    async def test_an_error_that_is_on_its_way_is_not_replaced(self, asked: list[int]):
        def work() -> None:
            with ProcessEnd() as end:
                end.fail("one", ValueError("a defect"))
                raise KeyError

        with pytest.raises(KeyError):
            work()
        assert asked == [signal.SIGTERM]

    async def test_without_a_failure_nothing_happens(self, asked: list[int]):
        with ProcessEnd() as end:
            async with TaskWatcher(end.fail) as tasks:
                tasks.start(asyncio.sleep(0), "one")
        assert asked == []
