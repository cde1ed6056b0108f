"""Times: integer microseconds since 1970 UTC inside, RFC 3339 text outside.

Only times of the years 1000 to 9998 (UTC) come in. Every store, client and time zone can show
those: their year has four digits, and no offset moves them beyond what a calendar knows.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

SECOND = 1_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR

# The first and the last time that is taken in.
EARLIEST: Final = (datetime(1000, 1, 1, tzinfo=UTC) - _EPOCH) // _MICROSECOND
LATEST: Final = (datetime(9999, 1, 1, tzinfo=UTC) - _EPOCH) // _MICROSECOND - 1


def now() -> int:
    """The wall clock in microseconds."""
    return time.time_ns() // 1000


def parse(text: str) -> int:
    """Microseconds of an RFC 3339 time; a fraction beyond microseconds is cut off.

    Raises ValueError where the offset is missing, and for years before 1000 and after 9998 (UTC).
    """
    # 3.11's fromisoformat reads every form of ISO 8601, week dates and bare dates among them;
    # RFC 3339 always has a `T` (or a blank) behind the ten characters of the date.
    if len(text) < 20 or text[10] not in "Tt ":
        raise ValueError("not an RFC 3339 time")
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("an RFC 3339 time needs an offset, such as Z or +01:00")
    micros = (moment - _EPOCH) // _MICROSECOND
    if not is_showable(micros):
        raise ValueError("the year must be from 1000 to 9998 (UTC)")
    return micros


def is_showable(micros: int) -> bool:
    """Whether this is a time that may be taken in."""
    return EARLIEST <= micros <= LATEST


def stamp(moment: int) -> str:
    """A time as a part of a file's name, `2026-01-31T120000.123456Z`."""
    return render(moment).replace(":", "").replace("+0000", "Z")


def render(micros: int) -> str:
    """RFC 3339 with `+00:00`, never `Z`: upstream sorts these as text.

    Never fails: an older version stored times of any year. Such a time becomes the first or the
    last one that `parse` takes, so that programs can go on reading.
    """
    return _moment(micros).isoformat()


def display(micros: int) -> str:
    """The form that upstream's tools print: `YYYY-MM-DD HH:MM:SS[.ffffff] UTC`.

    Never fails, as `render`; a time that was changed to be shown is marked.
    """
    mark = "" if is_showable(micros) else " (stored time is out of range)"
    return f"{_moment(micros).replace(tzinfo=None).isoformat(sep=' ')} UTC{mark}"


def local(micros: int) -> datetime:
    """The time in this machine's zone, in whole seconds; in UTC if the system cannot tell.

    Some systems know no zone for times before 1970 or after 3000.
    """
    moment = _moment(micros).replace(microsecond=0)
    try:
        return moment.astimezone()
    except (OverflowError, OSError, ValueError):
        return moment


def _moment(micros: int) -> datetime:
    # As positions, since a keyword takes longer than the rest of it.
    return _EPOCH + timedelta(0, 0, micros if EARLIEST <= micros <= LATEST else _nearest(micros))


def _nearest(micros: int) -> int:
    return EARLIEST if micros < EARLIEST else LATEST
