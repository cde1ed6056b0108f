"""A question that is put once serves all who asked before, and nobody who asked afterwards."""

from __future__ import annotations

import asyncio

import pytest

from api import shared
from api.shared import SharedQuery


class Oracle:
    """Answers with the number of the question, as soon as it is let."""

    def __init__(self) -> None:
        self.asked = 0
        self.may_answer = asyncio.Event()

    async def __call__(self) -> int:
        self.asked += 1
        number = self.asked
        await self.may_answer.wait()
        return number


async def started(*questions: asyncio.Task[int]) -> None:
    """Let them come as far as they come by themselves."""
    for _ in range(5):
        await asyncio.sleep(0)
    assert not any(question.done() for question in questions)


def asking(shared: SharedQuery[int], count: int) -> list[asyncio.Task[int]]:
    """So many callers at once."""
    return [asyncio.create_task(shared.result()) for _ in range(count)]


async def test_those_who_come_together_share_one_question():
    oracle = Oracle()
    oracle.may_answer.set()

    assert await asyncio.gather(*asking(SharedQuery(oracle), 5)) == [1] * 5


async def test_who_comes_later_gets_a_later_answer_and_shares_it_too():
    oracle = Oracle()
    share = SharedQuery(oracle)
    first = asking(share, 2)
    await started(*first)
    later = asking(share, 3)
    await started(*later)

    oracle.may_answer.set()

    assert await asyncio.gather(*first, *later) == [1, 1, 2, 2, 2]


async def test_a_question_that_hangs_does_not_hold_up_the_next(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shared, "_HOLD", 0.01)
    oracle = Oracle()
    share = SharedQuery(oracle)
    [hanging] = asking(share, 1)
    await started(hanging)

    [later] = asking(share, 1)
    async with asyncio.timeout(5):
        while oracle.asked < 2:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.005)

    oracle.may_answer.set()
    assert await asyncio.gather(hanging, later) == [1, 2]


async def test_one_who_gives_up_takes_it_from_nobody_else():
    oracle = Oracle()
    [leaving, staying] = asking(SharedQuery(oracle), 2)
    await started(leaving, staying)

    leaving.cancel()
    await started(staying)
    oracle.may_answer.set()

    assert await staying == 1


async def test_an_error_is_everybodys():
    async def fail() -> int:
        raise ConnectionError

    results = await asyncio.gather(*asking(SharedQuery(fail), 3), return_exceptions=True)

    assert [type(result) for result in results] == [ConnectionError] * 3
