"""Waiting without sleeping: poll what the test is about, and say what did not come."""

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


async def wait_until(check: Callable[[], T | Awaitable[T]], *, within: float = PATIENCE) -> T:
    """Look until `check` (a plain function or a coroutine function) gives something true: that."""
    deadline = time.monotonic() + within
    while True:
        seen = check()
        result = await cast("Awaitable[T]", seen) if inspect.isawaitable(seen) else seen
        if result or time.monotonic() >= deadline:
            return _expected(check, cast("T", result), within)
        await asyncio.sleep(PAUSE)


def wait_until_sync(check: Callable[[], T], *, within: float = PATIENCE) -> T:
    """The same for tests without an event loop."""
    deadline = time.monotonic() + within
    while not (result := check()) and time.monotonic() < deadline:
        time.sleep(PAUSE)
    return _expected(check, result, within)


def _expected(check: Callable[[], object], result: T, within: float) -> T:
    assert result, f"not within {within:g} s: {_source(check)}"
    return result


def _source(check: Callable[[], object]) -> str:
    try:
        return inspect.getsource(check).strip()
    except (OSError, TypeError):
        return repr(check)
