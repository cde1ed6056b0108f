"""Long texts in pieces that a platform takes."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

# Where a text is cut, best first: between paragraphs, lines, words.
_BOUNDARIES: Final = ("\n\n", "\n", " ")
# A piece is at least this part of the limit, so that a boundary near its start is not used.
_SHORTEST: Final = 0.5
# What opens or closes a code block, wherever it stands, with the language that may follow at the
# start of a line; and what closes one that a piece opens again.
_FENCE: Final = "```"
_FENCES: Final = re.compile(r"^[ \t]{0,12}```[^`\s]{0,24}(?=[^`\n]*$)|```", re.MULTILINE)
_CLOSING: Final = re.compile(r"\s*```[ \t]*$\s*", re.MULTILINE)
_BREAK: Final = "\n"
_JOINER: Final = "\u200d"
_SELECTORS: Final = frozenset(
    "\ufe0e\ufe0f\u20e3\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff"
)
# The letters that flags are made of.
_LETTERS: Final = "".join(map(chr, range(0x1F1E6, 0x1F200)))


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
    if _open_fence(text[:end]) is not None:
        end = _boundary(text, _fitting(text, limit - len(_FENCE) - len(_BREAK)))
    fence = _open_fence(text[:end])
    if fence is None:
        return text[:end].rstrip(), text[end:].lstrip()
    before, code = text[: fence.start()].rstrip(), text[fence.end() : end].strip()
    if before and not code:
        # A block that would only begin here can stand in the next piece.
        return before, text[fence.start() :].lstrip(_BREAK)
    piece = f"{text[:end].rstrip()}\n{_FENCE}"
    if closing := _CLOSING.match(text, end):
        return piece, text[closing.end() :]
    # Blanks mean something in code, so only the line break of the cut goes.
    return piece, f"{fence[0]}\n{text[end:].removeprefix(_BREAK)}"


def _open_fence(text: str) -> re.Match[str] | None:
    """What opens the block in which the text ends; None if it ends in none."""
    fences = list(_FENCES.finditer(text))
    return fences[-1] if len(fences) % 2 else None


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
    while cut > shortest and _is_within(text, cut):
        cut -= 1
    return cut


def _is_within(text: str, cut: int) -> bool:
    """Whether a cut there is within one sign, or within a fence."""
    before, after = text[cut - 1], text[cut]
    if _JOINER in (before, after) or after in _SELECTORS or before == after == "`":
        return True
    if before in _LETTERS and after in _LETTERS:
        # Two of them are a flag.
        run = text[:cut]
        return (len(run) - len(run.rstrip(_LETTERS))) % 2 == 1
    return unicodedata.combining(after) != 0
