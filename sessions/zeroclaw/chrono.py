"""Times as ZeroClaw writes them, by Rust's chrono: RFC 3339 with 0, 3, 6 or 9 digits of a second.

It compares times as texts, which is right only because all end with `+00:00`, never with `Z`.
"""

from __future__ import annotations

import re
from typing import Final

from sessions import times

# Microseconds, and the text of the source if `written` does not make the same of them.
Moment = tuple[int, str | None]

_LENGTH: Final = len("2026-01-01T00:00:00")
_FORM: Final = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.(?P<digits>\d{3}|\d{6}|\d{9}))?\+00:00", re.ASCII
)


def written(micros: int, text: str | None = None) -> str:
    """The time as ZeroClaw writes it; the text that it had in the source, if that is given."""
    if text is not None:
        return text
    shown = times.render(micros)
    if not micros % times.SECOND:
        return shown
    # Python writes six digits or none.
    return shown if micros % 1000 else f"{shown[: _LENGTH + 4]}+00:00"


def taken(text: str) -> Moment:
    """The microseconds of a text, and the text itself if `written` would not make it from them.

    Raises ValueError for a text that is no time, and as `times.parse` does.
    """
    micros = times.parse(text)
    return micros, None if written(micros) == text else text


def of_nanoseconds(moment: int) -> Moment:
    """A file's time as `taken` gives that of a text. It keeps what is below a microsecond."""
    micros, rest = divmod(moment, 1000)
    if not rest or not times.is_showable(micros):
        return micros, None
    whole = times.render(micros - micros % times.SECOND)[:_LENGTH]
    return micros, f"{whole}.{moment % 1_000_000_000:09d}+00:00"


def nanoseconds(micros: int, text: str | None = None) -> int:
    """The time for a file: the source's nine digits if the text has them."""
    if text is None or (form := _FORM.fullmatch(text)) is None or len(form["digits"] or "") < 9:
        return micros * 1000
    return micros * 1000 + int(form["digits"][6:])
