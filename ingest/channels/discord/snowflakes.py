"""Discord's ids, which hold the time when they were made."""

from __future__ import annotations

from typing import Final

from sessions import times

# Milliseconds since 1970 at which Discord's own time begins.
_EPOCH: Final = 1_420_070_400_000
_TIME_BITS: Final = 22
_MILLISECOND: Final = times.SECOND // 1000


def time_of(snowflake: int) -> int:
    """When the id was made, in microseconds."""
    return ((snowflake >> _TIME_BITS) + _EPOCH) * _MILLISECOND


def first_at(micros: int) -> int:
    """The lowest id that can be made at that time; 0 for times before Discord's own."""
    return max(0, micros // _MILLISECOND - _EPOCH) << _TIME_BITS


def number_of(found: object) -> int | None:
    """The id as a number; None for what cannot be one."""
    if isinstance(found, str) and found.isascii() and found.isdecimal() and len(found) < 20:
        return int(found)
    return None
