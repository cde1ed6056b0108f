"""How pure decisions ask a store: they yield a question, and are sent its answer.

A decision that needs more than the rows of its batch is a generator. It decides, asks, and goes
on with the answer; it never waits, and knows no connection. Its driver writes down what was
decided so far before each question, so that the answer counts it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import Any, TypeVar

from sessions.store.engine.adapter import Questions

T = TypeVar("T")

# A question, put to the store.
Question = Callable[[Questions], Awaitable[Any]]
# A decision that gives a T in the end.
Deciding = Generator[Question, Any, T]


def ask(question: Callable[[Questions], Awaitable[T]]) -> Deciding[T]:
    """The answer to one question: `answer = yield from ask(...)`."""
    answer: T = yield question
    return answer
