"""Running coroutines from a command."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar, cast

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run it to its end; where tasks of it failed together, the first error comes out alone."""
    try:
        return asyncio.run(main)
    except BaseExceptionGroup as group:
        # Ctrl-C may be in it; it comes out as itself, as every error does.
        raise _first(group) from group


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return error
