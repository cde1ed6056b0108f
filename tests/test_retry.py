"""Trying again: for how long, after which pauses, and what is said meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import pytest

from sessions.errors import Retryable, StreamFull, StreamUnavailable
from sessions.process.retry import OutageLog, Pauses, Reminder, retry, retry_blocking


class Flaky:
    """Fails so many times, then says `done`."""

    def __init__(self, failures: int, error: Callable[[], Exception] = lambda: Retryable("no")):
        self.calls = 0
        self._failures = failures
        self._error = error

    def now(self) -> str:
        """One try, blocking."""
        self.calls += 1
        if self.calls <= self._failures:
            raise self._error()
        return "done"

    async def later(self) -> str:
        """One try."""
        return self.now()


def test_pauses_double_up_to_the_longest_one() -> None:
    pauses = Pauses(0.5, 3.0)
    assert [pauses.after() for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_without_a_longest_one_all_pauses_are_alike() -> None:
    pauses = Pauses(0.5)
    assert [pauses.after() for _ in range(3)] == [0.5, 0.5, 0.5]


def test_a_pause_is_at_least_as_long_as_the_error_asks_for_where_it_is_heeded() -> None:
    asking = Retryable("full", retry_after=7.0)
    assert Pauses(0.5, heeded=True).after(asking) == 7.0
    assert Pauses(9.0, heeded=True).after(asking) == 9.0
    assert Pauses(0.5).after(asking) == 0.5


def test_a_try_that_went_well_for_long_begins_a_new_outage() -> None:
    pauses = Pauses(1.0, 60.0, settled=300.0)
    for _ in range(3):
        pauses.after(lived=1.0)
    assert pauses.after(lived=301.0) == 1.0
    assert pauses.failures == 1


async def test_a_call_is_repeated_until_it_succeeds() -> None:
    flaky = Flaky(3)
    assert await retry(flaky.later, on=Retryable, pauses=Pauses(0), patience=None) == "done"
    assert flaky.calls == 4


async def test_another_error_ends_it_at_once() -> None:
    flaky = Flaky(3, lambda: StreamFull("full"))
    with pytest.raises(StreamFull):
        await retry(flaky.later, on=StreamUnavailable, pauses=Pauses(0), patience=None)
    assert flaky.calls == 1


async def test_the_last_error_is_raised_where_the_next_try_would_come_too_late() -> None:
    flaky = Flaky(3)
    with pytest.raises(Retryable, match="no"):
        await retry(flaky.later, on=Retryable, pauses=Pauses(30), patience=1.0)
    assert flaky.calls == 1


async def test_who_does_not_want_to_go_on_gets_the_error_and_no_report() -> None:
    flaky = Flaky(3)
    heard: list[Exception] = []
    with pytest.raises(Retryable):
        await retry(
            flaky.later,
            on=Retryable,
            pauses=Pauses(0),
            patience=None,
            goes_on=lambda _: flaky.calls < 2,
            report=heard.append,
        )
    assert (flaky.calls, len(heard)) == (2, 1)


async def test_being_cancelled_ends_the_pause() -> None:
    flaky = Flaky(3)
    waiting = asyncio.create_task(
        retry(flaky.later, on=Retryable, pauses=Pauses(30), patience=None)
    )
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert flaky.calls == 1


def test_a_blocking_call_is_repeated_within_its_patience() -> None:
    flaky = Flaky(2)
    assert retry_blocking(flaky.now, on=Retryable, pauses=Pauses(0.001), patience=5.0) == "done"
    with pytest.raises(Retryable):
        retry_blocking(Flaky(1).now, on=Retryable, pauses=Pauses(1.0), patience=0.5)


def test_a_reminder_is_due_at_once_and_then_now_and_then() -> None:
    often, seldom = Reminder(0.0), Reminder(3600.0)
    assert [often.due(), often.due()] == [True, True]
    assert [seldom.due(), seldom.due()] == [True, False]
    seldom.reset()
    assert seldom.due()


def test_an_outage_is_a_warning_once(caplog: pytest.LogCaptureFixture) -> None:
    outage = OutageLog(logging.getLogger("tests.retry"), "%s waits: %s", "the bot")
    with caplog.at_level(logging.DEBUG, logger="tests.retry"):
        assert outage.failed(Retryable("a"))
        assert not outage.failed(Retryable("b"))
        outage.over()
        assert outage.failed(Retryable("c"))
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("WARNING", "the bot waits: a"),
        ("DEBUG", "the bot waits: b"),
        ("WARNING", "the bot waits: c"),
    ]
