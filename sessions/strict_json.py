"""JSON from outside, read so that everything behind the entry point can store and show it again."""

from __future__ import annotations

import math
import re
from typing import Any, Final, cast

from pydantic_core import from_json

from sessions.errors import SessionError


class InvalidJson(SessionError):
    """It is not JSON that can be stored and rendered again. `problem` is what the parser says."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"the body is not valid JSON: {problem}")
        self.problem = problem


def parse_json(body: bytes) -> Any:
    """The value of a JSON text; raises InvalidJson.

    Stricter than the standard library, which lets through what nothing behind it can store or
    render: NaN, infinity, lone surrogates, any depth.
    """
    try:
        found = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidJson(str(error)) from None
    if _HUGE.search(body) and _holds_infinity(found):
        raise InvalidJson("a number is too large")
    return found


def _holds_infinity(value: Any) -> bool:
    """The parser makes infinity of numbers that no float can hold; it bounds the depth."""
    if isinstance(value, float):
        return math.isinf(value)
    if isinstance(value, dict):
        return any(map(_holds_infinity, cast("dict[str, Any]", value).values()))
    return isinstance(value, list) and any(map(_holds_infinity, cast("list[Any]", value)))


# What a number beyond the floats looks like: a long exponent, or hundreds of digits.
_HUGE: Final = re.compile(rb"[0-9][eE]\+?[0-9]{3}|[0-9]{300}")
