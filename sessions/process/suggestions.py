"""What somebody may have meant who wrote a name that there is not."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Final

# How alike two names must be, from 0 to 1: one letter too many, too few or another one, also in
# short names, and no other word.
_ALIKE: Final = 0.8


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The name that is most like this one; None if none is like it."""
    found = difflib.get_close_matches(name, [*names], n=1, cutoff=_ALIKE)
    return found[0] if found else None


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """The end of a sentence that asks for the nearest name; empty if none is like it."""
    found = nearest(name, names)
    return f"; did you mean {found}?" if found else ""


__all__ = ["did_you_mean", "nearest"]
