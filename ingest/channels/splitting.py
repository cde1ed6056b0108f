"""Long texts in pieces that a platform takes."""

from __future__ import annotations

import unicodedata
from typing import Final

# Where a text is cut, best first: between paragraphs, lines, words.
_BOUNDARIES: Final = ("\n\n", "\n", " ")
# A piece is at least this part of the limit, so that a boundary near its start is not used.
_SHORTEST: Final = 0.5
_JOINER: Final = "\u200d"
_SELECTORS: Final = frozenset(
    "\ufe0e\ufe0f\u20e3\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff"
)


def split_text(text: str, limit: int) -> list[str]:
    """The text in pieces of at most `limit` UTF-16 units, without the blanks between them.

    No character, and no sign that is made of several, is torn apart where it fits. A blank text
    has no piece.
    """
    pieces: list[str] = []
    rest = text.strip()
    while rest:
        end = _fitting(rest, limit)
        if end < len(rest):
            end = _boundary(rest, end)
        pieces.append(rest[:end].rstrip())
        rest = rest[end:].lstrip()
    return pieces


def units(text: str) -> int:
    """How long the text is in UTF-16 units."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _fitting(text: str, limit: int) -> int:
    """How many characters of the text fit."""
    if units(text) <= limit:
        return len(text)
    left = limit
    for index, character in enumerate(text):
        left -= 2 if ord(character) > 0xFFFF else 1
        if left < 0:
            return index
    return len(text)


def _boundary(text: str, end: int) -> int:
    """Where to cut a text of which `end` characters fit."""
    shortest = int(end * _SHORTEST)
    for boundary in _BOUNDARIES:
        found = text.rfind(boundary, shortest, end + len(boundary))
        if found > 0:
            return found
    cut = end
    while cut > shortest and _belongs(text[cut - 1], text[cut]):
        cut -= 1
    return cut


def _belongs(before: str, after: str) -> bool:
    """Whether two characters are parts of one sign."""
    if _JOINER in (before, after) or after in _SELECTORS:
        return True
    return unicodedata.combining(after) != 0
