"""Long texts in pieces that a platform takes."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

# Where a text is cut, best first: between paragraphs, lines, words.
_BOUNDARIES: Final = ("\n\n", "\n", " ")
# A piece is at least this part of the limit, so that a boundary near its start is not used.
_SHORTEST: Final = 0.5
# A line that opens or closes a code block, and as much of one as is written again.
_FENCE: Final = "```"
_FENCES: Final = re.compile(r"^```[^`\n]*$", re.MULTILINE)
_LONGEST_FENCE: Final = 40
_BREAK: Final = "\n"
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


def split_markdown(text: str, limit: int) -> list[str]:
    """As `split_text`, with each code block whole in every piece that it reaches into.

    A piece that ends inside of a block closes it, and the next one opens it again.
    """
    pieces: list[str] = []
    rest = text.strip()
    while units(rest) > limit:
        piece, rest = _torn_off(rest, limit)
        pieces.append(piece)
    return [*pieces, rest] if rest else pieces


def _torn_off(text: str, limit: int) -> tuple[str, str]:
    """The first piece of a text that is too long, and the rest."""
    end = _boundary(text, _fitting(text, limit))
    fence = _open_fence(text[:end])
    if fence is None:
        return text[:end].rstrip(), text[end:].lstrip()
    # Blanks mean something in code, so only the line break of the cut goes.
    end = _boundary(text, _fitting(text, limit - len(_FENCE) - 1))
    return f"{text[:end].rstrip()}\n{_FENCE}", f"{fence}\n{text[end:].removeprefix(_BREAK)}"


def _open_fence(text: str) -> str | None:
    """The line that opens the block in which the text ends; None if it ends in none."""
    fences = _FENCES.findall(text)
    return fences[-1][:_LONGEST_FENCE] if len(fences) % 2 else None


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
