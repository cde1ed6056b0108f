"""Times: integer microseconds since 1970 UTC inside, RFC 3339 text outside."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

SECOND = 1_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR


def now() -> int:
    """The wall clock in microseconds."""
    return time.time_ns() // 1000


def parse(text: str) -> int:
    """Microseconds of an RFC 3339 time; raises ValueError where the offset is missing.

    A fraction beyond microseconds is cut off.
    """
    # 3.11's fromisoformat reads every form of ISO 8601, week dates and bare dates among them;
    # RFC 3339 always has a `T` (or a blank) behind the ten characters of the date.
    if len(text) < 20 or text[10] not in "Tt ":
        raise ValueError("not an RFC 3339 time")
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("an RFC 3339 time needs an offset, such as Z or +01:00")
    return (moment - _EPOCH) // _MICROSECOND


def render(micros: int) -> str:
    """RFC 3339 with `+00:00`, never `Z`: upstream sorts these as text."""
    return (_EPOCH + timedelta(microseconds=micros)).isoformat()


def display(micros: int) -> str:
    """The form that upstream's tools print: `YYYY-MM-DD HH:MM:SS[.ffffff] UTC`."""
    moment = _EPOCH + timedelta(microseconds=micros)
    return f"{moment.replace(tzinfo=None).isoformat(sep=' ')} UTC"
