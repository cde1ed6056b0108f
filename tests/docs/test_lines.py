"""The lines of the pages are short."""

from __future__ import annotations

from typing import Final

from tests.docs.pages import Pages

# What fits in an editor beside a second file, and in a review.
MOST_CHARACTERS: Final = 120
# Pages with longer lines, because they are not rewritten yet. Take a page out once it is.
LONG_LINES: Final = frozenset({"README.md", "CHANGELOG.md"})


def test_no_line_is_too_long(pages: Pages) -> None:
    long = [
        f"{page.name}:{number} has {len(line)} characters"
        for page, text in pages.texts.items()
        if page.name not in LONG_LINES
        for number, line in enumerate(text.splitlines(), 1)
        if len(line) > MOST_CHARACTERS
    ]
    assert long == []
