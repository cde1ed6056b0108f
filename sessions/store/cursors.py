"""The cursors of pages: the rank of the last row that was shown, as numbers joined by dots."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from sessions.errors import InvalidRequest

_FOREIGN: Final = "this is not a cursor; use next_cursor of the page before, unchanged"
_NUMBER: Final = re.compile(r"-?[0-9]{1,18}")


def cursor_after(rank: Iterable[int]) -> str:
    """The cursor behind a row of this rank."""
    return ".".join(map(str, rank))


def rank_of(cursor: str, *, places: int) -> tuple[int, ...]:
    """The numbers of a cursor that has so many; raises InvalidRequest for one that is not ours."""
    parts = cursor.split(".")
    if len(parts) != places or not all(map(_NUMBER.fullmatch, parts)):
        raise InvalidRequest(_FOREIGN)
    return tuple(map(int, parts))


def count_of(cursor: str) -> int:
    """The number of a cursor of rows that are counted from 1; raises InvalidRequest as above."""
    [number] = rank_of(cursor, places=1)
    if number < 1:
        raise InvalidRequest(_FOREIGN)
    return number
