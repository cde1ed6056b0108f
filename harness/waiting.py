"""Waiting without sleeping: look for what is wanted, and say what did not come."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar, cast

T = TypeVar("T")

# Seconds. Far above what anything here takes, so that only a hang fails on a busy machine.
PATIENCE: Final = 15.0
# Seconds between two looks.
PAUSE: Final = 0.01


class Stuck(AssertionError):
    """Something did not come to what it must come to by itself."""


async def wait_until(
    check: Callable[[], T | Awaitable[T]],
    what: str | None = None,
    *,
    within: float = PATIENCE,
    pause: float = PAUSE,
) -> T:
    """Look until `check` (a plain function or a coroutine function) gives something true: that.

    Raises Stuck, which says `what` did not come, or shows the check.
    """
    deadline = time.monotonic() + within
    while True:
        seen = check()
        result = await cast("Awaitable[T]", seen) if inspect.isawaitable(seen) else seen
        if result or time.monotonic() >= deadline:
            return _expected(cast("T", result), what or check, within)
        await asyncio.sleep(pause)


def wait_until_sync(
    check: Callable[[], T], what: str | None = None, *, within: float = PATIENCE
) -> T:
    """The same without an event loop."""
    deadline = time.monotonic() + within
    while not (result := check()) and time.monotonic() < deadline:
        time.sleep(PAUSE)
    return _expected(result, what or check, within)


def _expected(result: T, what: str | Callable[[], object], within: float) -> T:
    if not result:
        raise Stuck(f"not within {within:g} s: {what if isinstance(what, str) else _source(what)}")
    return result


def _source(check: Callable[[], object]) -> str:
    try:
        return inspect.getsource(check).strip()
    except (OSError, TypeError):
        return repr(check)
